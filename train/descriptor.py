"""Learn a descriptor by maximum likelihood: python -m train.descriptor --help."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import keras

from abp_tf import Descriptor, Langevin, Scaling, data, programs, runs, signals
from abp_tf.options import Option, at_least_zero, positive, share
from abp_tf.signals import SignalKind

from . import learning, options, report

# Options of the energy, here and in `train.coopnets`.
ENERGY = {
    "data_noise": Option(
        at_least_zero(float), "standard deviation of noise added to training signals", 0.03
    ),
    "energy_penalty": Option(
        at_least_zero(float), "weight of the mean square of scores or energies in the loss", 0.0
    ),
    "penalized": Option(("f", "U"), "what the penalty squares, score f or energy U", "f"),
}


def table(kind: SignalKind) -> options.Table:
    """Return the options of the program for a kind of signal, by heading and name."""
    return options.complete(
        {
            **options.of_kind(kind, "descriptor"),
            "model": {
                "reference_sigma": Option(
                    positive(float),
                    "standard deviation of the Gaussian reference distribution; by default none",
                ),
                **ENERGY,
            },
            "Langevin dynamics": {
                "chains": Option(
                    ("persistent", "short-run", "data"),
                    "where chains start: in earlier samples, in noise or in training signals",
                    "persistent",
                ),
                "pool": Option(positive(int), "number of persistent chains", 1000),
                "restart": Option(
                    share, "share of the persistent chains in a batch that restart from noise", 0.05
                ),
                "start_sigma": Option(
                    positive(float),
                    "standard deviation of Gaussian noise where chains start; by default uniform noise",
                ),
                "inference_steps": Option(
                    positive(int),
                    "Langevin steps of a new signal from noise; by default 20 * steps, or steps with "
                    "--chains short-run",
                ),
                "steps": Option(positive(int), "Langevin steps per iteration", 20),
                "step_size": Option(
                    positive(float), "Langevin step size; sqrt(2) is a unit gradient step", 2**0.5
                ),
                "temperature": Option(
                    at_least_zero(float), "noise of the chains: 1 samples the model itself", 0.01**2 / 2
                ),
            },
            "learning": options.learning(
                "late-cosine", 100, learning_rate=options.rate(5e-4), beta_1=options.beta_1(0.9)
            ),
            "monitoring": {
                "negative": options.NEGATIVE,
                "roll_back": options.ROLL_BACK,
                "picture_every": options.PICTURES,
            },
        },
        kind,
        "descriptor",
    )


def settle(given: dict) -> dict:
    """Return all settings of a run, from the options that were given."""
    settings = options.settle("descriptor", table, given)
    options.check_roll_back(settings)
    return settings


def build(
    settings: dict, shape: tuple[int, ...], examples: int, scaling: Scaling | None = None
) -> Descriptor:
    """Build and compile the model that the settings describe."""
    keras.utils.set_random_seed(settings["seed"])
    network = options.network("descriptor", "descriptor", shape, settings)
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
        value_range=signals.get(settings["kind"]).value_range,
        scaling=scaling,
        seed=settings["seed"],
        shards=settings["shards"] or 1,
    )
    rate = learning.rate(settings, examples)
    model.compile(optimizer=keras.optimizers.Adam(rate, beta_1=settings["beta_1"]))
    return model


def callbacks(model: Descriptor, settings: dict, images: data.Images, logs: Path) -> list:
    """Return the callbacks that record how learning proceeds."""
    return [*options.roll_back(settings), report.pictures_of(images, settings, logs)]


def figures(model: Descriptor, settings: dict, images: data.Images, run: runs.Run) -> dict:
    """Write pictures of the learned model and return its scores."""
    report.write_pictures(model, images, run.pictures)
    return report.scores(model, report.sets(images))


RECIPE = learning.Recipe(
    "descriptor",
    "Learn a descriptor, an energy of signals.",
    table,
    settle,
    build,
    callbacks,
    figures,
)


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit code."""
    return learning.learn(RECIPE, argv)


if __name__ == "__main__":
    programs.run(main)
