"""Load sounds by the name of their source: `load_sound`."""

import math
from pathlib import Path

import numpy as np

from abp_tf import checks, extras
from abp_tf.data import clips, collect, npz

SOUND_SOURCES_HELP: dict[str, str] = {
    "wav": "wav:PATH: a sound file (wav, flac, ogg, mp3), or a folder of them",
    "npz": "npz:PATH[:KEY]: an array of sounds [n, samples] in a NumPy file, integers or floats in "
    "[-1, 1]; an array `rate` is optional",
}

_EXTENSIONS = frozenset((".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au"))

# Samples to read beyond the last window where recordings are resampled, at the lower of the two rates;
# the filter is shorter.
_FILTER = 1000
# Samples that are decoded at a time where only their largest is wanted.
_BLOCK = 1 << 16


def load_sound(
    spec: str,
    *,
    length: int | None = None,
    hop: int | None = None,
    rate: float | None = None,
    peak: float | None = None,
    item: int | None = None,
    limit: int | None = None,
    test_share: float = 0.1,
    missing: bool = False,
) -> collect.Signals:
    """Load sounds by name as float32 `[n, length, 1]` in [-1, 1], split for training and testing.

    Channels are averaged to one. Sounds of another rate are resampled (soxr, high quality). Recordings
    are cut into windows, the last of which are the test set. Windows that overlap, with a `hop` below
    `length`, share samples with windows of the test set.

    Args:
        spec: "wav:PATH", of a file or a folder, or "npz:PATH[:KEY]".
        length: number of samples of a window, after resampling; None takes every recording whole, and
            all must then have the same length.
        hop: number of samples from the start of a window to the start of the next; `length` by
            default.
        rate: samples per second to resample to; None keeps the rate of the recordings.
        peak: largest absolute value, in (0, 1], that each recording is scaled to; None keeps the
            scale. Missing samples do not count.
        item: number of the one recording to use, of an array of several; None for all.
        limit: largest number of windows; None for all. With `length`, recordings are decoded only as
            far as these windows reach.
        test_share: share in [0, 1) of the windows to keep for testing, rounded to whole windows.
        missing: whether recordings may hold NaN in samples that a mask hides. Such a recording cannot
            be resampled.

    Returns:
        The sounds, with their rate, and the names of the skipped files: those that cannot be read,
        are silent, or are too short.

    Raises:
        ImportError: if soundfile or soxr is missing.
        OSError: if files are missing.
        ValueError: if an argument is out of range, the source is unknown, or it holds no usable
            sound; the message names the file and a remedy.

    Example:
        >>> sounds = load_sound("wav:rain.wav", length=60_000, rate=11025)  # doctest: +SKIP
        >>> sounds.train.shape, sounds.rate  # doctest: +SKIP
        ((5, 60000, 1), 11025)
    """
    read, argument = collect.find(spec, {"wav": _from_files, "npz": _from_npz}, SOUND_SOURCES_HELP)
    wanted = clips.Wanted(length, hop, limit)
    wanted.check()
    collect.check_share(test_share)
    if rate is not None:
        checks.positive("load_sound", "rate", rate)
    if peak is not None and not 0 < peak <= 1:
        raise ValueError(f"Expected a peak in (0, 1], received {peak}.")
    recordings, skipped = read(argument, rate, peak, item, missing, wanted)
    rate = clips.one_rate(recordings, "rate")
    sounds, short = clips.windows(recordings, wanted, "samples")
    return clips.split(sounds[..., None], test_share, spec, {**skipped, **short}, rate, "sound")


def _from_files(argument: str, rate, peak, item, missing, wanted: clips.Wanted):
    if item is not None:
        raise ValueError(f"Expected item only for an array of sounds, received item={item}.")
    with extras.needed("media"):
        import soundfile

    def read(path: Path) -> clips.Recording:
        largest, count = None, -1
        try:
            with soundfile.SoundFile(path) as file:
                own = file.samplerate
                if wanted.needed is not None:
                    ratio = own / (rate or own)
                    count = math.ceil(wanted.needed * ratio + _FILTER * max(1, ratio))
                    if peak is not None:
                        largest = _largest(file)
                values = file.read(count, dtype="float32", always_2d=True)
        # soundfile raises TypeError for files of bare numbers without a header.
        except (soundfile.SoundFileError, TypeError) as error:
            raise ValueError(
                f"{str(path)!r} cannot be read as a sound: {error} Save it as WAV or FLAC."
            ) from error
        found = _usable(str(path), values.mean(axis=1), own, rate, peak, missing, largest)
        return found._replace(values=found.values[: wanted.needed])

    return clips.from_files(argument, "sound", _EXTENSIONS, read, wanted.count, wanted.limit)


