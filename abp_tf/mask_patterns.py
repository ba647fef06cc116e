"""Functions that draw masks, one for each kind; `abp_tf.masks` defines what a mask is."""

from collections.abc import Callable, Sequence

import numpy as np

from abp_tf import checks

# Largest number of redraws of a mask that hides everything. If so many are not enough, practically
# all masks of the kind hide everything.
_REDRAWS = 1000


def pepper(n: int | Sequence[int], shape: Sequence[int], p: float, seed: int = 0) -> np.ndarray:
    """Draw masks that hide each pixel independently with probability `p`.

    A mask that hides everything is drawn again, from the next random stream of the same example,
    until at least one pixel is observed.

    Args:
        n: number of masks, or the numbers of the examples whose masks are drawn.
        shape: spatial shape of the signals, of any rank: `(h, w)` for images.
        p: probability that a pixel is hidden, strictly between 0 and 1.
        seed: non-negative integer, seed of the masks.

    Returns:
        Bool array `[n, *shape]`, True where observed.

    Raises:
        ValueError: if an argument is out of range, or `p` is so near 1 that 1000 redraws hide
            everything.

    Example:
        >>> pepper(2, (28, 28), p=0.9).shape
        (2, 28, 28)
    """
    shape = _checked_shape(shape)
    check_probability(p)
    return _draw(n, shape, seed, lambda rng: rng.random(shape) >= p)


def squares(
    n: int | Sequence[int], shape: Sequence[int], p: float, side: int, seed: int = 0
) -> np.ndarray:
    """Draw masks that hide each cell of a grid of squares independently with probability `p`.

    The grid of `side` x `side` cells is shifted by a random offset for every image; cells are
    cut off at the border. A mask that hides everything is drawn again, offset included, as in
    `pepper`.

    Args:
        n: number of masks, or the numbers of the examples whose masks are drawn.
        shape: spatial shape `(h, w)`.
        p: probability that a cell is hidden, strictly between 0 and 1.
        side: side of a cell in pixels, from 1 to the shorter side of the image.
        seed: non-negative integer, seed of the masks.

    Returns:
        Bool array `[n, h, w]`, True where observed.

    Raises:
        ValueError: if an argument is out of range, or `p` is so near 1 that 1000 redraws hide
            everything.

    Example:
        >>> squares(2, (28, 28), p=0.9, side=3).shape
        (2, 28, 28)
    """
    height, width = _checked_plane(shape, "squares")
    check_probability(p)
    _check_size("side", side, height, width)

    def one(rng: np.random.Generator) -> np.ndarray:
        down, right = rng.integers(side, size=2)
        rows, columns = (np.arange(height) + down) // side, (np.arange(width) + right) // side
        cells = rng.random((rows[-1] + 1, columns[-1] + 1)) >= p
        return cells[np.ix_(rows, columns)]

    return _draw(n, (height, width), seed, one)


def block(n: int | Sequence[int], shape: Sequence[int], size: int, seed: int = 0) -> np.ndarray:
    """Draw masks that hide one square per image, at a random position inside the image.

    All positions inside the image are equally likely. In a clip the square moves at a constant
    speed from one random position, in the first frame, to another, in the last.

    Args:
        n: number of masks, or the numbers of the examples whose masks are drawn.
        shape: spatial shape `(h, w)` of images, or `(frames, h, w)` of clips.
        size: side of the square in pixels, from 1 to the shorter side of the image; it must
            not cover a whole image.
        seed: non-negative integer, seed of the masks.

    Returns:
        Bool array `[n, *shape]`, True where observed.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> int((~block(1, (28, 28), size=13)).sum())
        169
    """
    shape = _checked_shape(shape)
    if len(shape) == 3:
        frames, (height, width) = shape[0], _checked_plane(shape[1:], "block")
    else:
        frames, (height, width) = 1, _checked_plane(shape, "block")
    _check_size("size", size, height, width)
    if size == height == width:
        raise ValueError(
            f"Expected a block that leaves something observed, received size={size} for images "
            f"of {height} x {width} pixels; choose a smaller size."
        )

    def one(rng: np.random.Generator) -> np.ndarray:
        places = height - size + 1, width - size + 1
        ends = [[rng.integers(side) for side in places] for _ in range(min(frames, 2))]
        corners = np.rint(np.linspace(ends[0], ends[-1], frames)).astype(int)
        mask = np.ones((frames, height, width), bool)
        for frame, (top, left) in zip(mask, corners, strict=True):
            frame[top : top + size, left : left + size] = False
        return mask.reshape(shape)

    return _draw(n, shape, seed, one)


