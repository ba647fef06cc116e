"""Convert Pillow images and arrays to pixels `[h, w, c]` of the wanted size and colour.

All resizing and colour conversion of images is here. Pixels are uint8 in 0..255, or
float32 in [-1, 1], with one (grey) or three (RGB) channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from abp_tf import checks

if TYPE_CHECKING:
    from PIL import Image

# ITU-R 601 in the 16-bit fixed point of Pillow's mode "L", whose values it reproduces exactly.
_LUMA = np.array([19595, 38470, 7471]) / 65536

_WHITE_16 = 65535

# The number of the EXIF orientation.
ORIENTATION = 0x0112


class Form(NamedTuple):
    """The height and width of an image as its file stores it, and its EXIF orientation, 1 to 8."""

    height: int
    width: int
    orientation: int

    @property
    def shown(self) -> tuple[int, int]:
        """Height and width as the image is displayed: orientations from 5 on lie on their side."""
        return (self.height, self.width) if self.orientation < 5 else (self.width, self.height)


def form(image: Image.Image) -> Form:
    """Return the form of a Pillow image that was just opened."""
    orientation: int = image.getexif().get(ORIENTATION, 1)
    return Form(image.height, image.width, orientation if orientation in range(1, 9) else 1)


def from_pil(image: Image.Image, background: str = "white") -> np.ndarray:
    """Return the pixels of a Pillow image of any mode as a viewer displays it.

    The EXIF rotation is applied, and 16-bit grey is divided by 257. If there are several frames, the
    current one is read.

    Args:
        image: a Pillow image of any mode.
        background: the colour of transparent parts, "white" or "black".

    Returns:
        uint8 `[h, w, 1]` for grey images, `[h, w, 3]` for all others.

    Raises:
        ValueError: if the mode holds floats, whose scale is unknown.

    Example:
        >>> from PIL import Image
        >>> from_pil(Image.new("CMYK", (4, 2))).shape
        (2, 4, 3)
    """
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _from_16_bit(image, _WHITE_16 if background == "white" else 0)
    if image.mode == "F":
        raise ValueError("floating-point image of unknown scale; save it with 8 or 16 bits")
    grey = image.mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        # Premultiplied "La" can be converted to "LA" only.
        image = image.convert("LA") if image.mode == "La" else image
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, background), image)
    pixels = np.asarray(image.convert("L" if grey else "RGB"))
    return pixels[..., None] if grey else pixels


def _from_16_bit(image: Image.Image, background: int) -> np.ndarray:
    values = np.array(image, dtype=np.int64)
    if values.min() < 0 or values.max() > _WHITE_16:
        raise ValueError(
            f"grey values from {values.min()} to {values.max()}, where 16 bits were expected"
        )
    if "transparency" in image.info:
        values[values == image.info["transparency"]] = background
    return np.rint(values / 257).astype(np.uint8)[..., None]


def fit(
    pixels: np.ndarray,
    size: tuple[int, int] | None = None,
    *,
    crop: bool = True,
    grey: bool | None = None,
) -> np.ndarray:
    """Bring one image to a size and a colour, and keep its dtype.

    Resizing is bicubic; where an image shrinks the kernel is widened, which avoids aliasing.

    Args:
        pixels: uint8, or float32 in [-1, 1]; `[h, w, c]` with one or three channels.
        size: (height, width); None keeps the size.
        crop: whether to cut out the centre in the aspect ratio of `size` first; else the image is
            stretched.
        grey: True turns colour into grey, False repeats grey three times, None changes nothing.

    Returns:
        `[height, width, c]` in the dtype and range of `pixels`.

    Example:
        >>> fit(np.zeros((40, 30, 3), np.uint8), (16, 16), grey=True).shape
        (16, 16, 1)
    """
    if grey and pixels.shape[-1] == 3:
        pixels = _like(pixels @ _LUMA, pixels.dtype)[..., None]
    if size is not None and pixels.shape[:2] != size:
        pixels = _resized(pixels, size, crop)
    if grey is False and pixels.shape[-1] == 1:
        pixels = np.repeat(pixels, 3, axis=-1)
    return pixels


def _resized(pixels: np.ndarray, size: tuple[int, int], crop: bool) -> np.ndarray:
    from PIL import Image

    height, width = pixels.shape[:2]
    box = (0.0, 0.0, float(width), float(height))
    if crop:
        scale = min(height / size[0], width / size[1])
        top, left = (height - size[0] * scale) / 2, (width - size[1] * scale) / 2
        # Rounding may put the far edges slightly outside the image, where Pillow refuses the box.
        box = (left, top, min(left + size[1] * scale, width), min(top + size[0] * scale, height))
    channels = [
        Image.fromarray(np.ascontiguousarray(pixels[..., channel])).resize(
            size[::-1], Image.Resampling.BICUBIC, box=box
        )
        for channel in range(pixels.shape[-1])
    ]
    return _like(np.stack([np.asarray(channel) for channel in channels], axis=-1), pixels.dtype)


def _like(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return computed pixels in `dtype`: 8-bit values rounded, floats clipped to [-1, 1]."""
    if dtype == np.uint8:
        # Pillow has clipped 8-bit values already, and a weighted mean of pixels cannot overshoot.
        return np.floor(values + 0.5).astype(np.uint8) if values.dtype != np.uint8 else values
    return np.clip(values, -1, 1).astype(dtype)


