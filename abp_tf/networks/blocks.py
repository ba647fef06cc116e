"""Parts of the ConvNets of all kinds of signal: checks, initial weights, and the two networks."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import keras
import numpy as np

from abp_tf import checks
from abp_tf.networks.places import PlaceBias

SMOOTH = ("elu", "silu", "gelu", "softplus", "tanh")
KINKED = ("relu", "leaky_relu")


def channels_last(name: str) -> Callable[..., keras.layers.Layer]:
    """Return a class of `keras.layers` with channels last, independent of Keras's global format."""
    return functools.partial(getattr(keras.layers, name), data_format="channels_last")


# Layers by the number of sides of a signal.
DOWN = {sides: channels_last(f"Conv{sides}D") for sides in (1, 2, 3)}
UP = {sides: channels_last(f"Conv{sides}DTranspose") for sides in (1, 2, 3)}
CROP = {1: keras.layers.Cropping1D, 2: channels_last("Cropping2D"), 3: channels_last("Cropping3D")}
POOL = {sides: channels_last(f"AveragePooling{sides}D") for sides in (1, 2, 3)}
FLATTEN = channels_last("Flatten")


def check_smooth(owner: str, activation: str) -> None:
    """Refuse an activation of a generator that is not smooth."""
    if activation not in SMOOTH:
        raise ValueError(
            f"{owner} expected an activation of {', '.join(SMOOTH)}, received "
            f"{activation!r}. With kinked ones (relu, leaky_relu) the chain of an example depends on "
            "its batch. To use one nevertheless, pass a keras.Model of your own to Generator."
        )


def check_activation(owner: str, activation: str) -> None:
    """Refuse an activation that is not one of a descriptor."""
    if activation not in (*SMOOTH, *KINKED):
        raise ValueError(
            f"{owner} expected an activation of {', '.join((*SMOOTH, *KINKED))}, received "
            f"{activation!r}."
        )


def check_padding(owner: str, padding: str) -> None:
    """Refuse a padding other than "valid" and "same"."""
    if padding not in ("valid", "same"):
        raise ValueError(f"{owner} expected a padding of 'valid' or 'same', received {padding!r}.")


def check_output(owner: str, output: str) -> None:
    """Refuse an activation of the last layer of a generator other than "tanh" and "linear"."""
    checks.one_of("tanh", "linear")(owner, "output", output)


def check_counts(owner: str, **values: int) -> None:
    """Refuse values that are no integers of 1 or more."""
    for name, value in values.items():
        checks.integer(owner, name, value, 1)


def check_shape(owner: str, form: str, shape: Sequence[int], least: int = 1) -> tuple[int, ...]:
    """Return the shape of a signal as a tuple, or raise an error.

    Args:
        owner: name of the function that received the shape, for messages.
        form: names of the axes, such as "(height, width, channels)".
        shape: sides, then channels.
        least: the shortest side that is allowed.

    Raises:
        ValueError: if the shape has other axes, a side is too short, or there are no channels.
    """
    shape = tuple(shape)
    whole = all(isinstance(size, int | np.integer) and size >= 1 for size in shape)
    if len(shape) != form.count(",") + 1 or not whole or min(shape[:-1]) < least:
        raise ValueError(
            f"{owner} expected a shape {form} of positive integers, sides of {least} or more and "
            f"channels last, received {shape}."
        )
    return tuple(int(size) for size in shape)


