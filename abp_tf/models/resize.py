"""Models of textures, sounds, clips and volumes at other sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import keras
import numpy as np
from numpy.typing import ArrayLike

from abp_tf import networks
from abp_tf.models.coopnets import CoopNets
from abp_tf.models.descriptor import Descriptor
from abp_tf.models.generator import Generator

M = TypeVar("M", bound=Generator | Descriptor | CoopNets)


def resized(model: M, shape: Sequence[int]) -> M:
    """Return a model of larger or smaller signals, from one with fully convolutional networks.

    A model trained on 224×224 textures with 7×7 latents draws 448×448 ones from 14×14 latents; a longer
    sequence of latents gives a longer sound or clip. All methods of the model work at the new size:
    `synthesize`, `infer`, `inpaint`, `refine`, `export`, ….

    Args:
        model: a trained model.
        shape: shape of one latent for a `Generator` or `CoopNets`, of one signal for a `Descriptor`;
            the number of channels must not change.

    Returns:
        A model of the same class. Its networks share their weights with those of `model`; it has no
        chains of training examples, and no encoder, which is made for one size; a descriptor starts its
        chains from noise.

    Raises:
        ValueError: if the networks are made for one size only, or cannot have this shape.

    Example:
        >>> network = abp_tf.networks.texture_generator((32, 32, 1), width=4)
        >>> network.input_shape
        (None, 1, 1, 1)
        >>> larger = abp_tf.resized(abp_tf.Generator(network), (3, 2, 1))
        >>> larger.signal_shape
        (96, 64, 1)
    """
    config = model.get_config()
    if isinstance(model, CoopNets):
        generator = resized(model.generator, shape)
        descriptor = resized(model.descriptor, generator.signal_shape)
        return CoopNets.from_config({**config, "generator": generator, "descriptor": descriptor})
    config["network"] = networks.resized(model.network, shape)
    if isinstance(model, Descriptor):
        # The pool holds signals of the former size.
        return Descriptor.from_config({**config, "chains": "short-run"})
    prior = model.prior.resized(tuple(shape))
    larger = Generator.from_config({**config, "examples": None, "prior": prior, "encoder": False})
    # The preconditioner acts on the channels alone, so its weights fit another latent shape.
    larger.noise.set_weights(model.noise.get_weights())
    larger.preconditioner.set_weights(model.preconditioner.get_weights())
    return larger


def synthesize_at(
    model: Generator | Descriptor | CoopNets,
    sides: Sequence[int],
    n: int = 1,
    seed: int = 0,
    margin: int | None = None,
    time: ArrayLike | None = None,
) -> np.ndarray:
    """Draw signals of other sides than those of training, without artefacts at the border.

    An energy scores entries near the border less often than others. So the signals are drawn with a
    margin, which is cut off, as is the part of the latent grid's signal that exceeds `sides`.

    Args:
        model: a trained model with fully convolutional networks.
        sides: sides of a signal, without channels: `(448, 448)`, `(120_000,)`, `(60, 64, 64)`. The
            sides of frames must be those of training if clips are not stationary in space.
        n: number of signals.
        seed: integer seed of the first signal, as for `synthesize`.
        margin: width of the margin at both ends of each side that is not fixed; by default half the
            receptive field of the energy, 0 for a `Generator`.
        time: times of the signals, as for `synthesize`.

    Returns:
        float32 `[n, *sides, channels]`.

    Raises:
        ValueError: if sides are too few, too many or not positive, the margin is negative, or the model
            cannot draw frames of this size.

    Example:
        >>> network = abp_tf.networks.texture_generator((32, 32, 1), width=4)
        >>> abp_tf.synthesize_at(abp_tf.Generator(network), (80, 50)).shape
        (1, 80, 50, 1)
    """
    trained = model.signal_shape[:-1]
    if len(sides) != len(trained) or min(sides) < 1 or (margin is not None and margin < 0):
        raise ValueError(
            f"synthesize_at expected {len(trained)} positive sides, without channels, and a margin of "
            f"0 or more, received {tuple(sides)} and {margin}."
        )
    energy = model if isinstance(model, Descriptor) else getattr(model, "descriptor", None)
    network = _network(model)
    loose = networks.free(network) if networks.resizable(network) else [False] * len(trained)
    like = [None if free else side for side, free in zip(trained, loose, strict=True)]
    if any(known not in (None, side) for side, known in zip(sides, like, strict=True)):
        raise ValueError(
            f"synthesize_at expected sides {tuple(like)}, where None allows any, received "
            f"{tuple(sides)}. The network fixes the others."
        )
    if margin is not None:
        margins = [margin] * len(sides)
    else:
        margins = [side // 2 for side in networks.reach(energy.network)] if energy else [0] * len(sides)
    margins = [border * free for border, free in zip(margins, loose, strict=True)]
    wide = [side + 2 * border for side, border in zip(sides, margins, strict=True)]
    shape = (*wide, model.signal_shape[-1]) if energy is model else _latents(model, wide)
    drawn = resized(model, shape).synthesize(n, seed=seed, time=time)
    starts = [(have - side) // 2 for have, side in zip(drawn.shape[1:-1], sides, strict=True)]
    cut = (slice(start, start + side) for start, side in zip(starts, sides, strict=True))
    return np.asarray(drawn[:, *cut])


def _network(model: Generator | Descriptor | CoopNets) -> keras.Model:
    """Return the network that signals come from, of CoopNets that of the generator."""
    return model.generator.network if isinstance(model, CoopNets) else model.network


def _latents(model: Generator | CoopNets, sides: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of the smallest latents whose signals have at least these sides."""
    *grid, channels = model.latent_shape
    network = _network(model)
    loose = networks.free(network)
    # Entries that one more latent adds to the signal; some latents may lie beyond its border.
    more = (*(count + free for count, free in zip(grid, loose, strict=True)), channels)
    longer = networks.resized(network, more).output_shape[1:-1]
    added = [one - had for one, had in zip(longer, model.signal_shape[:-1], strict=True)]
    needed = zip(grid, sides, model.signal_shape[:-1], added, strict=True)
    return (
        *(
            max(count - (have - side) // step, 1) if step else count
            for count, side, have, step in needed
        ),
        channels,
    )
