"""What a kind of signal is: one class, of which each kind overrides what it does in its own way."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from abp_tf import data, masks
from abp_tf.data import npz
from abp_tf.display import pictures
from abp_tf.options import Option


@dataclass(frozen=True)
class Part:
    """A function of the package, and the options of programs that feed its keywords.

    Attributes:
        function: a loader of data, or a builder of networks.
        options: by name; their defaults are those of the function's own signature.
    """

    function: Callable
    options: Mapping[str, Option]

    def default(self, name: str) -> Any:
        """Return the default that the function has for an option, None if it has none."""
        parameters = inspect.signature(self.function).parameters
        found = parameters[self.options[name].keyword or name].default
        if found is inspect.Parameter.empty:
            return None
        return list(found) if isinstance(found, tuple) else found

    def keywords(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return what settings say to the function; what is None, or absent, is left to it."""
        found = {option.keyword or name: settings.get(name) for name, option in self.options.items()}
        return {
            keyword: tuple(value) if isinstance(value, list) else value
            for keyword, value in found.items()
            if value is not None
        }


class SignalKind:
    """One kind of signal: its shape, data, networks, masks, files, pictures and defaults.

    A new kind is a class in a file of its own, an instance of which is given to
    `abp_tf.signals.register`. Signals are `[n, *axes, channels]` in [-1, 1].

    Attributes:
        name: in the singular, as `--kind` takes it.
        plural: what several of them are called, and the folder of their files.
        axes: the names of a signal's axes before the channels.
        channels: the numbers of channels that files and pictures can have.
        sources: one line of help for each source of data, by name.
        source: the source that programs read by default; None: it must be given.
        file_source: the source that reads files of such signals.
        loader: from the name of a source to `abp_tf.data.Signals`.
        generator: the builder of a top-down network, from the shape of a signal.
        descriptor: the builder of a bottom-up network, from the shape of a signal.
        defaults: what the training programs do by default, by the program's name, where it is not as
            the networks, the loader or the program itself have it.
        source_defaults: what suits a source better, by program and source.
        masks: a line of help for each kind of random mask that makes sense, by its name.
        stored_masks: a line of help for each form of masks in files.
        columns: how many signals a grid has in a row at first look.
        drawn_whole: whether a picture shows all of a signal; of others files are written too.
        deviation_drawn: whether the deviation of samples can be drawn, and written, as a signal.
        enlarged: how much larger, along each side, a further synthesis is drawn; 1 for none.
    """

    name: ClassVar[str]
    plural: ClassVar[str]
    axes: ClassVar[tuple[str, ...]]
    channels: ClassVar[tuple[int, ...]] = (1, 3)
    sources: ClassVar[Mapping[str, str]]
    source: ClassVar[str | None] = None
    file_source: ClassVar[str]
    loader: ClassVar[Part]
    generator: ClassVar[Part]
    descriptor: ClassVar[Part]
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]]
    source_defaults: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {}
    masks: ClassVar[Mapping[str, str]]
    stored_masks: ClassVar[tuple[str, ...]] = (
        "npz:PATH[:KEY] reads an array, 1 = observed, 0 = hidden",
    )
    columns: ClassVar[int] = 10
    drawn_whole: ClassVar[bool] = True
    deviation_drawn: ClassVar[bool] = True
    enlarged: ClassVar[int] = 1

    def fits(self, shape: Sequence[int]) -> bool:
        """Return whether a signal of this shape, without the batch axis, can be of the kind."""
        return len(shape) == len(self.axes) + 1 and shape[-1] in self.channels

    # Data.

    def load(self, source: str, settings: Mapping[str, Any], *, missing: bool = False) -> data.Signals:
        """Load signals.

        Args:
            source: one of `sources`, with its argument.
            settings: options of `loader` by name; what is absent is left to the loader.
            missing: whether entries may be NaN, because masks will say what is observed.
        """
        return self.loader.function(source, **self.loader.keywords(settings), missing=missing)

    def like(self, shape: Sequence[int], header: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings that bring other signals to a shape, and to what `header` says."""
        raise NotImplementedError

    def read(self, paths: Sequence[str], shape: Sequence[int], rate: float | None) -> data.Signals:
        """Read files and folders as signals of a shape, all as training examples, with names.

        Args:
            paths: `FILE.npz[:KEY]` for arrays, or what `file_source` reads.
            shape: of one signal.
            rate: samples or frames per second to bring them to; None: their own.

        Raises:
            ValueError: files cannot be read, or their rates differ.
        """
        settings = {**self.like(shape, {"rate": rate}), "test_share": 0.0}
        found, names = [], []
        for path in paths:
            source = "npz" if npz.is_npz(path) else self.file_source
            part = self.load(f"{source}:{path}", settings)
            found.append(part)
            names += part.names or numbered(npz.split(path)[0], len(part.train))
        rates = {part.rate for part in found}
        if len(rates) > 1:
            told = ", ".join(sorted(map(str, rates)))
            raise ValueError(f"--rate: expected {self.plural} of one rate, received {told}. Give one.")
        headers = [dict(part.header) for part in found]
        return found[0]._replace(
            train=np.concatenate([part.train for part in found]),
            names=tuple(names),
            header=headers[0] if all(header == headers[0] for header in headers) else {},
        )

    # Masks.

    def default_mask(self, shape: Sequence[int]) -> str:
        """Return what to hide of a signal of a shape where nothing says it."""
        return "pepper:0.5"

    def draw_masks(self, spec: str, count: int, shape: Sequence[int], seed: int) -> np.ndarray:
        """Draw masks over the axes of signals.

        Args:
            spec: such as "pepper:0.5"; see `abp_tf.masks.parse`.
            count: their number.
            shape: of one signal, channels included.
            seed: of the draws.

        Returns:
            bool `[count, *axes]`, True where observed.

        Raises:
            ValueError: such masks make no sense for this kind of signal, or cannot be drawn.
        """
        parsed = masks.parse(spec)
        if parsed.kind not in self.masks:
            known = ", ".join(self.masks)
            raise ValueError(f"--mask: expected one of {known} for {self.plural}, received {spec!r}.")
        return parsed(count, tuple(shape[:-1]), seed)

    def masks_by_name(
        self, path: str, names: Sequence[str], sides: Sequence[int], *, crop: bool = True
    ) -> np.ndarray:
        """Read from a folder the masks of signals of these names.

        Args:
            path: of the folder.
            names: of the signals' files.
            sides: of a signal, to which masks are brought.
            crop: whether the centre is cut out where the aspect ratio changes.

        Returns:
            bool `[n, *sides]`, True where observed.
        """
        raise ValueError(
            f"Expected masks of {self.plural} as an array in their order, FILE.npz[:KEY], received "
            f"{path!r}: only masks of images are image files."
        )

    # Networks.

    def make(self, part: Part, shape: tuple[int, ...], settings: Mapping, **more) -> keras.Model:
        """Build the network of a part, `generator` or `descriptor`, as settings describe it."""
        more = {name: value for name, value in more.items() if value is not None}
        return part.function(shape, **part.keywords(settings), **more)

    # Pictures and files.

    def tiles(self, signals: ArrayLike) -> np.ndarray:
        """Return images that show signals, for `pictures.grid` and `pictures.rows`.

        Args:
            signals: `[n, *axes, channels]` in [-1, 1]; NaN, as hidden entries may hold, counts as 0.

        Returns:
            float32 `[n, h, w, c]` in [-1, 1].

        Raises:
            ValueError: for arrays of another shape.
        """
        signals = filled(signals)
        if not self.fits(signals.shape[1:]) or not signals.size:
            raise ValueError(
                f"Expected {self.plural} [n, {', '.join(self.axes)}, channels] with "
                f"{_either(self.channels)}, received the shape {signals.shape}."
            )
        return self._tiles(signals)

    def picture(self, signals: ArrayLike, columns: int | None = None) -> np.ndarray:
        """Draw signals as a grid; return a picture, uint8 `[H, W, 3]`."""
        return pictures.grid(self.tiles(signals), columns or self.columns)

    def save(
        self,
        stem: str | Path,
        signal: ArrayLike,
        header: Mapping[str, Any] | None = None,
        *,
        every_format: bool = False,
    ) -> Path:
        """Write one signal to a file, so that the folder it lies in can be read as data again.

        Args:
            stem: where to, without the suffix.
            signal: `[*axes, channels]` in [-1, 1]; NaN, as hidden entries may hold, is written as 0
                where files cannot hold it.
            header: what the file holds besides; see `abp_tf.data.Signals`.
            every_format: whether to write it in further formats too, where there is the package.

        Returns:
            The path of the file.

        Raises:
            ValueError: for a signal of another shape.
        """
        signal = np.asarray(signal, np.float32)
        if not self.fits(signal.shape):
            raise ValueError(
                f"Expected one {self.name} [{', '.join(self.axes)}, channels] with "
                f"{_either(self.channels)}, received the shape {signal.shape}. Of a batch, give one: "
                "signals[0]."
            )
        return self._save(str(stem), signal, header or {}, every_format)

    def save_deviation(self, stem: str | Path, deviation: np.ndarray, header: Mapping) -> None:
        """Write the standard deviation of samples of one signal, in [0, 1], as such a signal."""
        self.save(stem, 2 * deviation - 1, header)

    def summarize(self, name: str, signals: np.ndarray, columns: int, header: Mapping) -> None:
        """Write signals to TensorBoard, by the writer and the step that are the default ones.

        Args:
            name: the tag.
            signals: `[n, *axes, channels]` in [-1, 1].
            columns: signals in a row of the picture.
            header: see `abp_tf.data.Signals`.
        """
        tf.summary.image(name, self.picture(signals, columns)[None])

    def _tiles(self, signals: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _save(self, stem: str, signal: np.ndarray, header: Mapping, every_format: bool) -> Path:
        raise NotImplementedError


def filled(signals: ArrayLike) -> np.ndarray:
    """Return signals with 0, the middle of their range, in the place of NaN."""
    return np.nan_to_num(np.asarray(signals, np.float32), nan=0.0)


def numbered(file: Path, count: int) -> list[str]:
    """Return names for `count` signals that were read from one file, numbers if it is more than one.

    Example:
        >>> numbered(Path("bell.wav"), 2)
        ['bell-1.wav', 'bell-2.wav']
    """
    if count == 1:
        return [file.name]
    width = len(str(count))
    return [f"{file.stem}-{number:0{width}}{file.suffix}" for number in range(1, count + 1)]


def _either(channels: Sequence[int]) -> str:
    return f"{' or '.join(map(str, channels))} channel{'s' * (max(channels) > 1)}"
