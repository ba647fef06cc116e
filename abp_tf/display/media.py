"""Write sounds and clips: WAV, GIF and MP4 files, spectrograms, animations.

Sounds are `[samples, 1]` and clips `[frames, h, w, c]` in [-1, 1], with one (grey) or three (RGB)
channels. `abp_tf.signals` writes files of every kind of signal. Values out of range are clipped in
files and pictures only. Existing files are replaced whole or not at all; missing folders are made.
"""

import io
import os
import wave
from fractions import Fraction
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from abp_tf import checks, data, extras, files
from abp_tf.display import pictures

# Samples per second of sounds of unknown rate.
DEFAULT_RATE = 16_000
# The lowest level of a spectrogram, in decibels relative to a tone of full scale.
FLOOR = -80.0


def spectrogram(sound: ArrayLike, rate: float | None = None, title: str = "") -> np.ndarray:
    """Draw the short-time spectrum of a sound, in decibels, over time and frequency.

    The Hann windows have 512 samples; 0 dB is a tone of full scale.

    Args:
        sound: the sound, `[samples]` or `[samples, 1]` in [-1, 1].
        rate: samples per second; None labels the axes in samples and cycles per sample.
        title: title above the picture.

    Returns:
        A picture, uint8 `[H, W, 3]`, for `pictures.save_png`.

    Raises:
        ValueError: if the array has another shape or holds NaN.

    Example:
        >>> tone = np.sin(np.arange(11025) * 0.2)
        >>> pictures.save_png("tone.png", spectrogram(tone, rate=11025))
    """
    from matplotlib.figure import Figure
    from PIL import Image

    sound = _sound(sound)
    shown = levels(sound, 512, max(1, min(128, len(sound) // 512)))
    seconds, top = (len(sound), 0.5) if rate is None else (len(sound) / rate, rate / 2000)
    # Not by pyplot, which would keep the figure and choose a window system.
    figure = Figure(figsize=(8, 3.5), dpi=100, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(
        shown, origin="lower", aspect="auto", extent=(0, seconds, 0, top), vmin=FLOOR, vmax=0
    )
    known = rate is not None
    axes.set(
        xlabel="time (s)" if known else "time (samples)",
        ylabel="frequency (kHz)" if known else "frequency (cycles per sample)",
        title=title,
    )
    figure.colorbar(image, label="dB of full scale")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return np.asarray(Image.open(buffer).convert("RGB"))


def levels(sound: np.ndarray, window: int, hop: int) -> np.ndarray:
    """Return the short-time spectrum of a sound in decibels of full scale, at least `FLOOR`.

    Args:
        sound: the sound, `[samples]` in [-1, 1].
        window: number of samples of a Hann window.
        hop: number of samples from the start of a window to the start of the next.

    Returns:
        The levels, `[window / 2, columns]`, from low to high frequencies.
    """
    sound = np.pad(sound, (0, max(0, window - len(sound))))
    shape = np.hanning(window + 2)[1:-1]
    transform = tf.signal.stft(
        tf.constant(sound, tf.float64), window, hop, window, lambda *_, **__: shape
    )
    spectrum = np.abs(transform)[:, 1:] / (shape.sum() / 2)
    return np.clip(20 * np.log10(np.maximum(spectrum, 1e-9)), FLOOR, 0).T


def wav(sound: ArrayLike, rate: float) -> bytes:
    """Return a sound encoded as WAV, of 16 bits.

    Args:
        sound: the sound, `[samples]` or `[samples, 1]`; values outside [-1, 1] are clipped.
        rate: samples per second, rounded to a whole number.

    Returns:
        The content of a file.

    Raises:
        ValueError: if the array has another shape or holds NaN, or the rate is below 1.
    """
    sound = _sound(sound)
    if not rate >= 1:
        raise ValueError(f"Expected a rate of 1 or more samples per second, received {rate}.")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(round(rate))
        scaled = np.clip(np.rint(sound * 32768), -32768, 32767)
        file.writeframes(scaled.astype("<i2").tobytes())
    return buffer.getvalue()


def save_wav(path: str | os.PathLike, sound: ArrayLike, rate: float) -> None:
    """Write a sound as a WAV file of 16 bits.

    Args:
        path: path of the file.
        sound: the sound, `[samples]` or `[samples, 1]`; values outside [-1, 1] are clipped.
        rate: samples per second, rounded to a whole number.

    Raises:
        ValueError: as in `wav`.

    Example:
        >>> save_wav("tone.wav", np.sin(np.arange(11025) * 0.2), rate=11025)
    """
    files.replace(path, wav(sound, rate))


def frames(clips: ArrayLike, columns: int = 1, scale: int | str = "auto") -> np.ndarray:
    """Draw clips side by side in a grid, one picture per frame.

    Args:
        clips: the clips, `[n, frames, h, w, c]` in [-1, 1].
        columns: number of clips in a row.
        scale: factor by which clips are enlarged, or "auto", as in `pictures.grid`.

    Returns:
        uint8 `[frames, H, W, 3]`, for `save_gif` and `save_mp4`.

    Raises:
        ValueError: if the array has another rank.
    """
    clips = np.asarray(clips)
    if clips.ndim != 5:
        raise ValueError(f"Expected clips [n, frames, h, w, c], received the shape {clips.shape}.")
    return np.stack([pictures.grid(each, columns, scale) for each in np.moveaxis(clips, 1, 0)])


def gif(clip: ArrayLike, fps: float | None = None) -> bytes:
    """Return a clip encoded as an animated GIF that repeats forever.

    Args:
        clip: the clip, `[frames, h, w, c]` in [-1, 1], or uint8 pictures `[frames, H, W, 3]`.
        fps: frames per second; None for 10. The format stores hundredths of a second per frame.
            Successive equal frames are stored as one of longer duration.

    Returns:
        The content of a file.

    Raises:
        ValueError: if the array has another shape or holds NaN, or `fps` is not positive.
    """
    from PIL import Image

    images = [Image.fromarray(frame) for frame in _pictures(clip)]
    buffer = io.BytesIO()
    duration = max(10, round(100 / _checked_fps(fps)) * 10)  # milliseconds
    images[0].save(
        buffer, format="GIF", save_all=True, append_images=images[1:], duration=duration, loop=0
    )
    return buffer.getvalue()


def save_gif(path: str | os.PathLike, clip: ArrayLike, fps: float | None = None) -> None:
    """Write a clip as an animated GIF.

    Args:
        path: path of the file.
        clip: the clip, `[frames, h, w, c]` in [-1, 1], or uint8 pictures `[frames, H, W, 3]`.
        fps: frames per second; None for 10.

    Raises:
        ValueError: as in `gif`.

    Example:
        >>> save_gif("digits.gif", model.synthesize(10), fps=5)
    """
    files.replace(path, gif(clip, fps))


def save_mp4(path: str | os.PathLike, clip: ArrayLike, fps: float | None = None) -> None:
    """Write a clip as an MP4 video, H.264.

    The format needs even sides: odd ones grow by one pixel.

    Args:
        path: path of the file, ending in ".mp4".
        clip: the clip, `[frames, h, w, c]` in [-1, 1], or uint8 pictures `[frames, H, W, 3]`.
        fps: frames per second; None for 10.

    Raises:
        ImportError: if av is missing.
        ValueError: if the path has another suffix, or as in `gif`.
    """
    with extras.needed("media"):
        import av
    shown, path, fps = _pictures(clip), Path(path), _checked_fps(fps)
    if path.suffix.lower() != ".mp4":
        raise ValueError(f"Expected a path that ends in .mp4, received {str(path)!r}.")
    height, width = shown.shape[1:3]
    shown = np.pad(shown, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    with files.aside(path) as temporary, av.open(str(temporary.absolute()), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = shown.shape[1:3]
        stream.pix_fmt = "yuv420p"  # every player supports it
        for frame in shown:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def _sound(sound: ArrayLike) -> np.ndarray:
    sound = np.asarray(sound, np.float32)
    if sound.ndim == 2 and sound.shape[1] == 1:
        sound = sound[:, 0]
    if sound.ndim != 1 or not len(sound) or np.isnan(sound).any():
        raise ValueError(
            "Expected one sound [samples] or [samples, 1], not empty, received the shape "
            f"{sound.shape} with {int(np.isnan(sound).sum())} NaN. Of a batch, give one: sounds[0]; "
            "fill in hidden entries first."
        )
    return sound


def _pictures(clip: ArrayLike) -> np.ndarray:
    clip = np.asarray(clip)
    if clip.ndim != 4 or clip.shape[-1] not in (1, 3) or 0 in clip.shape:
        raise ValueError(
            "Expected one clip [frames, h, w, c], not empty, with 1 or 3 channels, received the shape "
            f"{clip.shape}. Of a batch, give one: clips[0], or a grid: media.frames(clips)."
        )
    shown = clip if clip.dtype == np.uint8 else data.to_uint8(clip)
    return np.ascontiguousarray(np.broadcast_to(shown, (*shown.shape[:-1], 3)))


def _checked_fps(fps: float | None) -> float:
    return 10.0 if fps is None else checks.positive("media", "fps", fps)
