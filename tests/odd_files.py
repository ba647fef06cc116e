"""Files that people have and nobody thinks of: how to make each, and what must come of loading it.

None of them may take more than `MEMORY`.

The next one is a line in `FILES`. Nothing is copied: each file is made where it is tested.
"""

import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from abp_tf import data, mask_files

# The largest number of bytes that NumPy and Python may hold while a file is loaded.
MEMORY = 32 << 20


class Odd(NamedTuple):
    """An odd file.

    Attributes:
        make: writes it below a folder, and returns the specification to load it by.
        load: a loader.
        right: what the error must tell, a regular expression; or a check of the signals.
        options: arguments of the loader.
    """

    make: Callable[[Path], str]
    load: Callable
    right: str | Callable[[data.Signals], bool]
    options: Mapping[str, Any] = MappingProxyType({})


def npz(members: dict[str, np.ndarray | bytes]) -> Callable[[Path], str]:
    """Return a maker of an .npz file of arrays and of members that are none."""

    def make(folder: Path) -> str:
        path, packed = folder / "a.npz", zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(path, "w", packed, compresslevel=1) as archive:
            for name, content in members.items():
                if isinstance(content, np.ndarray):
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                        np.save(file, content)
                else:
                    archive.writestr(name, content)
        return f"npz:{path}"

    return make


# By quarters that a player turns a track clockwise: a, b, c, d of x' = a x + c y, y' = b x + d y, which
# the header of the track holds (QuickTime File Format, "tkhd").
TURNS = {0: (1, 0, 0, 1), 1: (0, 1, -1, 0), 2: (-1, 0, 0, -1), 3: (0, -1, 1, 0)}


def video(frames: np.ndarray, quarters: int = 0) -> Callable[[Path], str]:
    """Return a maker of a video without loss, which players turn clockwise by so many quarters."""

    def make(folder: Path) -> str:
        av = pytest.importorskip("av")

        path, pixels = folder / "a.mov", {3: "rgb24", 4: "rgba"}[frames.shape[-1]]
        with av.open(str(path), "w") as container:
            stream = container.add_stream("png", rate=10)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = pixels
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format=pixels)))
            container.mux(stream.encode())
        content = bytearray(path.read_bytes())
        a, b, c, d = TURNS[quarters]
        matrix = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
        start = content.index(b"tkhd") + 44
        content[start : start + len(matrix)] = matrix
        path.write_bytes(content)
        return f"video:{path}"

    return make


def edited(make: Callable[[Path], str], old: bytes, new: bytes) -> Callable[[Path], str]:
    """Return a maker of the file of another one, with some of its bytes replaced."""

    def make_edited(folder: Path) -> str:
        spec = make(folder)
        path = Path(spec.partition(":")[2])
        path.write_bytes(path.read_bytes().replace(old, new))
        return spec

    return make_edited


def gif(count: int, side: int) -> Callable[[Path], str]:
    """Return a maker of a GIF of squares that are white and black in turn."""

    def make(folder: Path) -> str:
        pytest.importorskip("av")
        first, *others = [
            Image.new("L", (side, side), 255 * (1 - number % 2)) for number in range(count)
        ]
        first.save(folder / "a.gif", save_all=True, append_images=others)
        return f"video:{folder / 'a.gif'}"

    return make


def canvas(width: int, height: int) -> Callable[[Path], str]:
    """Return a maker of a GIF of one pixel on a canvas of any size."""

    def make(folder: Path) -> str:
        pytest.importorskip("av")
        Image.new("L", (1, 1)).save(folder / "a.gif")
        content = bytearray((folder / "a.gif").read_bytes())
        content[6:10] = struct.pack("<2H", width, height)
        (folder / "a.gif").write_bytes(content)
        return f"video:{folder / 'a.gif'}"

    return make