def to_signals(pixels: np.ndarray) -> np.ndarray:
    """Scale 8-bit pixels to signals: `v / 127.5 - 1`; floats are returned as they are.

    Args:
        pixels: uint8, or floats in [-1, 1], of any shape.

    Returns:
        float32 in [-1, 1], of the same shape.
    """
    if pixels.dtype != np.uint8:
        return pixels.astype(np.float32, copy=False)
    signals = pixels.astype(np.float32)
    # In place: a data set may fill half of the memory.
    signals /= 127.5
    signals -= 1
    return signals


def to_uint8(signals: np.ndarray) -> np.ndarray:
    """Return signals as 8-bit pixels: the inverse of the scaling of `load`.

    Args:
        signals: floats of any shape; -1 is black, 1 is white, values outside [-1, 1] are clipped.

    Returns:
        uint8, of the same shape.

    Raises:
        ValueError: if values are NaN.

    Example:
        >>> to_uint8(np.array([-1.0, 0.0, 1.0, 7.0]))
        array([  0, 128, 255, 255], dtype=uint8)
    """
    values = np.asarray(signals, np.float32)
    if np.isnan(values).any():
        raise ValueError(
            "Expected numbers, received NaN. Fill in hidden entries first; if no entry is hidden, "
            "the model diverged."
        )
    return np.rint((np.clip(values, -1, 1) + 1) * 127.5).astype(np.uint8)


def fit_to(images: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Bring images of any size and colour to the shape of another set of images.

    The centre is cut out in the new aspect ratio and resized as by `load`, so that negative examples
    have the size and colour of the images they are compared with.

    Args:
        images: floats in [-1, 1], `[n, h, w, c]` with one or three channels.
        shape: (height, width, channels) wanted, with one or three channels.

    Returns:
        float32 `[n, height, width, channels]` in [-1, 1].

    Raises:
        ValueError: if the shape of `images`, their dtype, their range or `shape` is not of this form.

    Example:
        >>> fit_to(np.zeros((5, 40, 30, 3)), (28, 28, 1)).shape
        (5, 28, 28, 1)
    """
    images, shape = np.asarray(images), tuple(shape)
    if len(shape) != 3 or shape[2] not in (1, 3) or min(shape) < 1:
        raise ValueError(
            f"Expected a shape (height, width, channels) with 1 or 3 channels, received {shape}."
        )
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape[1:]:
        raise ValueError(
            f"Expected images [n, h, w, c] with 1 or 3 channels, received shape {images.shape}."
        )
    if not np.issubdtype(images.dtype, np.floating):
        raise ValueError(
            f"Expected floats in [-1, 1], received {images.dtype}. Scale 8-bit images with "
            "x / 127.5 - 1."
        )
    # In this form the test fails for NaN too.
    if not (np.abs(images) <= checks.widened((-1, 1))[1]).all():
        raise ValueError(
            f"Expected finite values in [-1, 1], received values from {checks.digits(images.min())} to "
            f"{checks.digits(images.max())}."
        )
    fitted = np.empty((len(images), *shape), np.float32)
    for place, image in enumerate(images):
        fitted[place] = fit(image.astype(np.float32), shape[:2], grey=shape[2] == 1)
    return fitted
