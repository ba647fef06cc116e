"""The methods that `benchmarks.recovery` compares: how each learns, and how it recovers.

All networks decode by the same ConvNet. Settings are those a method does well with on complete data
(`benchmarks/README.md`); no method is told which images it will be tested on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np

from abp_tf import CoopNets, Descriptor, Generator, Langevin, baselines, networks

# Of the networks, by data set: what all methods share.
SHARED = {
    "fashion": {"latent_dim": 60, "width": 16, "hidden": 256, "kernel_size": 4},
    "olivetti": {"latent_dim": 60, "width": 16, "hidden": 256, "kernel_size": 4},
}
EPOCHS = {
    "fashion": {"ABP": 12, "CoopNets": 10, "VAE": 24, "GAN": 16},
    "olivetti": {"ABP": 60, "CoopNets": 60, "VAE": 400, "GAN": 400},
}


FEW, TRAINING = 10, 500  # images in pictures; training images recovered
QUICK = {"images": 1000, "epochs": 0.25}  # the first images, and the share of epochs, of --quick


class Data(NamedTuple):
    """`train`, `test`: float32 `[n, h, w, 1]` in [-1, 1]; `name` of the data set."""

    train: np.ndarray
    test: np.ndarray
    name: str


class Method(NamedTuple):
    """One column of the table.

    Attributes:
        settings: all that its figures depend on, from the data set's name.
        learn: makes the learned model, from settings, training images and their masks or None.
        ways: functions that recover images under a mask, by name, of a learned model; the better one
            on training images counts.
    """

    settings: Callable[[str], dict]
    learn: Callable[[dict, np.ndarray, np.ndarray | None], object]
    ways: Callable[[object], dict[str, Callable]]


def _network(settings: dict, shape: tuple[int, ...], batch_norm: bool = False) -> keras.Model:
    keras.utils.set_random_seed(settings["seed"])
    return networks.image_generator(
        shape,
        settings["latent_dim"],
        settings["width"],
        hidden=settings["hidden"],
        kernel_size=settings["kernel_size"],
        batch_norm=batch_norm,
    )


def _fit(model, settings: dict, images: np.ndarray, mask: np.ndarray | None):
    data = images if mask is None else {"signal": images, "mask": mask}
    model.fit(data, batch_size=settings["batch_size"], epochs=settings["epochs"], verbose=2)
    return model


def _adam(settings: dict, examples: int) -> keras.optimizers.Adam:
    steps = settings["epochs"] * -(-examples // settings["batch_size"])
    rate = keras.optimizers.schedules.CosineDecay(settings["learning_rate"], steps, alpha=0.05)
    return keras.optimizers.Adam(rate, beta_1=0.5)


# Alternating back-propagation.


def abp_settings(data: str) -> dict:
    """Settings of the generator; those of `benchmarks.reconstruction` but for its width."""
    return {
        **SHARED[data],
        "epochs": EPOCHS[data]["ABP"],
        "batch_size": 25,
        "learning_rate": 1e-3,
        "sigma": 0.4,
        "steps": 6,
        "step_size": 0.5,
        "expansion": 0.6,
        "inference_steps": 120,
        "cool": 60,
        "samples": 8,
        "seed": 0,
    }


def generator(settings: dict, shape: tuple[int, ...], observation=None) -> Generator:
    """Make the generator that ABP learns."""
    return Generator(
        _network(settings, shape),
        sigma=settings["sigma"],
        langevin=Langevin(settings["steps"], settings["step_size"]),
        inference=Langevin(settings["inference_steps"], settings["step_size"], cool=settings["cool"]),
        expansion=settings["expansion"],
        preconditioning=True,
        observation=observation,
        seed=settings["seed"],
    )


def learn_abp(settings: dict, images: np.ndarray, mask: np.ndarray | None, observation=None):
    """Learn a generator from what is seen of the images."""
    shape = images.shape[1:] if observation is None else settings["shape"]
    model = generator(settings, tuple(shape), observation)
    model.compile(_adam(settings, len(images)))
    return _fit(model, settings, images, mask)


def _abp_ways(model: Generator, samples: int) -> dict:
    def median(images, mask):
        # The point of least absolute error under the posterior.
        return np.median(model.inpaint(images, mask, samples=samples).samples, axis=1)

    return {f"median of {samples} samples": median, "mode": model.inpaint}


# Cooperative learning.


def coopnets_settings(data: str) -> dict:
    """Settings of both networks; those of `train.coopnets`, without BatchNorm."""
    return {
        **SHARED[data],
        "epochs": EPOCHS[data]["CoopNets"],
        "batch_size": 100,
        "sigma": 0.4,
        "latent_steps": 6,
        "latent_step_size": 0.1,
        "inference_steps": 200,
        "inference_cool": 100,
        "generator_rate": 3e-4,
        "descriptor_rate": 6e-4,
        "descriptor_width": 16,
        "reference_sigma": 0.1,
        "steps": 20,
        "step_size": 0.01,
        "data_noise": 0.03,
        "seed": 0,
    }


def learn_coopnets(settings: dict, images: np.ndarray, mask: np.ndarray | None) -> CoopNets:
    """Learn a generator and a descriptor from what is seen of the images."""
    shape = images.shape[1:]
    latents = Langevin(settings["latent_steps"], settings["latent_step_size"])
    inference = Langevin(
        settings["inference_steps"], settings["latent_step_size"], cool=settings["inference_cool"]
    )
    drafts = Generator(_network(settings, shape), settings["sigma"], latents, inference)
    judge = networks.image_descriptor(
        shape,
        settings["descriptor_width"],
        activation="leaky_relu",
        scale=2 / settings["step_size"] ** 2,
    )
    revises = Descriptor(
        judge,
        reference_sigma=settings["reference_sigma"],
        langevin=Langevin(settings["steps"], settings["step_size"]),
        chains="short-run",
        data_noise=settings["data_noise"],
    )
    model = CoopNets(drafts, revises, seed=settings["seed"])
    model.compile(
        keras.optimizers.Adam(settings["generator_rate"], beta_1=0.5),
        keras.optimizers.Adam(settings["descriptor_rate"]),
    )
    return _fit(model, settings, images, mask)


def _coopnets_ways(model: CoopNets) -> dict:
    return {"revised": model.inpaint, "generator": model.generator.inpaint}


# What generators are compared with.


def _vae_settings(data: str) -> dict:
    epochs = EPOCHS[data]["VAE"]
    return {**SHARED[data], "epochs": epochs, "batch_size": 50, "learning_rate": 1e-3, "seed": 0}


def _learn_vae(settings, images, mask):
    model = baselines.VAE(_network(settings, images.shape[1:]), seed=settings["seed"])
    model.compile(_adam(settings, len(images)))
    return _fit(model, settings, images, mask)


def _vae_ways(model) -> dict:
    def by(method):
        def inpaint(images, mask):
            model.method = method
            return model.inpaint(images, mask)

        return inpaint

    return {"gradient": by("gradient"), "pseudo-Gibbs": by("gibbs")}


def _gan_settings(data: str) -> dict:
    epochs = EPOCHS[data]["GAN"]
    return {**SHARED[data], "epochs": epochs, "batch_size": 50, "learning_rate": 4e-4, "seed": 0}


def _learn_gan(settings, images, mask):
    network = _network(settings, images.shape[1:], batch_norm=True)
    model = baselines.GAN(network, seed=settings["seed"])
    model.compile(keras.optimizers.Adam(settings["learning_rate"], beta_1=0.5))
    return _fit(model, settings, images, mask)


def _pca_settings(data: str) -> dict:
    return {"components": SHARED[data]["latent_dim"]}


def _learn_pca(settings, images, mask):
    model = baselines.PCA(settings["components"])
    return model.fit(images if mask is None else {"signal": images, "mask": mask})


METHODS = {
    "ABP": Method(abp_settings, learn_abp, lambda model: _abp_ways(model, 8)),
    "CoopNets": Method(coopnets_settings, learn_coopnets, _coopnets_ways),
    "VAE": Method(_vae_settings, _learn_vae, _vae_ways),
    "GAN": Method(_gan_settings, _learn_gan, lambda model: {"descent": model.inpaint}),
    "PCA": Method(_pca_settings, _learn_pca, lambda model: {"conditional mean": model.inpaint}),
    # Of no components: the mean of observed training pixels.
    "mean": Method(lambda _: {"components": 0}, _learn_pca, lambda model: {"mean": model.inpaint}),
}


def parameters(model) -> int:
    """Count what a model learned, chains aside."""
    if isinstance(model, keras.Model):
        return int(sum(np.prod(weight.shape) for weight in model.trainable_variables))
    return int((model.components + 1) * model.mean.size + 1)


def timed(function: Callable, *arguments) -> tuple[object, float]:
    """Return what a function returns, and the seconds it took."""
    began = time.perf_counter()
    answer = function(*arguments)
    return answer, time.perf_counter() - began


def shortened(settings: dict, quick: bool) -> dict:
    """Return the settings, for `--quick` with fewer epochs."""
    if not quick or "epochs" not in settings:
        return settings
    return {**settings, "epochs": max(1, int(settings["epochs"] * QUICK["epochs"]))}