def _largest(file) -> float:
    """Return the largest magnitude of the mean of the channels of a sound file, apart from NaN."""
    blocks = file.blocks(_BLOCK, dtype="float32", always_2d=True)
    largest = [np.fmax.reduce(np.abs(one.mean(axis=1)), initial=0) for one in blocks]
    file.seek(0)
    return float(max(largest, default=0))


def _from_npz(argument: str, rate, peak, item, missing, wanted: clips.Wanted):
    form = "sounds [samples] or [n, samples]"
    # Recordings of one length may come to hold different numbers of windows where they are resampled.
    rows = clips.leading(item, wanted.limit if rate is None else None)
    samples = wanted.needed if rate is None and peak is None else None
    array, name, beside, count = npz.stored(
        argument, _is_sounds, form, beside=["rate"], first=lambda one: rows if one.ndim > 1 else samples
    )
    rates = clips.rates_beside(beside, "rate", count if array.ndim > 1 else 1, name)
    array, place = clips.chosen(np.atleast_2d(array), item, name)
    return [
        _usable(f"sound {number} of {name}", _scaled(values, name), own, rate, peak, missing)
        for number, (values, own) in enumerate(zip(array, rates[place][: len(array)], strict=True))
    ], {}


def _is_sounds(array: np.ndarray) -> bool:
    # A short row of numbers is a `rate`, not a sound.
    return array.ndim in (1, 2) and 0 not in array.shape and array.dtype.kind in "iuf" and (
        array.shape[-1] > 64
    )  # fmt: skip


def _scaled(values: np.ndarray, name: str) -> np.ndarray:
    """Scale integers of 8, 16 and 32 bits to [-1, 1), as sound files do; return floats unscaled."""
    if np.issubdtype(values.dtype, np.floating):
        return values.astype(np.float32)
    if values.dtype == np.uint8:
        return (values.astype(np.float32) - 128) / 128
    if values.dtype.kind != "i" or values.dtype.itemsize > 4:  # of any byte order
        raise ValueError(
            f"Expected int16 or floats in [-1, 1], received {values.dtype} in {name}. Scale them to "
            "floats before saving."
        )
    return values / np.float32(-float(np.iinfo(values.dtype).min))


def _usable(
    name: str, values: np.ndarray, own, rate, peak, missing: bool, largest: float | None = None
) -> clips.Recording:
    """Check a mono recording, then scale and resample it.

    Args:
        name: name of the recording for messages.
        values: the samples, or those at the beginning.
        own: the rate of the recording; None if unknown.
        rate: the wanted rate; None for that of the recording.
        peak: the largest magnitude that the recording is to have; None to leave it as it is.
        missing: whether samples may be NaN.
        largest: the largest magnitude of the recording; None for that of `values`.
    """
    if not len(values):
        raise ValueError(f"{name!r} is empty: it holds no samples. Leave it out, or record it again.")
    observed = values[~np.isnan(values)] if missing else values
    if not np.isfinite(observed).all() or not observed.size or largest == np.inf:
        raise ValueError(
            f"{name!r} holds NaN or infinity. Cut the damaged part out, or set it to NaN and give a "
            f"mask that hides it (missing=True). {checks.POLARITY}"
        )
    highest = float(np.abs(observed).max())
    if highest == 0:
        raise ValueError(
            f"{name!r} is silent: the mean of its channels is 0 in all {len(observed)} samples that "
            "were read. Leave it out, or, if the channels cancel, give one of them."
        )
    if peak is not None:
        values = values * np.float32(peak / (largest or highest))
    elif checks.outside(0, highest, (-1, 1)):
        raise ValueError(
            f"Expected values in [-1, 1], received values up to {checks.digits(highest)} in {name!r}. "
            "Scale them with peak=1.0."
        )
    if rate is not None and own != rate:
        if own is None:
            raise ValueError(
                f"The rate of {name} is not known, so it cannot be brought to {rate:g}. Save an array "
                "`rate` beside it, or leave out rate."
            )
        if len(observed) < len(values):
            raise ValueError(
                f"{name!r} holds NaN, which resampling would spread, so it cannot be brought from "
                f"{own:g} to {rate:g} samples per second. Leave out rate, or resample it before "
                "samples are set to NaN."
            )
        with extras.needed("media"):
            import soxr
        # Resampling may overshoot where loud sounds were clipped.
        values, own = np.clip(soxr.resample(values, own, rate), -1, 1), rate
    return clips.Recording(name, values.astype(np.float32, copy=False), own)