def frames(n: int | Sequence[int], shape: Sequence[int], p: float, seed: int = 0) -> np.ndarray:
    """Draw masks that hide each frame of a clip independently with probability `p`.

    A mask that hides every frame is drawn again, as in `pepper`.

    Args:
        n: number of masks, or the numbers of the examples whose masks are drawn.
        shape: spatial shape, time first: `(frames, h, w)` for clips.
        p: probability that a frame is hidden, strictly between 0 and 1.
        seed: non-negative integer, seed of the masks.

    Returns:
        Bool array `[n, *shape]`, True where observed.

    Raises:
        ValueError: if an argument is out of range, or `p` is so near 1 that 1000 redraws hide
            everything.

    Example:
        >>> frames(2, (16, 64, 64), p=0.5).shape
        (2, 16, 64, 64)
    """
    shape = _checked_shape(shape)
    check_probability(p)

    def one(rng: np.random.Generator) -> np.ndarray:
        observed = rng.random(shape[0]) >= p
        return np.broadcast_to(observed.reshape(-1, *[1] * (len(shape) - 1)), shape)

    return _draw(n, shape, seed, one)


def gap(n: int | Sequence[int], shape: Sequence[int], size: int, seed: int = 0) -> np.ndarray:
    """Draw masks that hide `size` successive samples of a sound, or frames of a clip.

    All positions of the gap inside the signal are equally likely.

    Args:
        n: number of masks, or the numbers of the examples whose masks are drawn.
        shape: spatial shape, time first: `(samples,)` for sounds.
        size: length of the gap, from 1 to one less than the length of the signal.
        seed: non-negative integer, seed of the masks.

    Returns:
        Bool array `[n, *shape]`, True where observed.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> int((~gap(1, (60_000,), size=5512)).sum())
        5512
    """
    shape = _checked_shape(shape)
    if not 1 <= size < shape[0]:
        raise ValueError(
            f"Expected a gap of 1 to {shape[0] - 1}, so that something of {shape[0]} is observed, "
            f"received {size}."
        )

    def one(rng: np.random.Generator) -> np.ndarray:
        start = rng.integers(shape[0] - size + 1)
        mask = np.ones(shape, bool)
        mask[start : start + size] = False
        return mask

    return _draw(n, shape, seed, one)


def _draw(
    n: int | Sequence[int],
    shape: tuple[int, ...],
    seed: int,
    one: Callable[[np.random.Generator], np.ndarray],
) -> np.ndarray:
    examples = n if isinstance(n, Sequence | np.ndarray) else range(checks.integer("Masks", "n", n, 0))
    checks.integer("Masks", "seed", seed, 0)
    masks = np.empty((len(examples), *shape), bool)
    for row, example in enumerate(examples):
        for attempt in range(_REDRAWS):
            stream = np.random.SeedSequence(seed, spawn_key=(int(example), attempt))
            masks[row] = one(np.random.Generator(np.random.PCG64(stream)))
            if masks[row].any():
                break
        else:
            raise ValueError(
                f"Expected masks that leave something of {shape} observed, received {_REDRAWS} "
                "that hide everything; lower p, or use larger images or smaller cells."
            )
    return masks


def _checked_shape(shape: Sequence[int]) -> tuple[int, ...]:
    shape = tuple(shape)
    if not shape or any(length < 1 for length in shape):
        raise ValueError(
            "Expected the spatial shape of one signal, positive and without batch and channels, "
            f"such as (28, 28), received {shape}."
        )
    return shape


def _checked_plane(shape: Sequence[int], kind: str) -> tuple[int, int]:
    shape = _checked_shape(shape)
    if len(shape) != 2:
        raise ValueError(
            f"Expected a spatial shape (h, w) for {kind!r} masks, received {shape}; 'pepper', "
            "'frames' and 'gap' masks work for any rank."
        )
    return shape


def check_probability(p: float) -> None:
    """Refuse probabilities of being hidden outside the open interval (0, 1)."""
    if not 0 < p < 1:
        raise ValueError(
            f"Expected a probability p of being hidden with 0 < p < 1, received {p}; 0.9 hides "
            "nine entries in ten."
        )


def _check_size(name: str, value: int, height: int, width: int) -> None:
    checks.integer("Masks", name, value, 1)
    if value > min(height, width):
        raise ValueError(
            f"Expected {name} of at most {min(height, width)} for images of {height} x {width} "
            f"pixels, received {value}."
        )
