"""DINEOF: fill gaps by empirical orthogonal functions, their number chosen by cross-validation."""

from __future__ import annotations

import numpy as np

from abp_tf import checks
from abp_tf.baselines import frames
from abp_tf.data import examples
from abp_tf.fields import gaps

_SHARE = 0.03  # share of the observed entries that is held out at random
_PATIENCE = 3  # numbers of modes in a row without a better error, after which no more are tried


class DINEOF(frames.FrameModel):
    """Data interpolating empirical orthogonal functions (Beckers, Rixen, 2003).

    The pixel mean is removed, gaps are filled in with 0, and a truncated singular value decomposition
    and the filling of the gaps with what it gives follow each other until the filling no longer
    changes. The number of modes, 0 included, is the smallest whose error at observed entries that are
    held out is within 1 % of the least: at 3 % of them at random, as published, or at those under moved
    gaps (`abp_tf.fields.gaps.moved`). Several channels are decomposed together, each in units of its
    standard deviation.

    Args:
        modes: number of modes; None chooses it.
        largest: largest number of modes to try.
        hold: the entries that are held out, "moved" or "random". Where gaps are large, errors at random
            entries, whose neighbours are observed, allow too many modes.
        iterations: largest number of iterations for each number of modes.
        tolerance: change of the filling, relative to its standard deviation, at which iterations stop.
        value_range: interval in which observed entries must lie, and to which results are clipped; None
            turns both off.
        seed: seed of the choice of held-out entries.

    Raises:
        ValueError: if an argument is out of its range.

    Attributes:
        chosen: the number of modes.
        errors: root mean square error at held-out entries for 0, 1, … modes, in standard deviations of
            the channels; empty if the number was given.
        mean: the pixel mean, float64 `[*signal_shape]`.
        loading: orthonormal modes, float64 `[modes, *signal_shape]`, in units of the standard
            deviation.

    Example:
        >>> signals = np.cos(np.arange(6) * 0.9).reshape(6, 1, 1, 1) * np.linspace(-1, 1, 20)
        >>> signals = signals.reshape(6, 5, 4, 1).astype(np.float32)
        >>> mask = np.random.default_rng(0).random(signals.shape) > 0.2
        >>> model = DINEOF(modes=2).fit({"signal": signals, "mask": mask})
        >>> float(np.abs(model.inpaint(signals, mask) - signals).max()) < 0.02
        True
    """

    def __init__(
        self,
        modes: int | None = None,
        *,
        largest: int = 30,
        hold: str = "moved",
        iterations: int = 300,
        tolerance: float = 1e-3,
        value_range: tuple[float, float] | None = (-1.0, 1.0),
        seed: int = 0,
    ):
        super().__init__(value_range)
        self.modes = modes if modes is None else checks.integer("DINEOF", "modes", modes, 0)
        self.largest = checks.integer("DINEOF", "largest", largest, 1)
        self.hold = checks.one_of("random", "moved")("DINEOF", "hold", hold)
        self.iterations = checks.integer("DINEOF", "iterations", iterations, 1)
        self.tolerance = checks.positive("DINEOF", "tolerance", tolerance)
        self.seed = checks.integer("DINEOF", "seed", seed, 0)

    def fit(self, x: examples.SignalsLike) -> DINEOF:
        """Choose the number of modes, and estimate them, from frames.

        Args:
            x: float array `[n, *grid, channels]`, or a mapping of arrays "signal" and "mask" (1 =
                observed, 0 = hidden); hidden entries may hold anything. Frames and pixels may be hidden
                entirely.

        Returns:
            The model itself.

        Raises:
            ValueError: if the data cannot be used, there are not fewer modes than frames and entries,
                or moved gaps are asked for and the gaps of all frames are alike.
        """
        data = frames.read("DINEOF.fit", x, value_range=self.value_range)
        shape, count = data.values.shape[1:], len(data.values)
        most = min(count, data.values[0].size) - 1
        if self.modes is not None and self.modes > most:
            raise ValueError(
                f"DINEOF expected at most {most} modes for {count} frames of {data.values[0].size} "
                f"entries, received {self.modes}. Lower `modes`."
            )
        self.mean, self.scale = _centre(data)
        values = ((data.values - self.mean) / self.scale).reshape(count, -1)
        mask = data.mask.reshape(count, -1)
        self.errors: list[float] = []
        chosen = self.modes
        if chosen is None:
            chosen = self._choose(values, mask, self._held(data.mask).reshape(mask.shape), most)
        filled = np.where(mask, values, 0)
        for modes in range(1, chosen + 1):
            filled = self._fill(filled, mask, modes)
        self.signal_shape, self.chosen = shape, chosen
        self.loading = _modes(filled, chosen).reshape(chosen, *shape)
        return self

    def _held(self, mask) -> np.ndarray:
        if self.hold == "moved":
            return gaps.moved(mask, self.seed)
        places = np.flatnonzero(mask)
        random = np.random.default_rng(self.seed)
        held = np.zeros(mask.size, bool)
        held[random.choice(places, max(int(_SHARE * len(places)), 1), replace=False)] = True
        return held.reshape(mask.shape)

    def _choose(self, values, mask, held, most: int) -> int:
        """Return the number of modes with the least error at entries that are held out."""
        shown = mask & ~held
        filled = np.where(shown, values, 0)
        for modes in range(min(self.largest, most) + 1):
            if modes:  # from the filling with one mode less
                filled = self._fill(filled, shown, modes)
            self.errors.append(float(np.sqrt(np.mean((filled - values)[held] ** 2))))
            if modes - self._best() >= _PATIENCE:
                break
        return self._best()

    def _best(self) -> int:
        """Return the smallest number of modes whose error is not more than 1 % above the least."""
        return int(np.argmax(np.array(self.errors) <= 1.01 * min(self.errors)))

    def _fill(self, filled, mask, modes: int) -> np.ndarray:
        """Fill in hidden entries by a truncated decomposition, until they no longer change."""
        return self._repeat(filled, mask, lambda values: _modes(values, modes))

    def _repeat(self, filled, mask, modes_of) -> np.ndarray:
        hidden = ~mask
        for _ in range(self.iterations):
            loading = modes_of(filled)
            new = np.where(hidden, filled @ loading.T @ loading, filled)
            change = np.sqrt(np.mean((new - filled)[hidden] ** 2)) if hidden.any() else 0.0
            filled = new
            if change <= self.tolerance * filled.std():
                break
        return filled

    def _predict(self, data: frames.Frames) -> np.ndarray:
        mask = data.mask.reshape(len(data.mask), -1)
        values = ((data.values - self.mean) / self.scale).reshape(mask.shape)
        loading = self.loading.reshape(self.chosen, mask.shape[1])
        filled = self._repeat(np.where(mask, values, 0), mask, lambda _: loading)
        signal = (filled @ loading.T @ loading).reshape(data.values.shape) * self.scale + self.mean
        return self._clip(signal.astype(np.float32))


