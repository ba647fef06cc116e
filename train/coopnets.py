"""Learn a generator and a descriptor together: python -m train.coopnets --help."""

from __future__ import annotations

from pathlib import Path

import keras

from abp_tf import (
    CoopNets,
    Descriptor,
    Generator,
    Langevin,
    Scaling,
    Underdamped,
    data,
    programs,
    runs,
    signals,
)
from abp_tf.options import Option, at_least_zero, positive
from abp_tf.signals import SignalKind

from . import learning, options, report
from .descriptor import ENERGY


def table(kind: SignalKind) -> options.Table:
    """Return the options of the program for a kind of signal, by heading and name."""
    found = options.of_kind(kind, "coopnets")
    found["generator"] |= {
        "mask": options.masking([kind], "mask of the training signals"),
        "sigma": Option(positive(float), "standard deviation of the noise of its signals", 0.3),
        "latent_steps": Option(
            at_least_zero(int),
            "Langevin steps that move latents towards the revised signals",
            0,
        ),
        "chain_steps": Option(
            positive(int), "with --mask: Langevin steps of each example's chain; by default 10"
        ),
        "latent_step_size": Option(positive(float), "Langevin step size of latents", 0.1),
        "latent_temperature": Option(
            at_least_zero(float), "noise of latents: 1 samples, 0 is gradient descent", 1.0
        ),
        **options.INFERENCE,
        "generator_rate": options.rate(2e-4, "generator"),
        "generator_beta_1": options.beta_1(0.5, "generator"),
    }
    found["descriptor"] |= {
        "reference_sigma": Option(positive(float), "standard deviation of the Gaussian reference", 0.1),
        "steps": Option(positive(int), "Langevin steps that revise a signal", 20),
        "step_size": Option(positive(float), "Langevin step size of the revision", 0.01),
        "temperature": Option(
            at_least_zero(float), "noise of the revision: 1 samples, 0 is gradient descent", 1.0
        ),
        "score_scale": Option(
            positive(float),
            "factor of the network's output; by default 2 / step-size^2",
        ),
        **ENERGY,
        "descriptor_rate": options.rate(6e-4, "descriptor"),
        "descriptor_beta_1": options.beta_1(0.9, "descriptor"),
    }
    found["learning"] = {
        **options.learning("late-cosine", 100),
        "negative": options.NEGATIVE,
        "roll_back": options.ROLL_BACK,
        "curve_every": options.CURVES,
        "picture_every": options.PICTURES,
    }
    return options.complete(found, kind, "coopnets")


def incomplete(settings: dict) -> bool:
    """Return whether a run learns from incomplete signals."""
    return settings["mask"] is not None or signals.get(settings["kind"]).incomplete


def settle(given: dict) -> dict:
    """Return all settings of a run, from the options that were given."""
    settings = options.settle("coopnets", table, given)
    options.check_roll_back(settings)
    if settings["score_scale"] is None:
        settings["score_scale"] = 2 / settings["step_size"] ** 2
    if settings.get("batch_norm", False) is None:
        # Chains of latents run on moving statistics, drafts have those of their batch; and the chain of
        # an incomplete example would depend on its batch.
        settings["batch_norm"] = not (incomplete(settings) or settings["latent_steps"])
    if incomplete(settings):
        settings["chain_steps"] = settings["chain_steps"] or 10
    elif settings["chain_steps"]:
        raise ValueError(
            "--chain-steps: expected a --mask with it, because only incomplete signals have chains, "
            "received none. Give --mask, or leave --chain-steps out."
        )
    return settings


def build(
    settings: dict, shape: tuple[int, ...], examples: int, scaling: Scaling | None = None
) -> CoopNets:
    """Build and compile the models that the settings describe."""
    keras.utils.set_random_seed(settings["seed"])
    scale = settings["score_scale"]
    top_down = options.network("generator", "coopnets", shape, settings)
    bottom_up = options.network("descriptor", "coopnets", shape, settings, scale=scale)
    latent, steps = settings["latent_step_size"], settings["chain_steps"] or settings["latent_steps"]
    both = {
        "value_range": signals.get(settings["kind"]).value_range,
        "scaling": scaling,
        "seed": settings["seed"],
        "shards": settings["shards"] or 1,
    }
    generator = Generator(
        top_down,
        sigma=settings["sigma"],
        langevin=Langevin(steps, latent, settings["latent_temperature"]),
        inference=Underdamped(settings["inference_steps"], latent, cool=settings["inference_cool"]),
        chains="persistent" if incomplete(settings) else "fresh",
        **both,
    )
    descriptor = Descriptor(
        bottom_up,
        reference_sigma=settings["reference_sigma"],
        langevin=Langevin(settings["steps"], settings["step_size"], settings["temperature"]),
        chains="short-run",
        data_noise=settings["data_noise"],
        energy_penalty=settings["energy_penalty"],
        penalized=settings["penalized"],
        **both,
    )
    model = CoopNets(
        generator, descriptor, latent_steps=settings["latent_steps"], seed=settings["seed"]
    )
    adam = keras.optimizers.Adam
    model.compile(
        *(
            adam(learning.rate(settings, examples, f"{name}_rate"), beta_1=settings[f"{name}_beta_1"])
            for name in ("generator", "descriptor")
        )
    )
    return model


def callbacks(model: CoopNets, settings: dict, images: data.Images, logs: Path) -> list:
    """Return the callbacks that record how learning proceeds."""
    return [
        *options.roll_back(settings),
        report.curves(model, settings, images),
        report.pictures_of(images, settings, logs),
    ]


def figures(model: CoopNets, settings: dict, images: data.Images, run: runs.Run) -> dict:
    """Write pictures of the learned model and return its errors and scores."""
    report.write_pictures(model, images, run.pictures, settings["mask"])
    return {**report.all_errors(model, images), **report.scores(model, report.sets(images))}


RECIPE = learning.Recipe(
    "coopnets",
    "Learn a generator and a descriptor cooperatively.",
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
