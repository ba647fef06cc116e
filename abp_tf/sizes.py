"""Models of textures, sounds and clips at other sizes."""

from __future__ import annotations

from collections.abc import Sequence

from abp_tf import networks
from abp_tf.coopnets import CoopNets
from abp_tf.descriptor import Descriptor
from abp_tf.generator import Generator


def resized(model: Generator | Descriptor | CoopNets, shape: Sequence[int]):
    """Make a model of larger, or smaller, signals from one whose networks are fully convolutional.

    What was learned from 224×224 textures of 7×7 latents draws 448×448 ones from 14×14 latents; a
    longer sequence of latents gives a longer sound or clip. All methods of the model do as before, at
    the new size: `synthesize`, `infer`, `inpaint`, `refine`, `export`, ….

    Args:
        model: that has learned.
        shape: of one latent for a `Generator` or `CoopNets`, of one signal for a `Descriptor`;
            channels as before.

    Returns:
        A model of the same class. Its networks share their weights with those of `model`; it has no
        chains of training examples, and a descriptor starts its chains from noise.

    Raises:
        ValueError: for networks that are made for one size alone, or a shape they cannot take.

    Example:
        >>> larger = abp_tf.resized(model, (14, 14, 1))
        >>> larger.synthesize(1, seed=0).shape
        (1, 448, 448, 3)
    """
    config = model.get_config()
    if isinstance(model, CoopNets):
        generator = resized(model.generator, shape)
        descriptor = resized(model.descriptor, generator.signal_shape)
        return CoopNets.from_config({**config, "generator": generator, "descriptor": descriptor})
    config["network"] = networks.resized(model.network, shape)
    if isinstance(model, Descriptor):
        # A pool would hold signals of the former size.
        return Descriptor.from_config({**config, "chains": "short-run"})
    larger = Generator.from_config({**config, "examples": None})
    # Both act on the channels alone, which positions share.
    larger.prior.set_weights(model.prior.get_weights())
    larger.preconditioner.set_weights(model.preconditioner.get_weights())
    return larger
