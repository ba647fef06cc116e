"""Compute cells of `benchmarks.kinds`: clips of 64×64 pixels, each from one recording."""

from __future__ import annotations

import time
from pathlib import Path

import keras
import numpy as np

import abp_tf
from abp_tf import Generator, Langevin, metrics, networks, signals
from abp_tf.callbacks import FallingSigma
from abp_tf.display import media, pictures

SUBJECTS = {"fire": "video_fire_pot_64.npz", "flashing light": "video_flashing_light_64.npz"}
TASKS = ("synthesis", "dynamic synthesis", "missing frames", "moving block")
LONG = 300  # frames of a synthesis that is longer than the recording
SETTINGS = {
    "frames": 96, "size": 64, "width": 16, "latent_channels": 20, "padding": "valid", "sigma": 0.3,
    "steps": 6, "step_size": 0.3, "rate": 2e-3, "last_rate": 0.02, "weight_decay": 4.0,
    "iterations": 360, "share": 0.5, "block": 20, "seed": 0,
}  # fmt: skip
# A state of so many entries, moved by `latent_channels` of noise; each frame is decoded by itself. The
# noise of a frame has a part in all later ones, so that longer steps are unstable.
DYNAMIC = {"state": 64, "step_size": 0.1}
# A whole clip is learned with a noise that falls, so that detail counts after the rest is in place.
WHOLE = {"last_sigma": 0.1, "step_size": 0.2, "iterations": 600}
# Settings of a nearly black clip: a higher rate soon makes all of it black, where tanh is flat.
OWN = {"flashing light": {"rate": 1e-3}}


def settings(subject: str, task: str, quick: bool) -> dict:
    """Return the settings of a cell."""
    small = {"frames": 16, "width": 4, "iterations": 10} if quick else {}
    whole = WHOLE if task == "synthesis" else {}
    moved = DYNAMIC if task == "dynamic synthesis" else {}
    return {**SETTINGS, **OWN.get(subject, {}), **whole, **moved, **small, "task": task}


