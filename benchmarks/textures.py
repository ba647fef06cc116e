"""Compute cells of `benchmarks.kinds`: textures of 224×224 pixels, each from one photograph."""

from __future__ import annotations

import time
from pathlib import Path

import keras
import numpy as np

import abp_tf
from abp_tf import CoopNets, Descriptor, Generator, Langevin, metrics, networks
from abp_tf.callbacks import FallingSigma
from abp_tf.display import pictures
from abp_tf.metrics import perceptual
from train import generator

SUBJECTS = ("brick1", "grass1", "ivy", "pave5", "beehive")
TASKS = ("generator", "descriptor", "CoopNets")
SIZE = 224
# Patches with less contrast are not compared; photographs have less of it than clothes.
CONTRAST = 0.05
SETTINGS = {
    "generator": {
        "size": SIZE, "crop": 128, "width": 24, "levels": 5, "latent_channels": 3, "crops": 24,
        "padding": "valid", "sigma": 0.3, "last_sigma": 0.1, "steps": 6, "step_size": 0.4, "rate": 2e-3,
        "last_rate": 0.005, "weight_decay": 4.0, "batch": 4, "iterations": 1500, "expansion": 0.4,
        "learned_prior": True,
    },
    "descriptor": {
        "size": SIZE, "crop": SIZE, "width": 32, "crops": 1, "levels": 3, "start": 0.1, "steps": 40,
        "noise": 0.01, "rate": 7e-4, "last_rate": 0.1, "batch": 1, "iterations": 500, "margin": 40,
    },
    "CoopNets": {
        "size": SIZE, "crop": SIZE, "crops": 1, "width": 24, "levels": 5, "latent_channels": 3,
        "padding": "valid", "descriptor_width": 32, "descriptor_levels": 3, "steps": 20, "noise": 0.01,
        "kernel_size": 6, "rate": 5e-4, "generator_rate": 1e-4, "last_rate": 0.1, "batch": 1,
        "iterations": 500, "margin": 40,
    },
}  # fmt: skip
# Settings of photographs for which those fail: energies become too steep for their chains and diverge.
SLOW = {"descriptor": {"rate": 3.5e-4}, "CoopNets": {"rate": 2.5e-4}}
OWN = {
    ("grass1", "CoopNets"): SLOW["CoopNets"],
    **{(photo, task): own for photo in ("ivy", "pave5", "beehive") for task, own in SLOW.items()},
    ("beehive", "descriptor"): {"rate": 1.75e-4},
}


def settings(subject: str, task: str, quick: bool) -> dict:
    """Return the settings of a cell."""
    found = {**SETTINGS[task], **OWN.get((subject, task), {}), "seed": 0}
    if quick:
        found |= {"iterations": 10, "width": 8}
    return found


def compute(subject: str, task: str, settings: dict, data: Path, target: Path) -> dict:
    """Learn one texture by one model, and synthesize it at its size and at twice its size."""
    with np.load(data / "seed_textures_224.npz") as stored:
        photo = stored["images"][list(stored["names"]).index(subject)]
    photo = (photo[: settings["size"], : settings["size"]] / 127.5 - 1).astype(np.float32)
    keras.utils.set_random_seed(settings["seed"])
    model, seconds = LEARN[task](settings, photo)
    sizes = (settings["size"], 2 * settings["size"])
    margin = settings.get("margin", 0)
    same, double = (
        abp_tf.synthesize_at(model, (size, size), seed=1, margin=margin)[0] for size in sizes
    )
    pictures.save_png(
        target / "synthesis.png", pictures.rows([[photo], [same]], ["photo", "synthesis"])
    )
    pictures.save_png(target / "double.png", pictures.grid(double[None], 1, scale=1))

    measured = {
        "": same,
        "_at_double_size": double,
        "_another_half": photo,
        "_spectrum_noise": perceptual.spectrum_noise(photo),
    }
    return {
        **{
            f"{key}{of}": value
            for of, texture in measured.items()
            for key, value in figures(texture, photo).items()
        },
        "iterations": settings["iterations"],
        "training_seconds": round(seconds, 1),
        "seconds_per_iteration": seconds / settings["iterations"],
    }


