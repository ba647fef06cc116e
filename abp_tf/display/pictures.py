"""Draw images: grids, labelled rows, curves, PNG files.

Images are `[n, h, w, c]` with one (grey) or three (RGB) channels in [-1, 1]. In pictures, values out
of range are clipped, and NaN, allowed in hidden entries, is drawn as mid-grey; the arrays are not
changed. A picture is uint8 RGB `[H, W, 3]`.
"""

import io
import os
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from abp_tf import checks, files

# Side of a tile that is easy to view, and width of a picture that fits a screen, in pixels.
_TILE = 64
_WIDTH = 1600
_PAPER = 255


def grid(images: ArrayLike, columns: int, scale: int | str = "auto", gap: int = 2) -> np.ndarray:
    """Draw images in a grid on white, enlarged without smoothing.

    Args:
        images: images `[n, h, w, c]` in [-1, 1], one or three channels.
        columns: number of images in a row; the rest of the last row stays white.
        scale: integer factor by which images are enlarged. "auto" makes the shorter side of a tile
            at least 64 pixels, unless the picture would be wider than 1600 pixels.
        gap: width of the white gap between tiles, in pixels.

    Returns:
        A picture, uint8 `[H, W, 3]`.

    Raises:
        ValueError: if `images` is not a non-empty batch of images, or a number is out of range.

    Example:
        >>> grid(np.zeros((10, 28, 28, 1)), columns=5).shape
        (170, 428, 3)
    """
    tiles = _displayed(images)
    checks.integer("grid", "columns", columns, 1)
    checks.integer("grid", "gap", gap, 0)
    n, height, width, _ = tiles.shape
    scale = _checked_scale(scale, height, width, columns, gap)
    tiles = tiles.repeat(scale, axis=1).repeat(scale, axis=2)
    height, width = height * scale, width * scale
    rows_needed = -(-n // columns)
    shape = (rows_needed * (height + gap) - gap, columns * (width + gap) - gap, 3)
    picture = np.full(shape, _PAPER, np.uint8)
    for place, tile in enumerate(tiles):
        top, left = place // columns * (height + gap), place % columns * (width + gap)
        picture[top : top + height, left : left + width] = tile
    return picture


def rows(batches: Sequence[ArrayLike], labels: Sequence[str] | None = None, gap: int = 2) -> np.ndarray:
    """Draw one row of images per batch, with a label at the left.

    It serves comparisons: signals in the first row, their reconstructions below.

    Args:
        batches: batches of images `[n, h, w, c]` in [-1, 1], all of one height and width. Grey and RGB
            may be mixed; shorter rows end in white.
        labels: one text per row; None for a picture without labels.
        gap: width of the white gap between tiles, in pixels.

    Returns:
        A picture, uint8 `[H, W, 3]`.

    Raises:
        ValueError: if there are no rows, their sizes differ, or labels and rows do not pair up.

    Example:
        >>> images = np.zeros((5, 28, 28, 1))
        >>> rows([images, images]).shape
        (170, 428, 3)
    """
    arrays = [np.asarray(batch) for batch in batches]
    sizes = {array.shape[1:3] for array in arrays}
    if len(sizes) != 1:
        raise ValueError(
            "Expected rows of images of one size, at least one row, received the shapes "
            f"{[array.shape for array in arrays]}."
        )
    if labels is not None and len(labels) != len(batches):
        raise ValueError(
            f"Expected one label per row, received {len(labels)} labels for {len(batches)} rows."
        )
    columns = max(len(array) for array in arrays)
    strips = [grid(array, columns, gap=gap) for array in arrays]
    between = np.full((gap, strips[0].shape[1], 3), _PAPER, np.uint8)
    stacked = np.concatenate([part for strip in strips for part in (strip, between)])
    stacked = stacked[: len(stacked) - gap]
    if labels is None:
        return stacked
    middles = [len(strips[0]) // 2 + i * (len(strips[0]) + gap) for i in range(len(strips))]
    return np.concatenate([_margin(labels, middles, len(stacked)), stacked], axis=1)


def visible(images: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Return signals with NaN, which is drawn as mid-grey, in hidden entries.

    Args:
        images: signals `[n, ..., c]`.
        mask: bool of the same shape, or without the channel axis, True where observed; None if
            everything is observed.

    Returns:
        Floats `[n, ..., c]`.
    """
    if mask is None:
        return images
    return np.where(mask[..., None] if mask.ndim < images.ndim else mask, images, np.nan)


def png(picture: np.ndarray) -> bytes:
    """Return a picture encoded as PNG.

    Args:
        picture: the picture, uint8 `[H, W, 3]`, or `[H, W]` for grey.

    Returns:
        The content of a file.

    Raises:
        ValueError: if `picture` has another type or shape.

    Example:
        >>> png(grid(np.zeros((10, 28, 28, 1)), columns=5))[1:4]
        b'PNG'
    """
    from PIL import Image

    picture = np.asarray(picture)
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3) or picture.shape[2:] not in ((), (3,)):
        raise ValueError(
            "Expected a picture, uint8 [H, W, 3] or [H, W], received "
            f"{picture.dtype} {picture.shape}; `grid` makes one of images."
        )
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="png")
    return buffer.getvalue()


def save_png(path: str | os.PathLike, picture: np.ndarray) -> None:
    """Write a picture as PNG; an existing file is replaced whole or not at all.

    Args:
        path: path of the file; missing folders are made.
        picture: the picture, uint8 `[H, W, 3]`, or `[H, W]` for grey.

    Raises:
        ValueError: if `picture` has another type or shape.

    Example:
        >>> save_png("runs/faces/samples.png", grid(images, columns=8))
    """
    files.replace(path, png(picture))


def curves(
    path: str | os.PathLike,
    series: dict[str, Sequence[tuple[float, float]]],
    ylabel: str,
    title: str,
    xlabel: str = "epoch",
) -> None:
    """Draw one line per named series into a PNG file; an existing file is replaced whole.

    Args:
        path: path of the file; missing folders are made.
        series: points (x, y) of each series by name, in drawing order. A point that is not finite
            leaves a gap.
        ylabel: label of the y axis, with the unit.
        title: title above the picture.
        xlabel: label of the x axis.

    Raises:
        ValueError: if no series has a point.

    Example:
        >>> curves("runs/error.png", {"train": [(1, 0.2), (2, 0.1)]},
        ...        ylabel="mean squared error", title="Faces")
    """
    files.replace(path, _drawn(series, ylabel, title, xlabel))


def _drawn(series, ylabel: str, title: str, xlabel: str) -> bytes:
    """Return the PNG file of lines; arguments as for `curves`."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    if not any(len(points) for points in series.values()):
        raise ValueError(f"Expected at least one point to draw, received {dict(series)}.")
    # Not by pyplot, which would keep the figure and choose a window system.
    figure = Figure(figsize=(7, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    for name, points in series.items():
        # The marker shows a series of one point, which has no line.
        axes.plot([x for x, _ in points], [y for _, y in points], marker=".", label=name)
    if all(float(x).is_integer() for points in series.values() for x, _ in points):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))  # no ticks such as epoch 1.25
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def reliability(levels: Iterable[float], coverage: Iterable[float], title: str) -> np.ndarray:
    """Draw the observed coverage of intervals against their level.

    Args:
        levels: nominal levels, in [0, 1].
        coverage: share of the entries inside the intervals of each level
            (`abp_tf.metrics.calibration.coverage_by_level`).
        title: title above the picture.

    Returns:
        A picture, uint8 `[H, W, 3]`.

    Example:
        >>> reliability([0.5, 0.9], [0.4, 0.8], title="Intervals").shape
        (540, 840, 3)
    """
    from PIL import Image

    observed = zip(levels, coverage, strict=True)
    series = {"exact intervals": [(0, 0), (1, 1)], "observed": list(observed)}
    drawn = _drawn(series, "share of hidden entries inside", title, "level of the interval")
    return np.asarray(Image.open(io.BytesIO(drawn)).convert("RGB"))


def _displayed(images: ArrayLike) -> np.ndarray:
    given = np.asarray(images)
    if given.ndim != 4 or given.shape[-1] not in (1, 3) or given.size == 0:
        raise ValueError(
            "Expected images [n, h, w, c], not empty, with one or three channels, received the "
            f"shape {given.shape}."
        )
    if given.dtype == np.uint8:
        raise ValueError("Expected images in [-1, 1], received uint8; map them: x / 127.5 - 1.")
    values = np.nan_to_num(given.astype(np.float32), nan=0.0)
    shades = np.rint((np.clip(values, -1, 1) + 1) * 127.5).astype(np.uint8)
    return np.broadcast_to(shades, (*shades.shape[:-1], 3))


def _checked_scale(scale: int | str, height: int, width: int, columns: int, gap: int) -> int:
    if scale == "auto":
        wanted = -(-_TILE // min(height, width))
        affordable = (_WIDTH + gap - columns * gap) // (columns * width)
        return max(1, min(wanted, affordable))
    return checks.integer("grid", "scale", scale, 1)


def _margin(labels: Sequence[str], middles: Sequence[int], height: int) -> np.ndarray:
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size=14)
    width = max(round(font.getlength(label)) for label in labels) + 16
    margin = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(margin)
    for label, middle in zip(labels, middles, strict=True):
        draw.text((8, middle), label, fill="black", font=font, anchor="lm")
    return np.asarray(margin)
