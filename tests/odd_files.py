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


def shaped(*shape: int) -> Callable[[data.Signals], bool]:
    return lambda signals: signals.train.shape == shape


GREY = np.arange(2 * 6 * 6, dtype=np.uint8).reshape(2, 6, 6)
TONE = np.sin(np.arange(400) / 5).astype(np.float32) / 2
CLIPS = np.zeros((2, 3, 6, 6, 3), np.uint8)
FLOATS = np.linspace(-1, 0.5, 3 * 36, dtype=np.float32).reshape(3, 6, 6)
BEYOND = np.nextafter(np.float32(1), np.float32(2))
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
    "nothing but a README": Odd(npz(MAC), data.load, "found 0.*README"),
}
