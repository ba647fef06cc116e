"""Files that people have and nobody thinks of: how to make each, and what must come of loading it.

The next one is a line in `FILES`. Nothing is copied: each file is made where it is tested.
"""

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest

from abp_tf import data


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
        with zipfile.ZipFile(folder / "a.npz", "w") as archive:
            for name, content in members.items():
                if isinstance(content, np.ndarray):
                    buffer = io.BytesIO()
                    np.save(buffer, content)
                    name, content = f"{name}.npy", buffer.getvalue()
                archive.writestr(name, content)
        return f"npz:{folder / 'a.npz'}"

    return make


def video(frames: np.ndarray, rotation: int = 0) -> Callable[[Path], str]:
    """Return a maker of a video without loss, which players turn counterclockwise by `rotation`."""

    def make(folder: Path) -> str:
        av = pytest.importorskip("av")

        pixels = {3: "rgb24", 4: "rgba"}[frames.shape[-1]]
        with av.open(str(folder / "a.mov"), "w") as container:
            stream = container.add_stream("png", rate=10)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = pixels
            stream.set_display_rotation(rotation)
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format=pixels)))
            container.mux(stream.encode())
        return f"video:{folder / 'a.mov'}"

    return make


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
        f"video turned by {angle}": Odd(
            video(MOVIE, angle),
            data.load_video,
            equal(np.rot90(MOVIE, angle // 90, axes=(1, 2))[None]),
        )
        for angle in (-90, 90, 180)
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
    "nothing but a README": Odd(npz(MAC), data.load, "found 0.*README"),
}