def _centre(data: frames.Frames) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixel mean, and the standard deviation of each channel around it.

    The mean of a pixel that is never observed is that of its channel.
    """
    count = data.mask.sum(0)
    axes = tuple(range(data.mask.ndim - 1))
    overall = data.values.sum(axes, dtype=np.float64) / np.maximum(data.mask.sum(axes), 1)
    mean = data.values.sum(0, dtype=np.float64) / np.maximum(count, 1)
    mean = np.where(count > 0, mean, overall)
    square = np.sum(data.mask * (data.values - mean) ** 2, axes) / np.maximum(data.mask.sum(axes), 1)
    return mean, np.where(square > 0, np.sqrt(square), 1)


def _modes(values, count: int) -> np.ndarray:
    """Return the first right singular vectors, `[count, entries]`, from the smaller Gram matrix."""
    if values.shape[0] > values.shape[1]:
        _, vectors = np.linalg.eigh(values.T @ values)
        return vectors[:, ::-1][:, :count].T
    squares, vectors = np.linalg.eigh(values @ values.T)
    rows = vectors[:, ::-1][:, :count].T @ values
    # A mode beyond the rank of the values is nothing but rounding errors.
    least = np.finfo(float).eps * len(values) * squares[-1]
    squares = squares[::-1][:count, None]
    there = squares > least
    return np.where(there, rows / np.sqrt(np.where(there, squares, 1)), 0)
