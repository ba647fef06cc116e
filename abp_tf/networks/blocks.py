"""What ConvNets of several kinds of signals share: sizes, initial weights, the two ways through."""

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
    """Return a class of `keras.layers` that has channels last, whatever Keras's global format is."""
    return functools.partial(getattr(keras.layers, name), data_format="channels_last")


# By the number of sides of a signal.
DOWN = {sides: channels_last(f"Conv{sides}D") for sides in (1, 2, 3)}
UP = {sides: channels_last(f"Conv{sides}DTranspose") for sides in (1, 2, 3)}
CROP = {1: keras.layers.Cropping1D, 2: channels_last("Cropping2D"), 3: channels_last("Cropping3D")}
FLATTEN = channels_last("Flatten")


def check_smooth(owner: str, activation: str) -> None:
    """Refuse an activation of a generator that is not smooth."""
    if activation not in SMOOTH:
        raise ValueError(
            f"{owner} expected an activation of {', '.join(SMOOTH)}, received "
            f"{activation!r}. Kinked ones (relu, leaky_relu) make the chain of an example depend on "
            "its batch; to use one all the same, pass a keras.Model of your own to Generator."
        )


def check_activation(owner: str, activation: str) -> None:
    """Refuse an activation that a descriptor does not know."""
    if activation not in (*SMOOTH, *KINKED):
        raise ValueError(
            f"{owner} expected an activation of {', '.join((*SMOOTH, *KINKED))}, received "
            f"{activation!r}."
        )


def check_padding(owner: str, padding: str) -> None:
    """Refuse a padding that convolutions do not know."""
    if padding not in ("valid", "same"):
        raise ValueError(f"{owner} expected a padding of 'valid' or 'same', received {padding!r}.")


def check_counts(owner: str, **values: int) -> None:
    """Refuse what is no integer of 1 or more."""
    for name, value in values.items():
        checks.integer(owner, name, value, 1)