def flac(seconds: int, level: float, last: float) -> Callable[[Path], str]:
    """Return a maker of a sound of constant samples, but for the last one."""

    def make(folder: Path) -> str:
        soundfile = pytest.importorskip("soundfile")
        pytest.importorskip("soxr")
        values = np.full(seconds * 48_000, level, np.float32)
        values[-1] = last
        soundfile.write(folder / "a.flac", values, 48_000)
        return f"wav:{folder / 'a.flac'}"

    return make


def nifti(*shape: int) -> Callable[[Path], str]:
    """Return a maker of a file of volumes that are 0 but for one voxel; the last axis counts them."""

    def make(folder: Path) -> str:
        nibabel = pytest.importorskip("nibabel")
        values = np.zeros(shape, np.uint8, order="F")
        values[0, 0, 0] = 1
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), folder / "a.nii.gz")
        return f"volume:{folder / 'a.nii.gz'}"

    return make


def masked(spec: str, **options) -> data.Signals:
    """Load four digits with their masks, the first ones of those in a file."""
    digits = data.load("digits", size=8, limit=4, test_share=0)
    return mask_files.attach(digits, spec, limited=True, **options)


def half_hidden(found: data.Signals) -> bool:
    return found.train_mask.shape == (4, 8, 8) and found.train_mask.mean() == 0.5


def huge(*shape: int, row: Sequence[int] = (192,)) -> np.ndarray:
    """Return an array of equal rows that needs no memory."""
    return np.broadcast_to(np.uint8(row), shape)


def equal(pixels: np.ndarray) -> Callable[[data.Signals], bool]:
    """Return a check of all signals against 8-bit pixels."""
    return lambda signals: np.array_equal(data.to_uint8(signals.train), pixels)


def shaped(*shape: int) -> Callable[[data.Signals], bool]:
    return lambda signals: signals.train.shape == shape


GREY = np.arange(2 * 6 * 6, dtype=np.uint8).reshape(2, 6, 6)
TONE = np.sin(np.arange(400) / 5).astype(np.float32) / 2
CLIPS = np.zeros((2, 3, 6, 6, 3), np.uint8)
FLOATS = np.linspace(-1, 0.5, 3 * 36, dtype=np.float32).reshape(3, 6, 6)
BEYOND = np.nextafter(np.float32(1), np.float32(2))
MOVIE = np.random.default_rng(0).integers(0, 256, (3, 8, 12, 3), np.uint8)
OPACITY = np.full((3, 8, 12, 1), 255, np.uint8)
OPACITY[:, :, 4:8], OPACITY[:, :, 8:] = 51, 0
GLASS = np.concatenate([MOVIE, OPACITY], axis=-1)
ON_WHITE = np.rint(MOVIE / 255 * OPACITY + 255 - OPACITY).astype(np.uint8)
WHOLE = {"test_share": 0}
FEW_WHOLE = {"limit": 3, **WHOLE}
FEW, CLIPPED = {"length": 100, **FEW_WHOLE}, {"length": 5, **FEW_WHOLE}
UNFIT = np.broadcast_to(np.True_, 1 << 26)
MAC = {"__MACOSX/._x.npy": b"\0\5\x16\7\0", "README.txt": b"six by six", ".DS_Store": b"\0\0\0\1"}

