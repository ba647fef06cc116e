"""The base class of kinds of signal; each kind overrides what is different for it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from abp_tf import data, files, masks
from abp_tf.data import npz
from abp_tf.data.convert import Form
from abp_tf.display import pictures
from abp_tf.options import Option
from abp_tf.scaling import Scaling


@dataclass(frozen=True)
class Part:
    """A function of the package, and the options of programs that set its arguments.

    Attributes:
        function: a loader of data, or a builder of networks.
        options: the options by name; their defaults are those of the function's signature.
    """

    function: Callable
    options: Mapping[str, Option]

    def default(self, name: str) -> Any:
        """Return the default of an option in the function's signature; None if it has none."""
        parameters = inspect.signature(self.function).parameters
        found = parameters[self.options[name].keyword or name].default
        if found is inspect.Parameter.empty:
            return None
        return list(found) if isinstance(found, tuple) else found

    def keywords(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of the function that settings give a value other than None."""
        found = {option.keyword or name: settings.get(name) for name, option in self.options.items()}
        return {
            keyword: tuple(value) if isinstance(value, list) else value
            for keyword, value in found.items()
            if value is not None
        }


class Legend(NamedTuple):
    """Describe the colours of pictures.

    Attributes:
        label: what the values are, with their unit.
        low: value of the first colour.
        high: value of the last colour.
        colours: name of a colour map of matplotlib.
    """

    label: str
    low: float
    high: float
    colours: str


class SignalKind:
    """One kind of signal: its shape, data, networks, masks, files, pictures and defaults.

    A new kind is a class in a file of its own; pass an instance to `abp_tf.signals.register`. Signals
    are `[n, *axes, channels]` in [-1, 1] or, where `value_range` is None, in their own units.

    Attributes:
        name: name of the kind, in the singular, as `--kind` takes it.
        plural: the plural of the name, for messages and as the folder of files.
        axes: names of the axes of a signal before the channels.
        channels: numbers of channels that files and pictures can have; empty for any.
        sources: one line of help for each source of data, by name.
        source: the source that programs read by default; None if it must be given.
        file_source: name of the source that reads files of such signals.
        loader: function that loads `abp_tf.data.Signals` by the name of a source, with its options.
        generator: function that builds a top-down network for the shape of a signal, with its options.
        descriptor: function that builds a bottom-up network for the shape of a signal, with its
            options.
        defaults: values of options by program and option, where they differ from the defaults of the
            networks, the loader and the program.
        source_defaults: values of options by program, source and option, where they differ from
            `defaults`.
        masks: one line of help for each suitable kind of random mask, by name.
        stored_masks: one line of help for each form of masks in files.
        columns: default number of signals in a row of a grid.
        drawn_whole: whether a picture shows a signal completely; if not, programs also write files.
        deviation_drawn: whether the standard deviation of samples can be drawn and written as a
            signal.
        together: whether many signals are written to one file, by `save_all`.
        enlarged: factor by which each side of an additional, larger synthesis is longer; 1 for none.
        banded: whether the noise may have a σ for each band of frequency (`abp_tf.Mdct`).
        stacked: whether the first axis counts images, such as the frames of a clip.
        uploads: endings of the files that `read` takes from strangers, such as ".png".
        incomplete: whether signals have masks of their own, of the shape of the signals.
        guessed: whether `abp_tf.signals.guess` may return the kind.
        value_range: interval of the values of signals; None for signals in their own units, which
            models scale by `scaling`, and which are drawn and written as they are.
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
    together: ClassVar[bool] = False
    enlarged: ClassVar[int] = 1
    banded: ClassVar[bool] = False
    stacked: ClassVar[bool] = False
    uploads: ClassVar[tuple[str, ...]] = (".npz",)
    incomplete: ClassVar[bool] = False
    guessed: ClassVar[bool] = True
    value_range: ClassVar[tuple[float, float] | None] = (-1.0, 1.0)

    def fits(self, shape: Sequence[int]) -> bool:
        """Return whether signals of the kind can have this shape, without the batch axis."""
        return len(shape) == len(self.axes) + 1 and shape[-1] in self.channels

    # Data.

    def load(self, source: str, settings: Mapping[str, Any], *, missing: bool = False) -> data.Signals:
        """Load signals.

        Args:
            source: one of `sources`, with its argument.
            settings: options of `loader` by name; absent ones have the loader's defaults.
            missing: whether entries that a mask hides may be NaN.
        """
        return self.loader.function(source, **self.loader.keywords(settings), missing=missing)

    def like(self, shape: Sequence[int], header: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of `load` that bring other signals to the form of given ones.

        Args:
            shape: shape of one of the given signals.
            header: their header, with the rate or the unit.
        """
        raise NotImplementedError

    def read(
        self,
        paths: Sequence[str],
        shape: Sequence[int],
        header: Mapping[str, Any],
        limit: int | None = None,
    ) -> data.Signals:
        """Read files and folders as signals of a shape, all as training examples, with names.

        Args:
            paths: `FILE.npz[:KEY]` for arrays, else files or folders that `file_source` reads.
            shape: shape of one signal.
            header: header of other signals, such as their rate, to whose form they are brought; empty
                to keep their own.
            limit: number of signals of each path, or of all images, the first ones; None for all.

        Raises:
            ValueError: if files cannot be read, or their rates differ.
        """
        settings = {**self.like(shape, header), "test_share": 0.0, "limit": limit}
        found: list[data.Signals] = []
        names: list[str] = []
        for path in paths:
            source = "npz" if npz.is_npz(path) else self.file_source
            part = self.load(f"{source}:{path}", settings)
            found.append(part)
            names += part.names or files.numbered(npz.split(path)[0].name, len(part.train))
        rates = {part.rate for part in found}
        if len(rates) > 1:
            found_rates = ", ".join(sorted(map(str, rates)))
            raise ValueError(
                f"--rate: expected {self.plural} of one rate, received {found_rates}. Give one."
            )
        headers = [dict(part.header) for part in found]
        return found[0]._replace(
            train=np.concatenate([part.train for part in found]),
            names=tuple(names),
            header=headers[0] if all(header == headers[0] for header in headers) else {},
        )

    def scaling(self, signals: data.Signals, mask: np.ndarray | None) -> Scaling | None:
        """Return the scaling with which models learn signals in their own units; None for others.

        Args:
            signals: the signals, of which those of training count.
            mask: bool, of their shape or without channels, True for entries that the model learns from;
                None if it learns from all.
        """
        return None

    # Masks.

    def default_mask(self, shape: Sequence[int]) -> str:
        """Return the mask, such as "pepper:0.5", that programs use for a shape if none is given."""
        return "pepper:0.5"

    def draw_masks(
        self,
        spec: str,
        count: int | Sequence[int],
        shape: Sequence[int],
        seed: int,
        own: np.ndarray | data.LazyRows | None = None,
    ) -> np.ndarray:
        """Draw masks over the axes of signals.

        Args:
            spec: kind of mask and its parameters, such as "pepper:0.5", as `abp_tf.masks.parse` reads
                it.
            count: number of masks, or the numbers of the signals whose masks are drawn.
            shape: shape of one signal, channels included.
            seed: seed of the masks.
            own: masks that these signals have already, bool `[count, *shape]`; None if they are whole.

        Returns:
            bool `[count, *axes]`, True where observed; with `own` of its shape, True where observed by
            both.

        Raises:
            ValueError: if the kind of signal has no such masks, or they cannot be drawn.
        """
        parsed = masks.parse(spec)
        if parsed.kind not in self.masks:
            kinds = ", ".join(self.masks)
            raise ValueError(f"--mask: expected one of {kinds} for {self.plural}, received {spec!r}.")
        return both(parsed(count, tuple(shape[:-1]), seed), own)

    def masks_by_name(
        self,
        path: str,
        names: Sequence[str],
        sides: Sequence[int],
        *,
        crop: bool = True,
        forms: Sequence[Form] | None = None,
    ) -> np.ndarray:
        """Read the masks of signals from a folder, by the names of the signals' files.

        Args:
            path: path of the folder.
            names: names of the signals' files.
            sides: sides of a signal, to which masks are resized.
            crop: whether the centre is cut out if the aspect ratio changes.
            forms: the forms of the signals' files, the field of `abp_tf.data.Signals`; None if they
                are not known.

        Returns:
            bool `[n, *sides]`, True where observed.

        Raises:
            ValueError: if the kind of signal has no masks in folders.
        """
        raise ValueError(
            f"Expected masks of {self.plural} as an array in their order, FILE.npz[:KEY], received "
            f"{path!r}: only masks of images are image files."
        )

    # Networks.

    def make(self, part: Part, shape: tuple[int, ...], settings: Mapping, **more) -> keras.Model:
        """Build a network for signals of a shape.

        Args:
            part: `generator` or `descriptor`.
            shape: shape of one signal.
            settings: options of the part by name; absent ones have the builder's defaults.
            **more: further arguments of the builder; None for its default.
        """
        more = {name: value for name, value in more.items() if value is not None}
        return part.function(shape, **part.keywords(settings), **more)

    # Pictures and files.

    def inside(self, header: Mapping[str, Any], shape: Sequence[int]) -> np.ndarray:
        """Return which entries of a signal exist at all, bool of its shape: not land in fields.

        Args:
            header: values beside the signals, the field of `abp_tf.data.Signals`.
            shape: shape of one signal.
        """
        return np.ones(shape, bool)

    def squares(
        self, truth: np.ndarray, found: np.ndarray, counted: np.ndarray, header: Mapping[str, Any]
    ) -> dict[str, tuple[float, int]]:
        """Return squared errors in the units of the signals' files by name, if they have such units.

        Args:
            truth: `[n, *axes, channels]`.
            found: same shape.
            counted: bool, same shape, True for the entries that count.
            header: values beside the signals, the field of `abp_tf.data.Signals`.

        Returns:
            the sum of the squared errors and the number of entries, by a name with the unit.
        """
        return {}

    def check(self, signals: np.ndarray) -> None:
        """Refuse a batch of signals of another shape.

        Raises:
            ValueError: if the array has another shape, or is empty.
        """
        if not self.fits(signals.shape[1:]) or not signals.size:
            raise ValueError(
                f"Expected {self.plural} [n, {', '.join(self.axes)}, channels]"
                f"{_either(self.channels)}, received the shape {signals.shape}."
            )

    def tiles(self, signals: ArrayLike, header: Mapping[str, Any] | None = None) -> np.ndarray:
        """Return images that show signals, for `pictures.grid` and `pictures.rows`.

        Args:
            signals: `[n, *axes, channels]` in [-1, 1]; NaN, allowed in hidden entries, counts as 0.
            header: values beside the signals, the field of `abp_tf.data.Signals`.

        Returns:
            float32 `[n, h, w, c]` in [-1, 1].

        Raises:
            ValueError: if the array has another shape.
        """
        signals = filled(signals)
        self.check(signals)
        return self._tiles(signals)

    def picture(
        self,
        signals: ArrayLike,
        columns: int | None = None,
        header: Mapping[str, Any] | None = None,
    ) -> np.ndarray:
        """Draw signals as a grid; return a picture, uint8 `[H, W, 3]`."""
        return pictures.grid(self.tiles(signals, header), columns or self.columns)

    def planes(self, signal: ArrayLike, header: Mapping[str, Any] | None = None) -> np.ndarray:
        """Return the images that together show all of one signal: its frames or slices, or only one.

        Args:
            signal: `[*axes, channels]`; NaN, allowed in hidden entries, is drawn as such.
            header: values beside the signal, the field of `abp_tf.data.Signals`.

        Returns:
            float32 `[k, h, w, c]` in [-1, 1].
        """
        signal = np.asarray(signal, np.float32)
        return filled(signal) if self.stacked else self.tiles(signal[None], header)

    def spread(self, deviation: np.ndarray, header: Mapping[str, Any] | None = None) -> np.ndarray:
        """Return the standard deviation of a signal's entries as maps, one for each of its planes.

        Args:
            deviation: `[*axes, channels]`, of which the mean over the channels is returned.
            header: values beside the signal, the field of `abp_tf.data.Signals`.

        Returns:
            float32 `[k, h, w, m]`, of m variables; NaN where there is no signal.
        """
        mean = np.asarray(deviation, np.float32).mean(axis=-1, keepdims=True)
        return mean if self.stacked else mean[None]

    def grid(self, shape: Sequence[int]) -> tuple[int, int, int]:
        """Return the sides of the grid on which a mask is painted: planes, rows and columns.

        Args:
            shape: shape of one signal.
        """
        return shape[0] if self.stacked else 1, shape[-3], shape[-2]

    def painted(self, hidden: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """Return the mask of a signal, bool `[*axes]`, True where observed.

        Args:
            hidden: what was painted, bool of the sides that `grid` returns, True where hidden.
            shape: shape of the signal.
        """
        return ~hidden.reshape(shape[:-1])

    def drawn(self, signals: np.ndarray, header: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the header with what pictures of several signals in the same colours need.

        Args:
            signals: the signals, `[n, *axes, channels]`; NaN where hidden.
            header: values beside the signals, the field of `abp_tf.data.Signals`.
        """
        return header

    def legends(self, header: Mapping[str, Any]) -> list[Legend]:
        """Return what the colours of pictures mean, for those of a header from `drawn`."""
        return []

    def spread_labels(self, header: Mapping[str, Any]) -> list[str]:
        """Return what the maps of `spread` show, one text for each variable."""
        return ["standard deviation"]

    def sound(self, signal: np.ndarray, header: Mapping[str, Any]) -> bytes | None:
        """Return a signal as a file that browsers play, `[*axes, channels]`; None if it is no sound."""
        return None

    def save(
        self,
        stem: str | Path,
        signal: ArrayLike,
        header: Mapping[str, Any] | None = None,
        *,
        every_format: bool = False,
    ) -> Path:
        """Write one signal to a file of a format that the loader reads.

        Args:
            stem: path of the file without the suffix.
            signal: `[*axes, channels]` in [-1, 1]; NaN, allowed in hidden entries, is written as 0 if
                the format has no NaN.
            header: values that the file holds beside the signal, the field of `abp_tf.data.Signals`.
            every_format: whether to write further formats too, if the packages are installed.

        Returns:
            The path of the file.

        Raises:
            ValueError: if the signal has another shape.
        """
        signal = np.asarray(signal, np.float32)
        if not self.fits(signal.shape):
            raise ValueError(
                f"Expected one {self.name} [{', '.join(self.axes)}, channels]{_either(self.channels)}, "
                f"received the shape {signal.shape}. Of a batch, give one: signals[0]."
            )
        return self._save(str(stem), signal, header or {}, every_format)

    def save_deviation(self, stem: str | Path, deviation: np.ndarray, header: Mapping) -> None:
        """Write the standard deviation of samples of one signal, in [0, 1], as a signal."""
        self.save(stem, 2 * deviation - 1, header)

    def save_all(
        self,
        stem: str | Path,
        parts: Iterable[np.ndarray],
        names: Sequence[str],
        header: Mapping[str, Any],
        times: np.ndarray | None = None,
        what: str = "",
    ) -> Path:
        """Write many signals to one file, a part at a time, if the kind writes them `together`.

        Args:
            stem: path of the file without the suffix.
            parts: arrays `[m, *axes, channels]`, one after the other.
            names: names of all signals, without suffixes.
            header: values beside the signals, the field of `abp_tf.data.Signals`.
            times: times of all signals, float64 `[n]`; None if they are not known.
            what: words before the name of each variable in its description.

        Returns:
            The path of the file.
        """
        raise NotImplementedError

    def summarize(self, name: str, signals: np.ndarray, columns: int, header: Mapping) -> None:
        """Write signals to TensorBoard, with the default summary writer at the default step.

        Args:
            name: tag of the summary.
            signals: `[n, *axes, channels]` in [-1, 1].
            columns: number of signals in a row of the picture.
            header: values beside the signals, such as the rate, the field of `abp_tf.data.Signals`.
        """
        tf.summary.image(name, self.picture(signals, columns, header)[None])

    def _tiles(self, signals: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _save(self, stem: str, signal: np.ndarray, header: Mapping, every_format: bool) -> Path:
        raise NotImplementedError


def filled(signals: ArrayLike) -> np.ndarray:
    """Return signals with NaN replaced by 0, the middle of their range."""
    return np.nan_to_num(np.asarray(signals, np.float32), nan=0.0)


def both(mask: np.ndarray | data.LazyRows, own: np.ndarray | data.LazyRows | None) -> np.ndarray:
    """Return a mask, without a channel axis or with one, together with masks that signals have."""
    mask = np.asarray(mask)
    if own is None:
        return mask
    return np.asarray(own) & (mask if mask.ndim == own.ndim else mask[..., None])


def _either(channels: Sequence[int]) -> str:
    if not channels:
        return ""
    return f" with {' or '.join(map(str, channels))} channel{'s' * (max(channels) > 1)}"
