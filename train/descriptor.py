"""Learn a descriptor, an energy of images, by maximum likelihood: python -m train.descriptor --help."""

from __future__ import annotations

import argparse
import dataclasses
import math
from pathlib import Path

import keras

from abp_tf import Descriptor, Langevin, callbacks, data, networks, programs, runs

from . import kinds, learning, options, report

DEFAULTS = {
    **kinds.DEFAULTS,
    "negative": None,
    "width": 32,
    "kernel_size": 4,
    "activation": "leaky_relu",
    "precision": "float32",
    "reference_sigma": None,
    "outputs": 1,
    "initial_deviation": None,
    "chains": "persistent",
    "start_sigma": None,
    "inference_steps": None,
    "pool": 1000,
    "restart": 0.05,
    "steps": 20,
    "step_size": 2**0.5,
    "temperature": 0.01**2 / 2,
    "data_noise": 0.03,
    "energy_penalty": 0.0,
    "penalized": "f",
    "learning_rate": 5e-4,
    "beta_1": 0.9,
    "schedule": "late-cosine",
    "epochs": 20,
    "steps_per_epoch": None,
    "batch_size": 100,
    "seed": 0,
    "roll_back": False,
    "picture_every": 5,
}
# What suits a source better than the defaults above.
SOURCE_DEFAULTS = {"digits": {"width": 16, "epochs": 60, "pool": 500, "picture_every": 20}}


def parser() -> argparse.ArgumentParser:
    """Return the parser; options that were not given are absent from what it returns."""
    result = argparse.ArgumentParser(
        prog="train.descriptor",
        description="Learn a descriptor by Langevin samples of itself, into a run directory.",
        argument_default=argparse.SUPPRESS,
    )
    options.add_run(result)
    kinds.add_options(result, "descriptor", DEFAULTS, SOURCE_DEFAULTS)
    options.add_learning(result)
    positive, at_least_zero = options.positive, options.at_least_zero
    add = result.add_argument_group("model").add_argument
    add("--width", type=positive(int), help="channels of the finest map")
    options.add_stationary(add)
    add("--kernel-size", type=options.kernel, metavar="N|TxHxW", help="of the convolutions")
    options.add_bottom_up(add)
    add("--activation", choices=[*networks.SMOOTH, "relu", "leaky_relu"], help="of the convolutions")
    add("--outputs", type=positive(int), help="units whose sum is the score")
    add("--initial-deviation", type=positive(float), help="standard deviation of initial weights")
    add("--reference-sigma", type=positive(float),
        help="standard deviation of the Gaussian reference; by default there is none")  # fmt: skip
    add("--data-noise", type=at_least_zero(float), help="standard deviation of noise added to images")
    add("--energy-penalty", type=at_least_zero(float), help="weight of the mean of f squared")
    add("--penalized", choices=["f", "U"], help="what is squared there, score or energy")
    add("--learning-rate", type=positive(float), help="of Adam")
    add("--beta-1", type=at_least_zero(float), help="of Adam")
    add = result.add_argument_group("Langevin dynamics").add_argument
    add("--chains", choices=["persistent", "short-run", "data"],
        help="start from a pool of earlier samples, from noise, or from the images")  # fmt: skip
    add("--pool", type=positive(int), help="number of persistent chains")
    add("--restart", type=options.share, help="share of the chains drawn from the pool begun anew")
    add("--start-sigma", type=positive(float),
        help="chains start from Gaussian noise of this deviation, not from uniform noise")  # fmt: skip
    add("--inference-steps", type=positive(int),
        help="of new images from noise; 20 times --steps by default, where chains go on")  # fmt: skip
    add("--steps", type=positive(int), help="per iteration")
    add("--step-size", type=positive(float), help="delta; sqrt(2) is a unit gradient step")
    add("--temperature", type=at_least_zero(float), help="of the noise; 1 samples the model itself")
    add = result.add_argument_group("watching").add_argument
    add("--negative", metavar="SOURCE", help="images of another kind, for train.evaluate")
    options.add_roll_back(add)
    add("--picture-every", type=positive(int), help="epochs between pictures in TensorBoard")
    return result


def settle(given: dict) -> dict:
    """Return all settings of a run that was given some options."""
    settings = kinds.settle("descriptor", given, DEFAULTS, SOURCE_DEFAULTS)
    options.check_roll_back(settings)
    return settings


def build(settings: dict, shape: tuple[int, ...], examples: int) -> Descriptor:
    """Make and compile the model that the settings describe."""
    keras.utils.set_random_seed(settings["seed"])
    network = kinds.descriptor(shape, settings)
    langevin = Langevin(settings["steps"], settings["step_size"], settings["temperature"])
    inference = None
    if settings["inference_steps"]:
        inference = dataclasses.replace(langevin, steps=settings["inference_steps"])
    model = Descriptor(
        network,
        reference_sigma=settings["reference_sigma"] or math.inf,
        langevin=langevin,
        inference=inference,
        start_sigma=settings["start_sigma"],
        penalized=settings["penalized"],
        chains=settings["chains"],
        pool=settings["pool"],
        restart=settings["restart"],
        data_noise=settings["data_noise"],
        energy_penalty=settings["energy_penalty"],
        seed=settings["seed"],
    )
    rate = learning.rate(settings, examples)
    model.compile(optimizer=keras.optimizers.Adam(rate, beta_1=settings["beta_1"]))
    return model


def watchers(model: Descriptor, settings: dict, images: data.Images, logs: Path) -> list:
    """Return the callbacks that show how learning goes."""
    every = settings["picture_every"]
    pictures = callbacks.TensorBoardPictures(logs, images.train, every, images.rate)
    return [*options.roll_back(settings), pictures]


def figures(model: Descriptor, settings: dict, images: data.Images, run: runs.Run) -> dict:
    """Write pictures of what was learned and return its scores."""
    report.write_pictures(model, images, run.pictures)
    return report.scores(model, report.sets(images))


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit code."""
    recipe = learning.Recipe("descriptor", parser(), settle, build, watchers, figures)
    return learning.learn(recipe, argv)


if __name__ == "__main__":
    programs.run(main)