def compute(subject: str, task: str, settings: dict, data: Path, target: Path) -> dict:
    """Learn one clip, whole or masked, and synthesize it or recover its hidden parts."""
    with np.load(data / SUBJECTS[subject]) as stored:
        clip = (stored["frames"][: settings["frames"]] / 127.5 - 1).astype(np.float32)
        fps = float(stored["fps"])
    mask = hidden(task, clip.shape[:3], settings)
    model, seconds = learn(settings, clip, mask)
    found = model(model.latents).numpy()[0]
    whole = np.where(mask[..., None], clip, found)
    common = {
        "training_seconds": round(seconds, 1),
        "seconds_per_iteration": seconds / settings["iterations"],
    }
    media.save_gif(target / "recording.gif", clip, fps)
    if task.endswith("synthesis"):
        frames, *rest = model.latent_shape
        length = -(-frames * LONG // len(clip))
        drawn = abp_tf.resized(model, (length, *rest)).synthesize(1, seed=1)[:, :LONG]
        media.save_gif(target / "synthesis.gif", drawn[0], fps)
        media.save_gif(target / "reconstruction.gif", found, fps)
        rows = [signals.get("video").tiles(one[None]) for one in (clip, found, drawn[0])]
        labels = ["recording", "reconstructed", "synthesis"]
        pictures.save_png(target / "frames.png", pictures.rows(rows, labels))
        return {
            "psnr": metrics.psnr(clip[None], found[None]),
            "ssim": metrics.ssim(clip, found),
            **lively(drawn[0], clip),
            **common,
        }
    between = interpolated(clip, mask)
    media.save_gif(target / "recovered.gif", whole, fps)
    observed = np.where(mask[..., None], clip, 0)
    rows = [signals.get("video").tiles(one[None]) for one in (clip, observed, whole, between)]
    labels = ["recording", "observed", "recovered", "interpolated"]
    pictures.save_png(target / "frames.png", pictures.rows(rows, labels))
    return {
        "hidden_MAE": metrics.recovery_error(clip[None], whole[None], mask[None]),
        "interpolation_MAE": metrics.recovery_error(clip[None], between[None], mask[None]),
        **common,
    }


def lively(drawn: np.ndarray, clip: np.ndarray) -> dict[str, float]:
    """Return whether a long synthesis goes on, and whether it is grainy or blurred.

    Args:
        drawn: a synthesis `[frames, h, w, c]`, longer than the recording.
        clip: the recording.

    Returns:
        the deviation in time of the last frames, as many as the recording has, over that of the
        recording: 0 if they fade; the least mean absolute difference of any two frames at least 8 apart
        over that of the recording: 0 if they repeat; and the ratio of nearest patches of 5×5 of every
        eighth frame, to those of every other frame of the recording, over that of the frames between.
    """

    def deviation(frames):
        return float(frames.std(0).mean())

    def nearest(frames):
        few = frames[:, ::2, ::2].reshape(len(frames), -1)
        apart = np.stack([np.abs(few - one).mean(-1) for one in few])
        far = np.abs(np.subtract.outer(np.arange(len(few)), np.arange(len(few)))) >= 8
        return float(apart[far].min())

    drawn = np.clip(drawn, -1, 1)
    return {
        "late_deviation": deviation(drawn[-len(clip) :]) / deviation(clip),
        "nearest_frames": nearest(drawn) / nearest(clip),
        "patches": metrics.nearest_patch_ratio(drawn[::8], clip[::2], clip[1::2], 5, contrast=0.05),
    }


def hidden(task: str, shape: tuple[int, int, int], settings: dict) -> np.ndarray:
    """Return the mask of a task, `[frames, h, w]`, 1 = observed."""
    mask = np.ones(shape, bool)
    frames, height, width = shape
    if task == "missing frames":
        random = np.random.default_rng(0)
        # The first and the last frame stay observed, so that interpolation has both ends.
        gone = 1 + random.permutation(frames - 2)[: int(settings["share"] * frames)]
        mask[gone] = False
    if task == "moving block":
        side, turn = settings["block"], 2 * np.pi * np.arange(frames) / 30
        tops = ((height - side) / 2 * (1 + np.sin(turn))).astype(int)
        lefts = ((width - side) / 2 * (1 + np.cos(turn))).astype(int)
        for frame, (top, left) in enumerate(zip(tops, lefts, strict=True)):
            mask[frame, top : top + side, left : left + side] = False
    return mask


def interpolated(clip: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Fill each pixel by linear interpolation in time between the frames where it is observed."""
    frames = np.arange(len(clip))
    result = clip.copy()
    for pixel in np.ndindex(clip.shape[1:3]):
        observed = mask[(slice(None), *pixel)]
        for channel in range(clip.shape[-1]):
            line = (slice(None), *pixel, channel)
            result[line] = np.interp(frames, frames[observed], clip[line][observed])
    return result


def learn(settings: dict, clip: np.ndarray, mask: np.ndarray) -> tuple[Generator, float]:
    """Learn a generator from one clip; return it and its seconds."""
    keras.utils.set_random_seed(settings["seed"])
    if settings["task"] == "dynamic synthesis":
        frame = networks.image_generator(clip.shape[1:], settings["state"], settings["width"])
        network = networks.dynamic_generator(frame, len(clip), settings["latent_channels"])
    else:
        network = networks.video_generator(
            clip.shape, settings["latent_channels"], settings["width"], padding=settings["padding"]
        )
    model = Generator(
        network,
        sigma=settings["sigma"],
        langevin=Langevin(settings["steps"], settings["step_size"]),
        preconditioning=True,
        expansion=1.0,
    )
    rate = keras.optimizers.schedules.CosineDecay(
        settings["rate"], settings["iterations"], settings["last_rate"]
    )
    decay = settings["weight_decay"]
    model.compile(keras.optimizers.Adam(rate, beta_1=0.5, weight_decay=decay))
    began = time.perf_counter()
    steps = max(settings["iterations"] // 10, 1)
    data = {"signal": clip[None], "mask": mask[None]}
    falling = []
    if "last_sigma" in settings:
        falling = [FallingSigma(settings["sigma"], settings["last_sigma"])]
    model.fit(data, batch_size=1, steps_per_epoch=steps, epochs=10, verbose=2, callbacks=falling)
    return model, time.perf_counter() - began
