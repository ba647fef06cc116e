"""The functions behind the page: draw signals, complete one, and go from one to another."""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from abp_tf import Client, checks, data, interpolation, signals
from abp_tf.display import pictures

from .. import connecting
from . import drawing, uploads

# Largest number of signals that are drawn at a time.
DRAWS = 16
# Samples that are shown beside their mean.
SHOWN = 5
# Signals from one example to another, both included.
STEPS = 11
# Uploaded signals that are kept; the one that was not used for longest is forgotten.
_KEPT = 16
# Seeds above it are not exact in JavaScript.
_LAST_SEED = 2**53 - 1


class Outline(NamedTuple):
    """Describe a model: kind and shape of its signals, its functions, whether they have times."""

    kind: signals.SignalKind
    shape: tuple[int, ...]
    functions: frozenset[str]
    timed: bool


class Source(NamedTuple):
    """A signal to complete.

    Attributes:
        signal: float32 `[*signal_shape]`.
        mask: bool, same shape, True where it is observed.
        time: its time; None if unknown.
    """

    signal: np.ndarray
    mask: np.ndarray
    time: float | None = None


class Studio:
    """Answer the requests of the page by those of a client, with dictionaries for JSON.

    Methods raise `ValueError` for requests that are refused, and the errors of `Client`. Several
    threads may use a studio.

    Args:
        client: client of the model, without a value range.
        kind: name of the kind of signal; None for the usual kind of the signals' shape.
        examples: examples of the data, as `train`; None for none.
        header: entries that replace those of the examples' header, such as the rate.
    """

    def __init__(
        self,
        client: Client,
        kind: str | None = None,
        examples: data.Signals | None = None,
        header: Mapping[str, Any] = MappingProxyType({}),
    ):
        self.client = client
        self.header = {**(examples.header if examples else {}), **header}
        self._examples = examples
        self._kind = kind or (examples and examples.kind)
        self._outline: Outline | None = None
        self._uploads: OrderedDict[str, Source] = OrderedDict()
        self._lock = threading.Lock()

    def outline(self) -> Outline:
        """Return the description of the model, from the server unless `about` has requested it.

        Raises:
            ValueError: if signals have an unknown or variable shape, or examples another one.
        """
        # A local variable, because other threads may replace the attribute meanwhile.
        found = self._outline or self._described()
        self._outline = found
        return found

    def about(self) -> dict:
        """Return what the page needs to begin: names, sizes, functions, and pictures of examples.

        The model is requested from the server anew: another version may have another shape.
        """
        self._outline = model = self._described()
        planes, rows, columns = model.kind.grid(model.shape)
        return {
            "model": self.client.name,
            "server": self.client.address,
            "kind": model.kind.name,
            "plural": model.kind.plural,
            "axes": model.kind.axes,
            "shape": model.shape,
            "grid": {"planes": planes, "rows": rows, "columns": columns},
            "complete": "inpaint" in model.functions,
            "slide": {"decode", "inpaint"} <= model.functions,
            "timed": model.timed,
            "draws": DRAWS,
            "uploads": model.kind.uploads,
            "examples": self._pictures([{"example": number} for number in range(self._count)]),
        }

    def draw(self, request: Mapping) -> dict:
        """Draw signals.

        Args:
            request: "seed" of the first one, "count", and "time" for models that need one.
        """
        count = _integer(request, "count", 1, DRAWS)
        seed = _integer(request, "seed", 0, _LAST_SEED)
        drawn = self.client.synthesize(count, seed=seed, time=self._time(request))
        return self._answer(list(drawn), [{"seed": seed + place} for place in range(count)])

    def complete(self, request: Mapping) -> dict:
        """Complete a signal of which a part is hidden.

        Args:
            request: "source", the signal; "hidden", the painted grid as base64 of its bits; "seed".
        """
        model, seed = self.outline(), _integer(request, "seed", 0, _LAST_SEED)
        source = self.source(request.get("source"))
        painted = model.kind.painted(_bits(request.get("hidden"), model), model.shape)
        mask = signals.both(painted, source.mask)
        if mask.all():
            raise ValueError("Expected a part that is hidden, received none. Paint one first.")
        signal = np.where(mask, source.signal, np.nan)
        inputs = {"signal": signal[None], "mask": mask[None], "seed": seed}
        inputs["time"] = self._time(request, source)
        began = time.perf_counter()
        samples = connecting.completions(self.client, inputs)[0]
        seconds = time.perf_counter() - began
        draws = {f"draw {number + 1}": one for number, one in enumerate(samples[:SHOWN])}
        shown = {"observed": signal, "mean": samples.mean(axis=0), **draws}
        answer = self._answer(list(shown.values()), [{"label": label} for label in shown])
        header = model.kind.drawn(np.stack(list(shown.values())), self.header)
        label = f"standard deviation of {len(samples)} draws"
        spread = drawing.spread(model.kind, samples.std(axis=0), header, label=label)
        answer["legends"] += spread.pop("legends")
        answer["pictures"].insert(2, spread)
        return {**answer, "seconds": seconds}

    def slide(self, request: Mapping) -> dict:
        """Return signals between two others, from one to the other in the space of latents.

        Args:
            request: "sources", two signals, and "seed".
        """
        sources = request.get("sources")
        if not isinstance(sources, list) or len(sources) != 2:
            raise ValueError("`sources` expected two signals.")
        first, last = map(self.source, sources)
        times = [self._time(request, one) for one in (first, last)]
        found = self.client.ask(
            "inpaint",
            signal=np.stack([first.signal, last.signal]),
            mask=np.stack([first.mask, last.mask]),
            seed=_integer(request, "seed", 0, _LAST_SEED),
            time=None if None in times else np.array(times),
        )
        weights = interpolation.line(STEPS)
        latents = np.tensordot(weights, found["latent"], axes=1)
        moments = None if None in times else weights @ np.array(times)
        return self._answer(list(self.client.decode(latents, time=moments)))

    def upload(self, name: str, content: bytes) -> dict:
        """Keep the first signal of a file for a while.

        Args:
            name: name of the file.
            content: its content.

        Returns:
            The picture of the signal, and its `source` for other requests.
        """
        model = self.outline()
        found = uploads.read(model.kind, name, content, model.shape, self.header)
        source = _row(found, 0)
        mask = source.mask & model.kind.inside(self.header, model.shape)
        key = hashlib.sha256(content).hexdigest()[:32]
        with self._lock:
            self._uploads[key] = source._replace(mask=mask)
            while len(self._uploads) > _KEPT:
                self._uploads.popitem(last=False)
        return self._pictures([{"upload": key}])[0]

    def source(self, wanted: Any) -> Source:
        """Return a signal by what a request says.

        Args:
            wanted: "example" and its number, "upload" and the text that `upload` returned, or "seed" of
                a drawn signal, with "time" for models that need one.
        """
        if not isinstance(wanted, dict) or len({"example", "upload", "seed"} & wanted.keys()) != 1:
            raise ValueError("`source` expected one of example, upload and seed, of a signal.")
        if "example" in wanted:
            return _row(self._examples, _integer(wanted, "example", 0, self._count - 1))
        if "upload" in wanted:
            key = str(wanted["upload"])
            with self._lock:
                if key not in self._uploads:
                    raise ValueError("The uploaded signal is no longer kept. Upload it again.")
                self._uploads.move_to_end(key)
                return self._uploads[key]
        moment = self._time(wanted)
        seed = _integer(wanted, "seed", 0, _LAST_SEED)
        [signal] = self.client.synthesize(1, seed=seed, time=moment)
        kind = self.outline().kind
        if kind.value_range is not None:
            signal = np.clip(signal, *kind.value_range)
        return Source(signal, np.ones(signal.shape, bool), moment)

    def _described(self) -> Outline:
        found = self.client.signatures()
        if "synthesize" not in found:
            raise ValueError(f"Expected a model that can synthesize signals, received {list(found)}.")
        shape = found["synthesize"].outputs["signal"].shape[1:]
        if None in shape:
            raise ValueError(f"Expected a model of signals of one shape, received {shape}.")
        kind = signals.of(shape, self._kind)
        if self._count and self._examples.train.shape[1:] != shape:
            raise ValueError(
                f"Expected examples of shape {shape}, as the model's signals, received "
                f"{self._examples.train.shape[1:]}. Give those of this model."
            )
        timed = "time" in found["synthesize"].inputs
        return Outline(kind, shape, frozenset(found), timed)

    @property
    def _count(self) -> int:
        return 0 if self._examples is None else len(self._examples.train)

    def _time(self, request: Mapping, source: Source | None = None) -> float | None:
        """Return the time of a signal, of its source or else of a request; None if none is needed."""
        if not self.outline().timed:
            return None
        if source is not None and source.time is not None:
            return source.time
        value = request.get("time")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(f"`time` expected a number, received {value!r}. {checks.TIME}")
        return float(value)

    def _pictures(self, wanted: list[dict]) -> list[dict]:
        """Return pictures of sources, each with the `source` that a request names it by."""
        shown = [pictures.visible(one.signal, one.mask) for one in map(self.source, wanted)]
        return self._answer(shown, [{"source": one} for one in wanted])["pictures"] if shown else []

    def _answer(self, shown: list[np.ndarray], more: list[dict] | None = None) -> dict:
        """Return pictures of signals in the same colours, each with more entries, and their legends."""
        kind = self.outline().kind
        header = kind.drawn(np.stack(shown), self.header)
        pairs = zip(shown, more or [{}] * len(shown), strict=True)
        found = [drawing.signal(kind, one, header, **entries) for one, entries in pairs]
        return {"pictures": found, "legends": [drawing.legend(one) for one in kind.legends(header)]}


def _row(found: data.Signals, place: int) -> Source:
    """Return one of some signals, with its mask over all of its entries."""
    signal, mask, moment = found.train[place], np.True_, None
    if found.train_mask is not None:
        mask = found.train_mask[place]
        mask = mask if mask.ndim == signal.ndim else mask[..., None]
    if found.train_time is not None:
        moment = float(found.train_time[place])
    return Source(signal, np.broadcast_to(mask, signal.shape), moment)


def _integer(request: Mapping, name: str, low: int, high: int) -> int:
    value = request.get(name)
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"`{name}` expected an integer from {low} to {high}, received {value!r:.40}.")
    return value


def _bits(text: Any, model: Outline) -> np.ndarray:
    """Return a grid of bits from base64, bool of its sides, True where hidden."""
    sides = model.kind.grid(model.shape)
    count = math.prod(sides)
    try:
        packed = base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        packed = b""
    if len(packed) != -(-count // 8):
        raise ValueError(f"`hidden` expected base64 of {count} bits, the grid {sides}.")
    return np.unpackbits(np.frombuffer(packed, np.uint8), count=count).reshape(sides).astype(bool)
