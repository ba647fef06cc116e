"""Define the methods that `benchmarks.recovery` compares: how each learns, and how it recovers.

All networks decode by the same ConvNet. `benchmarks/README.md` lists the settings that were tried. No
method learns from test images. Methods whose results depend on a seed recover by the median of several
results as well, and the way that is better on training images is used.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import keras
import numpy as np

from abp_tf import CoopNets, Descriptor, Generator, Langevin, Underdamped, baselines, networks

# Settings of the networks, which all methods share, by data set.
SHARED = {
    "fashion": {"latent_dim": 60, "width": 16, "hidden": 256, "kernel_size": 4, "seed": 0},
    "olivetti": {"latent_dim": 60, "width": 8, "hidden": 256, "kernel_size": 4, "seed": 0},
}
# Settings of one method on one data set, which replace those of `METHODS`.
OWN = {
    "fashion": {
        "ABP": {"epochs": 30}, "CoopNets": {"epochs": 3}, "VAE": {"epochs": 20}, "GAN": {"epochs": 16},
    },
    "olivetti": {
        # Many epochs memorize so few images. Few epochs with well inferred latents generalize.
        "ABP": {"epochs": 2, "steps": 40, "sigma": 0.15},
        "CoopNets": {"draft_epochs": 2, "epochs": 3, "steps": 40, "sigma": 0.15, "samples": 4},
        "VAE": {"epochs": 8}, "GAN": {"epochs": 20}, "PCA": {"ridge": 300.0},
    },
}  # fmt: skip
# The same for hidden blocks: more is observed than with scattered pixels, and errors of neighbours are
# correlated, so that the posterior would be too narrow.
BLOCKS = {
    "olivetti": {
        "ABP": {"epochs": 4, "sigma": 0.6}, "CoopNets": {"draft_epochs": 4, "sigma": 0.6},
        "VAE": {"epochs": 4}, "PCA": {"ridge": 1000.0},
    },
}  # fmt: skip
# Passes over the images in an epoch, so that work at the end of an epoch takes little of its time.
PASSES = {"fashion": None, "olivetti": 5}


class Data(NamedTuple):
    """Hold a data set.

    Attributes:
        train: float32 `[n, h, w, 1]` in [-1, 1].
        test: likewise.
        name: name of the data set.
    """

    train: np.ndarray
    test: np.ndarray
    name: str


class Method(NamedTuple):
    """Describe a method, which is one column of the table.

    Attributes:
        settings: settings besides those of `SHARED`, `OWN`, `BLOCKS` and `PASSES`.
        learn: function from settings, training images and their masks or None to a learned model.
        ways: function from a learned model and settings to functions, by name, that recover images
            under a mask; the best one on training images is used.
    """

    settings: dict
    learn: Callable[[dict, np.ndarray, np.ndarray | None], object]
    ways: Callable[[object, dict], dict[str, Callable]]


def settings(
    name: str, data: str, quick: bool, dtype: str | None = None, learned_with: str = "complete"
) -> dict:
    """Return all settings of a method on a data set.

    Args:
        name: name of the method.
        data: name of the data set.
        quick: whether to reduce epochs and steps.
        dtype: policy of the networks; None for Keras's default.
        learned_with: mask of the training images, or "complete".
    """
    found = {**SHARED[data], **METHODS[name].settings, "passes_per_epoch": PASSES[data]}
    found |= {"dtype": dtype, **OWN[data].get(name, {})}
    if learned_with.startswith("block"):
        found |= BLOCKS.get(data, {}).get(name, {})
    if quick:
        for key in ("epochs", "draft_epochs", "inference_steps", "cool", "iterations"):
            if key in found:
                found[key] = max(1, found[key] // 5)
    return found


def parameters(model) -> int:
    """Count the parameters of a model; for PCA those of components, mean and noise."""
    if isinstance(model, keras.Model):
        return int(sum(np.prod(weight.shape) for weight in model.trainable_variables))
    return int((model.components + 1) * model.mean.size + 1)


def timed(function: Callable, *arguments) -> tuple[object, float]:
    """Call a function; return its result and the seconds it took."""
    began = time.perf_counter()
    result = function(*arguments)
    return result, time.perf_counter() - began


def _network(settings: dict, shape: tuple[int, ...], batch_norm: bool = False) -> keras.Model:
    keras.utils.set_random_seed(settings["seed"])
    keys = ("latent_dim", "width", "hidden", "kernel_size", "antialias")
    given = {key: settings[key] for key in keys if key in settings}
    return networks.image_generator(shape, **given, batch_norm=batch_norm, dtype=settings["dtype"])


def _fit(model, settings: dict, images: np.ndarray, mask: np.ndarray | None):
    data = images if mask is None else {"signal": images, "mask": mask}
    epochs, steps = settings["epochs"], None
    if settings["passes_per_epoch"]:
        steps = _iterations(settings, len(images)) // epochs
    batch_size = settings["batch_size"]
    model.fit(data, batch_size=batch_size, epochs=epochs, steps_per_epoch=steps, verbose=2)
    return model


def _iterations(settings: dict, examples: int) -> int:
    passes = settings["epochs"] * (settings["passes_per_epoch"] or 1)
    return passes * -(-examples // settings["batch_size"])


def _adam(settings: dict, examples: int, key: str = "learning_rate", beta_1: float = 0.5):
    """Return Adam with a learning rate that falls along a cosine to a twentieth of its first value."""
    iterations = _iterations(settings, examples)
    rate = keras.optimizers.schedules.CosineDecay(settings[key], iterations, alpha=0.05)
    return keras.optimizers.Adam(rate, beta_1=beta_1)


def median(inpaint: Callable, count: int) -> Callable:
    """Recover by the median of results with several seeds, which minimizes the absolute error."""
    apart = 2**32  # rows have successive seeds
    return lambda images, mask: np.median(
        [inpaint(images, mask, seed=apart * number) for number in range(count)], axis=0
    )


# Alternating back-propagation, alone or before cooperation.


def learn_abp(settings: dict, images: np.ndarray, mask: np.ndarray | None, observation=None):
    """Learn a generator by alternating back-propagation.

    Args:
        settings: settings of the method; with an observation also the "shape" of an image.
        images: training images, or their observations.
        mask: masks of the images, or None.
        observation: operator that the images were observed by, or None.
    """
    shape = images.shape[1:] if observation is None else settings["shape"]
    step_size = settings["step_size"]
    model = Generator(
        _network(settings, tuple(shape)),
        sigma=settings["sigma"],
        langevin=Langevin(settings["steps"], step_size),
        inference=Underdamped(settings["inference_steps"], step_size, cool=settings["cool"]),
        expansion=settings["expansion"],
        preconditioning=True,
        observation=observation,
        encoder=settings.get("encoder", False),
        seed=settings["seed"],
    )
    model.compile(_adam(settings, len(images)))
    return _fit(model, settings, images, mask)


def _inpaint_ways(model: CoopNets, settings: dict) -> dict:
    count = settings["samples"]
    return {
        f"median of {count}, revised in {steps} steps": median(
            partial(model.inpaint, steps=steps), count
        )
        for steps in settings["revisions"]
    }


def _draws_ways(model: Generator, settings: dict) -> dict:
    """Recover by the median of posterior samples of a few chains."""
    count, chains = settings["samples"], settings["chains"]

    def draws(images, mask):
        return model.sample_posterior(images, mask, samples=count, chains=chains).median

    return {f"median of {count} draws": draws, "balanced": model.inpaint}


# Cooperative learning, which continues from a generator that has learned alone. It has no BatchNorm,
# because the chain of an example must not depend on its batch.


def learn_coopnets(settings: dict, images: np.ndarray, mask: np.ndarray | None) -> CoopNets:
    """Learn a generator, then the generator and a descriptor together."""
    shape = images.shape[1:]
    alone = {"epochs": settings["draft_epochs"], "batch_size": settings["draft_batch_size"]}
    drafts = learn_abp({**settings, **alone}, images, mask)
    energy = networks.image_descriptor(
        shape,
        settings["descriptor_width"],
        activation="leaky_relu",
        scale=2 / settings["revision_step_size"] ** 2,
        dtype=settings["dtype"],
    )
    revises = Descriptor(
        energy,
        reference_sigma=settings["reference_sigma"],
        langevin=Langevin(settings["revision_steps"], settings["revision_step_size"]),
        chains="short-run",
        data_noise=settings["data_noise"],
    )
    model = CoopNets(drafts, revises, seed=settings["seed"])
    model.compile(
        _adam(settings, len(images), "generator_rate"),
        _adam(settings, len(images), "descriptor_rate", beta_1=0.9),
    )
    return _fit(model, settings, images, mask)


# Methods for comparison.


def _learn_vae(settings: dict, images: np.ndarray, mask: np.ndarray | None) -> baselines.VAE:
    model = baselines.VAE(_network(settings, images.shape[1:]), seed=settings["seed"])
    model.compile(_adam(settings, len(images)))
    return _fit(model, settings, images, mask)


def by(model: baselines.VAE, settings: dict, method: str, steps: int) -> Callable:
    """Return a function that recovers images by one of the methods of a VAE, in a number of steps."""

    def inpaint(images, mask, seed=0):
        model.method = method
        model.inference = baselines.Descent(steps, settings["inference_rate"])
        return model.inpaint(images, mask, seed=seed)

    return inpaint


def _vae_ways(model: baselines.VAE, settings: dict) -> dict:
    gibbs, count = by(model, settings, "gibbs", settings["passes"]), settings["samples"]
    return {
        "gradient": by(model, settings, "gradient", settings["inference_steps"]),
        f"median of {count} pseudo-Gibbs": median(gibbs, count),
    }


def _learn_gan(settings: dict, images: np.ndarray, mask: np.ndarray | None) -> baselines.GAN:
    network = _network(settings, images.shape[1:], batch_norm=True)
    descent = baselines.Descent(settings["inference_steps"], settings["inference_rate"])
    model = baselines.GAN(
        network,
        sigma=settings["sigma"],
        penalty=settings["penalty"],
        inference=descent,
        seed=settings["seed"],
    )
    model.compile(keras.optimizers.Adam(settings["learning_rate"], beta_1=0.5))
    return _fit(model, settings, images, mask)


def _gan_ways(model: baselines.GAN, settings: dict) -> dict:
    count = settings["samples"]

    def best(images, mask):
        found = model.reconstruct(images, mask, restarts=count)
        return np.where(mask[..., None], images, found)

    return {f"best of {count}": best, f"median of {count}": median(model.inpaint, count)}


def _learn_pca(settings: dict, images: np.ndarray, mask: np.ndarray | None) -> baselines.PCA:
    model = baselines.PCA(settings["components"], settings["iterations"], settings["ridge"])
    return model.fit(images if mask is None else {"signal": images, "mask": mask})


# Settings of a generator that learns alone.
ALONE = {
    "batch_size": 25, "learning_rate": 4e-3, "sigma": 0.25, "steps": 3, "step_size": 0.5,
    "expansion": 0.6, "inference_steps": 200, "cool": 30,
}  # fmt: skip
METHODS = {
    "ABP": Method({**ALONE, "samples": 72, "chains": 8}, learn_abp, _draws_ways),
    "CoopNets": Method(
        {
            **ALONE,
            "draft_batch_size": 25, "draft_epochs": 10, "batch_size": 100, "samples": 8,
            "generator_rate": 5e-5, "descriptor_rate": 6e-4, "descriptor_width": 16,
            "reference_sigma": 0.1, "revision_steps": 20, "revision_step_size": 0.01,
            "data_noise": 0.03, "revisions": (5, 20),
        },
        learn_coopnets,
        _inpaint_ways,
    ),
    "VAE": Method(
        {
            "batch_size": 25, "learning_rate": 1e-3, "inference_steps": 200, "inference_rate": 0.05,
            "passes": 30, "samples": 4,
        },
        _learn_vae,
        _vae_ways,
    ),
    "GAN": Method(
        {
            "batch_size": 50, "learning_rate": 4e-4, "sigma": 0.3, "penalty": 0.1,
            "inference_steps": 100, "inference_rate": 0.1, "samples": 4,
        },
        _learn_gan,
        _gan_ways,
    ),
    "PCA": Method(
        {"components": 60, "iterations": 50, "ridge": 10.0},
        _learn_pca,
        lambda model, _: {"mean of the posterior": model.inpaint},
    ),
    # PCA without components: the mean of the observed training pixels.
    "mean": Method(
        {"components": 0, "iterations": 1, "ridge": 0.0},
        _learn_pca,
        lambda model, _: {"": model.inpaint},
    ),
}  # fmt: skip
