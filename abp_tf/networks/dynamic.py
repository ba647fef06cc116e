"""Generators of sequences whose state moves from frame to frame."""

from __future__ import annotations

import keras

from abp_tf import checks
from abp_tf.networks.checks import trainable
from abp_tf.networks.frames import FrameByFrame


def dynamic_generator(frame: keras.Model, frames: int, latent_dim: int = 20) -> keras.Model:
    """Build a network of clips from noise that moves a state: `s_t = F(s_{t−1}, ξ_t)`, `x_t = g(s_t)`.

    The latents of a clip are a sequence of independent noise vectors `ξ_t`. A gated recurrent unit `F`
    adds up what they do to the state, from `s_0 = 0`, and `g` decodes each state by itself: the dynamic
    generator of "Learning Dynamic Generator Model by Alternating Back-Propagation Through Time" (arXiv
    1812.10587, equations 1 and 2), whose transition is another network. States are between −1 and 1,
    however long a clip is. With the same weights a longer sequence of noise gives a longer clip:
    `abp_tf.resized(model, (frames, latent_dim))`.

    Args:
        frame: a built network from a state, a vector, to one frame, such as `image_generator`; the new
            network uses its weights.
        frames: number of frames of a clip.
        latent_dim: number of entries of each noise vector.

    Returns:
        A `keras.Model` from `[n, frames, latent_dim]` to `[n, frames, *frame_shape]`.

    Raises:
        ValueError: if the network has no vector as its input, or a number is not positive.

    Example:
        >>> frame = abp_tf.networks.image_generator((16, 16, 3), latent_dim=10, width=4)
        >>> network = dynamic_generator(frame, frames=8, latent_dim=5)
        >>> network.input_shape, network.output_shape
        ((None, 8, 5), (None, 8, 16, 16, 3))
    """
    owner = "dynamic_generator"
    trainable(frame, owner)
    checks.integer(owner, "frames", frames, 1)
    checks.integer(owner, "latent_dim", latent_dim, 1)
    if len(frame.input_shape) != 2:
        raise ValueError(
            f"{owner} expected a network from a vector, the state, to one frame, received one from "
            f"{frame.input_shape[1:]}. Use `networks.image_generator`."
        )
    noise = keras.Input((frames, latent_dim), name="latents")
    # Unrolled, because chains are loops already. In float32, because the state adds up many steps.
    state = keras.layers.GRU(
        frame.input_shape[1], return_sequences=True, unroll=True, dtype="float32", name="state"
    )(noise)
    return keras.Model(noise, FrameByFrame(frame, name="frames")(state), name=owner)