FILES = {
    "zipped again on a Mac": Odd(npz({"x": GREY, **MAC}), data.load, shaped(2, 6, 6, 1), WHOLE),
    "sounds with a README": Odd(npz({"x": TONE, **MAC}), data.load_sound, shaped(1, 400, 1), WHOLE),
    **{
        f"{key} of {value}": Odd(
            npz({"x": array, key: np.array(value)}),
            load,
            rf"`{key}`.* 'x'.* of 2 recordings, received",
            {key: 5.0},
        )
        for key, load, array in (
            ("rate", data.load_sound, np.stack([TONE, TONE])),
            ("fps", data.load_video, CLIPS),
        )
        for value in (np.nan, np.inf, 0, -8.0, [], [8.0, 8.0, 8.0], [8.0, np.nan], "8")
    },
    "as many rates as clips": Odd(
        npz({"x": CLIPS, "fps": np.array([8, 8])}), data.load_video, lambda found: found.rate == 8
    ),
    **{
        f"{name} rounded beyond 1": Odd(
            npz({"x": array * BEYOND / array.max()}), load, lambda found: found.train.max() == BEYOND
        )
        for name, load, array in (("sounds", data.load_sound, TONE), ("images", data.load, -FLOATS))
    },
    "far beyond 1": Odd(npz({"x": FLOATS * np.float32(1.00001)}), data.load, r"-1\.00001 to .* 'x'"),
    **{
        f"video turned by {90 * quarters}": Odd(
            video(MOVIE, quarters),
            data.load_video,
            equal(np.rot90(MOVIE, -quarters, axes=(1, 2))[None]),
        )
        for quarters in TURNS
    },
    **{
        f"big-endian sounds of {size} bytes": Odd(
            npz({"x": np.full(400, -(2 ** (8 * size - 2)), f">i{size}")}),
            data.load_sound,
            lambda found: (found.train == -0.5).all(),
        )
        for size in (1, 2, 4)
    },
    "transparent video": Odd(video(GLASS), data.load_video, equal(ON_WHITE[None])),
    **{
        f"huge array of {name}": Odd(npz({"x": array, "y": UNFIT}), load, check, options)
        for name, array, load, check, options in (
            ("images", huge(25_000, 64, 64), data.load, shaped(3, 64, 64, 1), FEW_WHOLE),
            ("sounds", huge(2000, 50_000), data.load_sound, shaped(3, 100, 1), FEW),
            ("samples", huge(10**8), data.load_sound, shaped(3, 100, 1), FEW),
            ("clips", huge(900, 9, 64, 64, 3), data.load_video, shaped(3, 5, 64, 64, 3), CLIPPED),
            ("frames", huge(25_000, 64, 64), data.load_video, shaped(3, 5, 64, 64, 1), CLIPPED),
            ("photographs", huge(9000, 99, 99), data.load_texture, shaped(1, 99, 99, 1), {"item": 2}),
            ("volumes", huge(1600, 40, 40, 40), data.load_volume, shaped(3, 40, 40, 40, 1), FEW_WHOLE),
            ("scans", huge(1600, 40, 40, 40), data.load_volume, shaped(1, 40, 40, 40, 1), {"item": 3}),
            ("masks", huge(1_600_000, 8, 8, row=range(0, 256, 36)), masked, half_hidden, {}),
        )
    },
    "long sound": Odd(
        flac(300, 0.25, 0.5), data.load_sound, lambda found: (found.train == 0.25).all(), FEW
    ),
    "long sound scaled": Odd(
        flac(300, 0.25, 0.5),
        data.load_sound,
        lambda found: (found.train == 0.5).all() and found.train.shape == (3, 100, 1),
        {**FEW, "peak": 1.0},
    ),
    "long sound resampled": Odd(
        flac(300, 0.25, 0.5),
        data.load_sound,
        lambda found: np.abs(found.train[1:] - 0.25).max() < 0.01,
        {**FEW, "rate": 8000},
    ),
    "long GIF": Odd(gif(400, 256), data.load_video, shaped(3, 5, 256, 256, 3), CLIPPED),
    "many volumes": Odd(nifti(40, 40, 40, 2000), data.load_volume, shaped(3, 40, 40, 40, 1), FEW_WHOLE),
    "video of an unknown codec": Odd(
        edited(video(MOVIE), b"png ", b"zzzz"), data.load_video, "a.mov.* cannot be read as video"
    ),
    "huge frames": Odd(canvas(11_000, 9000), data.load_video, "11000 x 9000 pixels.*MAX_IMAGE_PIXELS"),
    "nothing but a README": Odd(npz(MAC), data.load, "found 0.*README"),
}