def check_multiples(owner: str, form: str, shape: Sequence[int], factors: Sequence[int]) -> tuple:
    """Return a signal's shape whose sides are multiples of `factors`, or name the nearest such one.

    Args:
        owner: the function the shape was given to.
        form: of the shape, in words, such as "(height, width, channels)".
        shape: sides, then channels.
        factors: one for each side.
    """
    shape = tuple(shape)
    whole = all(isinstance(size, int | np.integer) and size >= 1 for size in shape)
    if len(shape) != len(factors) + 1 or not whole:
        raise ValueError(f"{owner} expected a shape {form} of positive integers, received {shape}.")
    sides = shape[:-1]
    pairs = list(zip(sides, factors, strict=True))
    nearest = [max(1, (2 * side + factor) // (2 * factor)) * factor for side, factor in pairs]
    if list(sides) != nearest:
        raise ValueError(
            f"{owner} cannot reach {_times(sides)}; the nearest size it can is {_times(nearest)}: "
            f"sides are multiples of {_times(factors)}. Resize or cut the signals, or choose other "
            "factors."
        )
    return tuple(int(size) for size in shape)


def _times(sides: Sequence[int]) -> str:
    return "x".join(map(str, sides))


def activated(activation: str, dtype, name: str) -> keras.layers.Layer:
    """Return a layer of the activation; "leaky_relu" has the slope 0.2."""
    if activation == "leaky_relu":
        return keras.layers.LeakyReLU(0.2, dtype=dtype, name=name)
    return keras.layers.Activation(activation, dtype=dtype, name=name)


def steady(inputs: float, activation: str | None = None) -> keras.initializers.Initializer:
    """Initial weights that give outputs of variance one.

    Keras's defaults also count the outputs of a layer, and forget that of the kernel of a transposed
    convolution an output meets a part alone: signals would fade from layer to layer, and latents have
    to grow far beyond their prior before they matter.

    Args:
        inputs: how many each output has.
        activation: that the inputs, of variance one before, went through; None for none.
    """
    power = 1.0
    if activation is not None:
        # The mean of its square over a standard normal, by Gauss-Hermite quadrature.
        points, weights = np.polynomial.hermite_e.hermegauss(64)
        values = np.asarray(keras.activations.get(activation)(keras.ops.convert_to_tensor(points)))
        power = float(weights @ values**2 / math.sqrt(2 * math.pi))
    return keras.initializers.RandomNormal(stddev=(1 / (inputs * power)) ** 0.5)


def top_down(
    name: str,
    grid: Sequence[int],
    channels: Sequence[int],
    strides: Sequence[tuple[int, ...]],
    kernels: Sequence[tuple[int, ...]],
    activation: str,
    padding: str,
    dtype,
    axes: int | None = None,
    places: bool = False,
) -> keras.Model:
    """A fully convolutional generator: each layer enlarges its grid, the last ends in tanh.

    Args:
        name: of the model.
        grid: sides of the latent grid that the signal covers.
        channels: of the latents, of each hidden layer, and of the signal.
        strides: one tuple per layer: by how much each side grows.
        kernels: one tuple per layer: sides of the kernel, in entries of the layer's output.
        activation: of the hidden layers.
        padding: "same", where entries near the border see fewer latents than others; or "valid", where
            the grid is wider than the signal, so that all see as many.
        dtype: policy the layers compute in.
        axes: how many of the first axes that is for, the others being padded; None for all.
        places: whether the first layer has a bias for each place of a frame.

    Returns:
        A `keras.Model` from `[n, *grid, channels[0]]`, with "valid" from a grid with margins; float32
        in [-1, 1].

    Raises:
        ValueError: for an unknown padding, or a kernel narrower than its stride: what lies between its
            places would depend on nothing.
    """
    check_padding(name, padding)
    pairs = list(zip(strides, kernels, strict=True))
    if any(
        width < step for stride, kernel in pairs for width, step in zip(kernel, stride, strict=True)
    ):
        least = max(step for stride in strides for step in stride)
        raise ValueError(
            f"{name} expected a kernel_size of at least {least}, as much as its layers enlarge a side "
            f"at most, received {min(min(kernel) for kernel in kernels)}: entries between the kernel's "
            "places would not depend on the latents. Widen it, or enlarge in more and smaller steps."
        )
    margins = [[0] * len(grid)] * (len(strides) + 1)
    if padding == "valid":
        wide = len(grid) if axes is None else axes
        margins = [row[:wide] + [0] * (len(grid) - wide) for row in _margins(strides, kernels)]
    sides = [side + 2 * margin for side, margin in zip(grid, margins[0], strict=True)]
    latent = keras.Input((*sides, channels[0]), name="latent")
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
        x = UP[len(grid)](channels[level], kernel, stride, **options)(x)
        if padding == "valid":
            before, after = margins[level - 1 : level + 1]
            crop = [step * m - n for step, m, n in zip(stride, before, after, strict=True)]
            x = CROP[len(grid)](crop if len(grid) > 1 else crop[0], dtype=dtype, name=f"crop{level}")(x)
        if own:
            x = PlaceBias(dtype=dtype, name="places")(x)
            x = activated(activation, dtype, f"activation{level}")(x)
    # Residuals are float32 under every precision policy, so the last activation is too.
    x = keras.layers.Activation("tanh", dtype="float32", name="range")(x)
    return keras.Model(latent, x, name=name)


def _margins(strides: Sequence[tuple[int, ...]], kernels: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """Return how much wider, at each end of each side, the latents and the maps of each layer are."""
    margins = [[0] * len(strides[0])]
    for stride, kernel in zip(reversed(strides), reversed(kernels), strict=True):
        # Of the entries that a layer makes, so many at each end would see latents that are not there.
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
    padding: str,
    dtype,
) -> keras.Model:
    """A translation-invariant descriptor: convolutions to one map, whose sum is `f(x)`.

    Args:
        name: of the model.
        shape: of a signal.
        filters: of each hidden layer; a last layer of one filter follows.
        strides: one tuple per layer, the last one's among them.
        kernels: sides of the kernels, one tuple per layer.
        activation: of the hidden layers.
        scale: what the sum is multiplied by.
        padding: "valid" or "same".
        dtype: policy the convolutions compute in.

    Returns:
        A `keras.Model` from `[n, *shape]` to float32 `[n, 1]`.
    """
    check_activation(name, activation)
    check_padding(name, padding)
    sides = list(shape[:-1])
    for stride, kernel in zip(strides, kernels, strict=True):
        if padding == "valid":
            pairs = zip(sides, kernel, stride, strict=True)
            sides = [(side - width) // step + 1 for side, width, step in pairs]
    if min(sides) < 1:
        raise ValueError(
            f"{name} expected sides of at least {_times(reach_of(strides, kernels))}, as far as one "
            f"entry of its last map sees, received {_times(shape[:-1])}. Take larger signals, or "
            "padding='same'."
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
    # f is large beside the differences that samples and data make in it: float32 under every policy.
    x = convolution(1, kernels[-1], strides[-1], padding=padding, dtype="float32", name="score")(x)
    x = keras.ops.sum(x, axis=tuple(range(1, len(shape))))
    if scale != 1:
        x = keras.layers.Rescaling(scale, dtype="float32", name="scale")(x)
    return keras.Model(signal, x, name=name)


def reach_of(strides: Sequence[tuple[int, ...]], kernels: Sequence[tuple[int, ...]]) -> list[int]:
    """Return how many entries of the signal, along each side, one entry of the last map sees."""
    reach = [1] * len(strides[0])
    for stride, kernel in zip(reversed(strides), reversed(kernels), strict=True):
        pairs = zip(reach, stride, kernel, strict=True)
        reach = [(side - 1) * step + width for side, step, width in pairs]
    return reach