def figures(texture: np.ndarray, photo: np.ndarray) -> dict[str, float]:
    """Compare a texture with the right half of a photograph, whose left half is what is unseen.

    Args:
        texture: the texture `[h, w, 3]`, of at least the size of one half, to which it is cut.
        photo: the photograph `[h', w', 3]`.

    Returns:
        The sliced Wasserstein distance; and the ratios of nearest patches of 7×7, at full and at half
        resolution.
    """
    half = photo.shape[1] // 2
    texture = np.clip(texture, -1, 1)[: len(photo), :half]
    three = [one[None] for one in (texture, photo[:, half:], photo[:, :half])]
    return {
        "wasserstein": metrics.sliced_wasserstein(texture, photo[:, half:]),
        "patches": metrics.nearest_patch_ratio(*three, 7, contrast=CONTRAST),
        "coarse_patches": metrics.nearest_patch_ratio(*map(halved, three), 7, contrast=CONTRAST),
    }


def halved(images: np.ndarray) -> np.ndarray:
    """Return images `[n, h, w, c]` of even sides at half the resolution."""
    n, height, width, channels = images.shape
    return images.reshape(n, height // 2, 2, width // 2, 2, channels).mean((2, 4))


def crops(settings: dict, photo: np.ndarray) -> np.ndarray:
    """Return random crops of a square photograph, `[crops, crop, crop, 3]`."""
    random, side = np.random.default_rng(0), settings["crop"]
    corners = random.integers(0, len(photo) - side + 1, (settings["crops"], 2))
    return np.stack([photo[top : top + side, left : left + side] for top, left in corners])


def _fit(model, signals: np.ndarray, batch: int, iterations: int, callbacks=()) -> float:
    began, each = time.perf_counter(), max(iterations // 10, 1)
    model.fit(
        signals, batch_size=batch, steps_per_epoch=each, epochs=10, verbose=2, callbacks=callbacks
    )
    return time.perf_counter() - began


def _drafts(settings: dict) -> keras.Model:
    return networks.texture_generator(
        (settings["crop"], settings["crop"], 3),
        settings["latent_channels"],
        settings["width"],
        levels=settings["levels"],
        kernel_size=settings.get("kernel_size", 5),
        padding=settings["padding"],
    )


def learn_generator(settings: dict, photo: np.ndarray) -> tuple[Generator, float]:
    """Learn a generator from crops of a photograph; return it and its seconds."""
    network = _drafts(settings)
    model = Generator(
        network,
        prior=generator.learned_prior(network),
        sigma=settings["sigma"],
        langevin=Langevin(settings["steps"], settings["step_size"]),
        preconditioning=True,
        expansion=settings["expansion"],
    )
    decay = settings["weight_decay"]
    model.compile(keras.optimizers.Adam(_rate(settings), beta_1=0.5, weight_decay=decay))
    falling = [FallingSigma(settings["sigma"], settings["last_sigma"])]
    signals, batch = crops(settings, photo), settings["batch"]
    return model, _fit(model, signals, batch, settings["iterations"], falling)


def _energy(settings: dict, width: int, levels: int) -> Descriptor:
    """Build a descriptor with short-run chains, whose steps move by the gradient of f."""
    side = settings["crop"]
    network = networks.texture_descriptor(
        (side, side, 3), width, levels=levels, activation="leaky_relu"
    )
    langevin = Langevin(settings["steps"], 2**0.5, temperature=settings["noise"] ** 2 / 2)
    return Descriptor(
        network,
        reference_sigma=float("inf"),
        langevin=langevin,
        chains="short-run",
        start_sigma=settings.get("start"),
        inference=langevin,
    )


def _rate(settings: dict, key: str = "rate"):
    return keras.optimizers.schedules.CosineDecay(
        settings[key], settings["iterations"], settings["last_rate"]
    )


def _descriptor(settings: dict, photo: np.ndarray) -> tuple[Descriptor, float]:
    model = _energy(settings, settings["width"], settings["levels"])
    model.compile(keras.optimizers.Adam(_rate(settings)))
    return model, _fit(model, crops(settings, photo), settings["batch"], settings["iterations"])


def _coopnets(settings: dict, photo: np.ndarray) -> tuple[CoopNets, float]:
    revises = _energy(settings, settings["descriptor_width"], settings["descriptor_levels"])
    model = CoopNets(Generator(_drafts(settings)), revises)
    model.compile(
        keras.optimizers.Adam(_rate(settings, "generator_rate"), beta_1=0.5),
        keras.optimizers.Adam(_rate(settings)),
    )
    return model, _fit(model, crops(settings, photo), settings["batch"], settings["iterations"])


LEARN = {"generator": learn_generator, "descriptor": _descriptor, "CoopNets": _coopnets}
