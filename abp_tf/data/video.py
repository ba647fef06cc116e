"""Load clips of video by the name of their source: `load_video`."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from abp_tf import checks, extras
from abp_tf.data import clips, collect, convert, npz

VIDEO_SOURCES_HELP: dict[str, str] = {
    "video": "video:PATH: a video file or GIF, or a folder of them",
    "npz": "npz:PATH[:KEY]: an array of frames [t, h, w, c] or [n, t, h, w, c], uint8 or "
    "floats in [-1, 1]; an array `fps` is optional",
}

_EXTENSIONS = frozenset(
    (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".gif")
)

# Largest error, in seconds, of the rounded times of frames.
_EPSILON = 1e-4


def load_video(
    spec: str,
    *,
    length: int | None = None,
    hop: int | None = None,
    size: int | tuple[int, int] | None = None,
    crop: bool = True,
    grey: bool | None = None,
    fps: float | None = None,
    item: int | None = None,
    limit: int | None = None,
    test_share: float = 0.1,
    missing: bool = False,
) -> collect.Signals:
    """Load clips by name as float32 `[n, length, h, w, c]` in [-1, 1], split for training and testing.

    Long recordings are cut into clips of `length` frames, the last of which are the test set. Clips
    that overlap, with a `hop` below `length`, share frames with clips of the test set.

    Args:
        spec: "video:PATH", of a file or a folder, or "npz:PATH[:KEY]".
        length: number of frames of a clip; None takes every recording whole, and all must then have
            the same length.
        hop: number of frames from the start of a clip to the start of the next; `length` by default.
        size: side of a square or (height, width) in pixels; None keeps the size.
        crop: whether to cut out the centre if the aspect ratio changes; else frames are stretched.
        grey: True turns colour into grey (ITU-R 601), False repeats grey in three channels, None
            keeps grey or colour; video files are in colour.
        fps: frames per second of the clips, reached by leaving frames out or repeating them; None
            keeps the rate of the recordings.
        item: number of the one recording to use, of an array of several; None for all.
        limit: largest number of clips; None for all. Only the frames of these clips are read.
        test_share: share in [0, 1) of the clips to keep for testing, rounded to whole clips.
        missing: whether arrays of floats may hold NaN in entries that a mask hides.

    Returns:
        The clips, with their rate in frames per second, and the names of the skipped files: those
        that cannot be read, hold no frames, or hold too few.

    Raises:
        ImportError: if av is missing.
        OSError: if files are missing.
        ValueError: if an argument is out of range, the source is unknown, it holds no usable clip,
            or the sizes of frames differ and `size` is None.

    Example:
        >>> clips = load_video("video:fire.mp4", length=32, size=64)  # doctest: +SKIP
        >>> clips.train.shape, clips.rate  # doctest: +SKIP
        ((5, 32, 64, 64, 3), 25.0)
    """
    read, argument = collect.find(spec, {"video": _from_files, "npz": _from_npz}, VIDEO_SOURCES_HELP)
    wanted = clips.Wanted(length, hop, limit)
    wanted.check()
    collect.check_share(test_share)
    if fps is not None:
        checks.positive("load_video", "fps", fps)
    # The limit of what is stacked, which is frames.
    request = collect.Request(collect.pair(size), crop, grey, wanted.needed, missing=missing)
    recordings, skipped = read(argument, request, fps, item, wanted)
    rate = clips.one_rate(recordings, "fps")
    cut, short = clips.windows(recordings, wanted, "frames")
    del recordings  # the memory is needed for floats, which take four times as much
    signals = convert.to_signals(cut)
    return clips.split(signals, test_share, spec, {**skipped, **short}, rate, "video")


def _from_files(argument: str, request: collect.Request, fps, item, wanted: clips.Wanted):
    if item is not None:
        raise ValueError(f"Expected item only for an array of clips, received item={item}.")
    with extras.needed("media"):
        import av

    def read(path: Path) -> clips.Recording:
        try:
            # FFmpeg takes what precedes a colon in a relative path for a protocol.
            with av.open(str(path.absolute())) as container:
                if not container.streams.video:
                    raise ValueError("it has no pictures.")
                stream = container.streams.video[0]
                _check_size(stream.codec_context)
                rate = float(stream.average_rate or 0) or None
                frames = ((frame.time, _displayed(frame)) for frame in container.decode(stream))
                return _recording(str(path), frames, rate, fps, request)
        except (av.FFmpegError, ValueError) as error:
            raise ValueError(
                f"{str(path)!r} cannot be read as video: {error} Give a video file or GIF with frames "
                "in it."
            ) from error

    return clips.from_files(argument, "video", _EXTENSIONS, read, wanted.count, wanted.limit)


def _check_size(context) -> None:
    """Refuse frames that are larger than Pillow takes images to be, before they are decoded."""
    from PIL import Image

    most = Image.MAX_IMAGE_PIXELS
    if context is None or most is None:  # a codec that FFmpeg does not know, and cannot decode
        return
    if context.width * context.height > most:
        raise ValueError(
            f"its frames have {context.width} x {context.height} pixels, more than "
            f"PIL.Image.MAX_IMAGE_PIXELS = {most}. Make them smaller."
        )


def _displayed(frame) -> np.ndarray:
    """Return the pixels of a frame, uint8 `[h, w, 3]`, as a player shows it, on white.

    It is turned by quarters as the header of the file tells, as of phones that were held upright.
    """
    from PIL import Image

    if frame.format.has_palette or any(part.is_alpha for part in frame.format.components):
        pixels = convert.from_pil(Image.fromarray(frame.to_ndarray(format="rgba")))
    else:
        pixels = frame.to_ndarray(format="rgb24")
    return np.rot90(pixels, round(frame.rotation / 90))


def _from_npz(argument: str, request: collect.Request, fps, item, wanted: clips.Wanted):
    form = "frames [t, h, w], [t, h, w, c] or [n, t, h, w, c] with 1 or 3 channels"
    # Recordings of one length may come to hold different numbers of clips where the rate changes.
    limit, frames = (wanted.limit, wanted.needed) if fps is None else (None, None)
    rows = clips.leading(item, limit)
    array, name, beside, count = npz.stored(
        argument, _is_frames, form, beside=["fps"], first=lambda one: rows if one.ndim > 4 else frames
    )
    count = count if array.ndim > 4 else 1
    array = npz.checked(array, name, request.missing)
    array = array[..., None] if array.ndim == 3 else array
    array = array[None] if array.ndim == 4 else array
    rates = clips.rates_beside(beside, "fps", count, name)
    array, place = clips.chosen(array, item, name)
    return [
        _recording(
            f"recording {number} of {name}",
            zip(np.arange(len(frames)) / (own or 1), frames, strict=True),
            own,
            fps,
            request,
        )
        for number, (own, frames) in enumerate(zip(rates[place][: len(array)], array, strict=True))
    ], {}


def _recording(
    name: str, frames: Iterable[tuple[float | None, np.ndarray]], rate, fps, request: collect.Request
) -> clips.Recording:
    """Stack frames, given with their times in seconds or None, at the rate `fps` if there is one."""
    if fps is not None and fps != rate:
        if rate is None:
            raise ValueError(
                f"The rate of {name} is not known, so it cannot be brought to {fps:g}. Leave out fps, "
                "or save an array `fps` beside an array of frames."
            )
        frames, rate = _at_rate(frames, rate, fps), fps
    named = ((f"frame {number}", frame) for number, (_, frame) in enumerate(frames))
    return clips.Recording(name, collect.stack(named, request), rate)


def _at_rate(frames: Iterable[tuple[float | None, np.ndarray]], rate: float, fps: float) -> Iterator:
    """Yield the frames shown at the times 0, 1 / fps, 2 / fps and so on.

    A frame without a time, as in a bare stream, follows the one before after `1 / rate` seconds.
    """
    count, shown, start, due = 0, None, None, 0.0
    for stamp, frame in frames:
        time = due if stamp is None else stamp
        due = time + 1 / rate
        start = time if start is None else start
        while shown is not None and count / fps < time - start - _EPSILON:
            yield count / fps, shown
            count += 1
        shown = frame
    while shown is not None and start is not None and count / fps < time - start + 1 / rate - _EPSILON:
        yield count / fps, shown
        count += 1


def _is_frames(array: np.ndarray) -> bool:
    return array.dtype.kind in "uf" and npz.is_pixels(array, (3, 4, 5))
