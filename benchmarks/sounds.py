"""Compute cells of `benchmarks.kinds`: sounds, each from one recording of a few seconds."""

from __future__ import annotations

import time
from pathlib import Path

import keras
import numpy as np
from scipy.linalg import solve_toeplitz

from abp_tf import Generator, Langevin, Mdct, networks
from abp_tf.callbacks import FallingSigma
from abp_tf.display import media, pictures
from abp_tf.metrics import perceptual

# Positions of the recordings in the file.
SUBJECTS = {"sound1": 0, "sound2": 1, "sound3": 2, "sound10": 9}
TASKS = ("synthesis", "gap")
SETTINGS = {
    "samples": 60_000, "width": 48, "latent_channels": 8, "sigma": 0.05, "steps": 6,
    "step_size": 0.5, "rate": 1e-3, "weight_decay": 8.0, "window": 512, "iterations": 600, "gap": 0.5,
    "order": 400, "seed": 0,
}  # fmt: skip


def settings(subject: str, task: str, quick: bool) -> dict:
    """Return the settings of a cell, the same for all subjects."""
    small = {"samples": 40_000, "width": 4, "iterations": 10} if quick else {}
    return {**SETTINGS, **small, "task": task}


def compute(subject: str, task: str, settings: dict, data: Path, target: Path) -> dict:
    """Learn one sound, whole or with a gap, and synthesize it or fill the gap."""
    with np.load(data / "seed_audio.npz") as stored:
        number = SUBJECTS[subject]
        sound = stored["audio"][number][: settings["samples"]].astype(np.float32)
        rate = float(np.broadcast_to(stored["rate"], len(stored["audio"]))[number])
    sound = (0.95 * sound / np.abs(sound).max())[:, None]
    mask = np.ones((1, len(sound)), bool)
    start = len(sound) // 2
    end = start + int(settings["gap"] * rate)
    if task == "gap":
        mask[:, start:end] = False
    model, seconds = learn(settings, sound, mask)
    common = {
        "training_seconds": round(seconds, 1),
        "seconds_per_iteration": seconds / settings["iterations"],
    }
    media.save_wav(target / "recording.wav", sound, rate)
    if task == "synthesis":
        return {**_synthesis(model, sound, rate, target), **common}
    filled = np.where(mask[0][:, None], sound, model(model.latents).numpy()[0])
    return {**_gap(filled, sound, slice(start, end), settings["order"], rate, target), **common}


def learn(settings: dict, sound: np.ndarray, mask: np.ndarray) -> tuple[Generator, float]:
    """Learn a generator from one sound; return it and its seconds."""
    keras.utils.set_random_seed(settings["seed"])
    network = networks.sound_generator(len(sound), settings["latent_channels"], settings["width"])
    langevin = Langevin(settings["steps"], settings["step_size"])
    model = Generator(
        network,
        sigma=settings["sigma"],
        langevin=langevin,
        preconditioning=True,
        expansion=1.0,
        bands=Mdct(settings["window"]),
    )
    rate = keras.optimizers.schedules.CosineDecay(settings["rate"], settings["iterations"], 0.005)
    # Weight decay reduces a hiss, perhaps a remainder of the white noise of the initial kernels.
    decay = settings["weight_decay"]
    model.compile(keras.optimizers.Adam(rate, beta_1=0.5, weight_decay=decay))
    began = time.perf_counter()
    steps = max(settings["iterations"] // 10, 1)
    data = {"signal": sound[None], "mask": mask}
    falling = FallingSigma.to_levels(model.bands, sound[None], mask, first=settings["sigma"])
    model.fit(data, batch_size=1, steps_per_epoch=steps, epochs=10, verbose=2, callbacks=[falling])
    return model, time.perf_counter() - began


def _synthesis(model: Generator, sound: np.ndarray, rate: float, target: Path) -> dict:
    drawn = np.clip(model.synthesize(1, seed=1)[0], -1, 1)
    media.save_wav(target / "synthesis.wav", drawn, rate)
    for name, one in (("recording", sound), ("synthesis", drawn)):
        pictures.save_png(target / f"{name}.png", media.spectrogram(one, rate, name))
    measured = {
        "": drawn,
        "_another_half": sound,
        "_spectrum_noise": perceptual.spectrum_noise(sound),
    }
    return {
        f"{key}{of}": value
        for of, one in measured.items()
        for key, value in figures(one, sound, rate).items()
    }


def figures(sound: np.ndarray, recording: np.ndarray, rate: float) -> dict[str, float]:
    """Compare a sound with a recording.

    Args:
        sound: the sound `[samples]` or `[samples, 1]`, of at least the length of one half of the
            recording, to which it is cut.
        recording: the recording, of the same form.
        rate: samples per second of both.

    Returns:
        The distance of log-spectrograms to the second half of the recording, and the level between
        events over that of the recording, both in dB.
    """
    half = len(recording) // 2
    return {
        "spectrogram_dB": perceptual.spectrogram_distance(sound[:half], recording[half:], rate),
        "level_between_dB": perceptual.level_between_events(sound[:half], recording, rate),
    }


def _gap(filled, sound, gap: slice, order: int, rate: float, target: Path) -> dict:
    """Compare the filled gap with the recording, next to linear prediction and silence."""
    predicted = sound.copy()
    predicted[gap] = predict(sound[: gap.start, 0], sound[gap.stop :, 0], gap.stop - gap.start, order)
    silent = sound.copy()
    silent[gap] = 0
    ways = {"model": filled, "linear_prediction": predicted, "silence": silent}
    result = {}
    for name, one in ways.items():
        media.save_wav(target / f"{name}.wav", np.clip(one, -1, 1), rate)
        pictures.save_png(target / f"{name}.png", media.spectrogram(one, rate, name))
        result[f"{name}_MAE"] = float(np.mean(np.abs(one[gap] - sound[gap])) / 2)
        result[f"{name}_spectrogram_dB"] = perceptual.spectrogram_distance(one[gap], sound, rate)
    return result


def predict(before: np.ndarray, after: np.ndarray, length: int, order: int) -> np.ndarray:
    """Fill a gap by linear prediction from both sides, which are cross-faded.

    Args:
        before: samples before the gap.
        after: samples after the gap.
        length: number of samples of the gap.
        order: order of the linear prediction.

    Returns:
        The samples of the gap, `[length, 1]`.
    """

    def continued(past):
        centred = past - past.mean()
        transform = np.abs(np.fft.rfft(centred, 2 * len(past))) ** 2
        correlation = np.fft.irfft(transform)[: order + 1]
        correlation[0] *= 1 + 1e-6
        weights = solve_toeplitz(correlation[:-1], correlation[1:])
        samples = list(centred[-order:])
        for _ in range(length):
            samples.append(float(weights @ np.asarray(samples[: -order - 1 : -1])))
        return np.array(samples[order:]) + past.mean()

    fade = np.linspace(1, 0, length)
    return (fade * continued(before) + (1 - fade) * continued(after[::-1])[::-1])[:, None]