def covering(sides: Sequence[int], factors: Sequence[int]) -> list[int]:
    """Return the sides of the smallest grid that covers a signal, `factors` of it with each entry.

    Example:
        >>> covering((201, 301), (32, 32))
        [7, 10]
    """
    return [-(-side // factor) for side, factor in zip(sides, factors, strict=True)]


def doublings(side: int) -> int:
    """Return how often a coarsest side is doubled: so that it is at most 7, and once at least."""
    return max(1, (-(-side // 7) - 1).bit_length())


def cropped(x: keras.KerasTensor, sides: Sequence[int], dtype) -> keras.KerasTensor:
    """Return the middle of a map, with the sides of a signal; the map itself if it has these sides.

    Generators enlarge a grid by whole factors, so their last map may be larger than the signal. Its
    middle is kept, because the border of a map is next to zeros: both ends of a side lose as much.
    """
    spare = [have - side for have, side in zip(x.shape[1:-1], sides, strict=True)]
    if not any(spare):
        return x
    crop = [(more // 2, more - more // 2) for more in spare]
    return CROP[len(crop)](crop if len(crop) > 1 else crop[0], dtype=dtype, name="crop")(x)


def activated(activation: str, dtype, name: str | None) -> keras.layers.Layer:
    """Return a layer with an activation; "leaky_relu" has the slope 0.2."""
    if activation == "leaky_relu":
        return keras.layers.LeakyReLU(0.2, dtype=dtype, name=name)
    return keras.layers.Activation(activation, dtype=dtype, name=name)


def steady(inputs: float, activation: str | None = None) -> keras.initializers.Initializer:
    """Return an initializer of weights that gives outputs of variance one.

    Keras's defaults also count the outputs of a layer, and ignore that each output of a transposed
    convolution depends on a part of the kernel only. With them signals would shrink from layer to
    layer, and latents would have to grow far beyond their prior to have an effect.

    Args:
        inputs: number of inputs of each output.
        activation: activation that was applied to the inputs, which had variance one before; None for
            none.
    """
    power = 1.0
    if activation is not None:
        # The mean square of the activation of a standard normal, by Gauss-Hermite quadrature.
        points, weights = np.polynomial.hermite_e.hermegauss(64)
        values = np.asarray(keras.activations.get(activation)(keras.ops.convert_to_tensor(points)))
        power = float(weights @ values**2 / math.sqrt(2 * math.pi))
    return keras.initializers.RandomNormal(stddev=(1 / (inputs * power)) ** 0.5)


def top_down(
    name: str,
    sides: Sequence[int],
    channels: Sequence[int],
    strides: Sequence[tuple[int, ...]],
    kernels: Sequence[tuple[int, ...]],
    activation: str,
    padding: str,
    output: str,
    dtype,
    axes: int | None = None,
    places: bool = False,
) -> keras.Model:
    """Build a fully convolutional generator: each layer enlarges its grid.

    Args:
        name: name of the model.
        sides: sides of the signal; the last map is cropped to them.
        channels: numbers of channels of the latents, of each hidden layer, and of the signal.
        strides: one tuple per layer: the factors by which the sides grow.
        kernels: one tuple per layer: sides of the kernel, in entries of the layer's output.
        activation: name of the activation of the hidden layers.
        padding: "same": entries near the border depend on fewer latents than others; or "valid": the
            grid of latents is wider than the signal, so that all entries depend on equally many.
        output: "tanh" or "linear", the activation after the last layer.
        dtype: dtype policy of the layers.
        axes: number of the first axes that `padding` applies to; the others have "same". None for all.
        places: whether the first layer has a bias for each position of a frame.

    Returns:
        A `keras.Model` from `[n, *grid, channels[0]]`, the smallest grid that covers the signal, with
        "valid" a grid with margins, to float32 signals.

    Raises:
        ValueError: if the padding or the output is unknown, or a kernel is narrower than its stride:
            some entries would not depend on the latents.
    """
    check_padding(name, padding)
    check_output(name, output)
    pairs = list(zip(strides, kernels, strict=True))
    if any(
        width < step for stride, kernel in pairs for width, step in zip(kernel, stride, strict=True)
    ):
        least = max(step for stride in strides for step in stride)
        raise ValueError(
            f"{name} expected a kernel_size of at least {least}, the largest factor by which a layer "
            f"enlarges a side, received {min(min(kernel) for kernel in kernels)}: some entries would "
            "not depend on the latents. Use wider kernels, or more layers with smaller factors."
        )
    rank = len(sides)
    margins = [[0] * rank] * (len(strides) + 1)
    if padding == "valid":
        wide = rank if axes is None else axes
        margins = [row[:wide] + [0] * (rank - wide) for row in _margins(strides, kernels)]
    grid = covering(sides, [math.prod(steps) for steps in zip(*strides, strict=True)])
    grid = [side + 2 * margin for side, margin in zip(grid, margins[0], strict=True)]
    latent = keras.Input((*grid, channels[0]), name="latent")
    x, last = latent, len(strides)
    for level, (stride, kernel) in enumerate(pairs, start=1):
        inputs = math.prod(kernel) / math.prod(stride) * channels[level - 1]
        own = places and level == 1
        options = {
            "padding": "same",
            "kernel_initializer": steady(inputs, activation if level > 1 else None),
            "activation": activation if level < last and not own else None,
            "use_bias": not own,
            "dtype": dtype,
            "name": f"up{level}",
        }
        x = UP[rank](channels[level], kernel, stride, **options)(x)
        if padding == "valid":
            before, after = margins[level - 1 : level + 1]
            crop = [step * m - n for step, m, n in zip(stride, before, after, strict=True)]
            x = CROP[rank](crop if rank > 1 else crop[0], dtype=dtype, name=f"crop{level}")(x)
        if own:
            x = PlaceBias(dtype=dtype, name="places")(x)
            x = activated(activation, dtype, f"activation{level}")(x)
    x = cropped(x, sides, dtype)
    # Residuals are float32 under every precision policy, so the last activation is float32 too.
    x = keras.layers.Activation(output, dtype="float32", name="range")(x)
    return keras.Model(latent, x, name=name)


def _margins(strides: Sequence[tuple[int, ...]], kernels: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """Return the margins of the latents and of the map of each layer, at each end of each side."""
    margins = [[0] * len(strides[0])]
    for stride, kernel in zip(reversed(strides), reversed(kernels), strict=True):
        # So many entries at each end of a layer's output would depend on latents outside the grid.
        lost = [width - step - (width - step) // 2 for step, width in zip(stride, kernel, strict=True)]
        needed = zip(margins[0], lost, stride, strict=True)
        margins.insert(0, [-(-(margin + some) // step) for margin, some, step in needed])
    return margins


def bottom_up(
    name: str,
    shape: Sequence[int],
    filters: Sequence[int],
    strides: Sequence[tuple[int, ...]],
    kernels: Sequence[tuple[int, ...]],
    activation: str,
    scale: float,
    padding: str | None,
    dtype,
) -> keras.Model:
    """Build a translation-invariant descriptor: convolutions to one map, whose sum is `f(x)`.

    Args:
        name: name of the model.
        shape: shape of one signal.
        filters: number of filters of each hidden layer; a last layer of one filter follows.
        strides: strides along the sides, one tuple per layer, the last layer included.
        kernels: sides of the kernels, one tuple per layer, the last layer included.
        activation: name of the activation of the hidden layers.
        scale: factor of the sum.
        padding: "valid" or "same"; None for "valid" if the signal is at least as large as the receptive
            field of the last map, else "same".
        dtype: dtype policy of the convolutions.

    Returns:
        A `keras.Model` from `[n, *shape]` to float32 `[n, 1]`.
    """
    check_activation(name, activation)
    sides, reach = shape[:-1], reach_of(strides, kernels)
    fits = all(side >= least for side, least in zip(sides, reach, strict=True))
    padding = padding or ("valid" if fits else "same")
    check_padding(name, padding)
    if padding == "valid" and not fits:
        least, received = ("x".join(map(str, each)) for each in (reach, sides))
        raise ValueError(
            f"{name} expected sides of at least {least}, the receptive field of its last map, with "
            f"padding='valid', received {received}. Use larger signals, or padding='same'."
        )
    signal = keras.Input(shape, name="signal")
    x = signal
    convolution: Callable = DOWN[len(shape) - 1]
    for level, count in enumerate(filters, start=1):
        at = level - 1
        x = convolution(
            count, kernels[at], strides[at], padding=padding, dtype=dtype, name=f"down{level}"
        )(x)
        x = activated(activation, dtype, f"activation{level}")(x)
    # f is large compared with its differences between samples and data: float32 under every policy.
    x = convolution(1, kernels[-1], strides[-1], padding=padding, dtype="float32", name="score")(x)
    x = keras.ops.sum(x, axis=tuple(range(1, len(shape))))
    if scale != 1:
        x = keras.layers.Rescaling(scale, dtype="float32", name="scale")(x)
    return keras.Model(signal, x, name=name)


def reach_of(strides: Sequence[tuple[int, ...]], kernels: Sequence[tuple[int, ...]]) -> list[int]:
    """Return the receptive field of the last map, in entries of the signal along each side."""
    reach = [1] * len(strides[0])
    for stride, kernel in zip(reversed(strides), reversed(kernels), strict=True):
        pairs = zip(reach, stride, kernel, strict=True)
        reach = [(side - 1) * step + width for side, step, width in pairs]
    return reach
