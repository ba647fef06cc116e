"""Learn a generator and a descriptor together: python -m train.coopnets --help."""

from __future__ import annotations

import argparse
from pathlib import Path

import keras

from abp_tf import CoopNets, Descriptor, Generator, Langevin, callbacks, data, networks, programs, runs

from . import kinds, learning, options, report

DEFAULTS = {
    **kinds.DEFAULTS,
    "negative": None,
    "mask": None,
    "latent_dim": 100,
    "width": 16,
    "kernel_size": 5,
    "hidden": 0,
    "descriptor_width": 32,
    "descriptor_kernel_size": 4,
    "descriptor_activation": "leaky_relu",
    "descriptor_levels": None,
    "descriptor_padding": None,
    "outputs": 1,
    "initial_deviation": None,
    "activation": "elu",
    "batch_norm": None,
    "precision": "float32",
    "sigma": 0.3,
    "latent_steps": 0,
    "chain_steps": None,
    "latent_step_size": 0.1,
    "latent_temperature": 1.0,
    "inference_steps": 200,
    "inference_cool": 100,
    "reference_sigma": 0.1,
    "steps": 20,
    "step_size": 0.01,
    "temperature": 1.0,
    "score_scale": None,
    "data_noise": 0.03,
    "energy_penalty": 0.0,
    "penalized": "f",
    "generator_rate": 2e-4,
    "generator_beta_1": 0.5,
    "descriptor_rate": 6e-4,
    "descriptor_beta_1": 0.9,
    "schedule": "late-cosine",
    "epochs": 20,
    "steps_per_epoch": None,
    "batch_size": 100,
    "seed": 0,
    "roll_back": False,
    "curve_every": 5,
    "picture_every": 5,
}
# What suits a source better than the defaults above.
SOURCE_DEFAULTS = {
    "digits": {
        "latent_dim": 16,
        "descriptor_width": 16,
        "epochs": 60,
        "curve_every": 20,
        "picture_every": 20,
    }
}


def parser() -> argparse.ArgumentParser:
    """Return the parser; options that were not given are absent from what it returns."""
    result = argparse.ArgumentParser(
        prog="train.coopnets",
        description="Learn a generator and a descriptor cooperatively, into a run directory.",
        argument_default=argparse.SUPPRESS,
    )
    options.add_run(result)
    kinds.add_options(result, "coopnets", DEFAULTS, SOURCE_DEFAULTS)
    options.add_learning(result)
    positive, at_least_zero = options.positive, options.at_least_zero
    add = result.add_argument_group("generator").add_argument
    options.add_mask(add, "hide parts of the training images, or say which are")
    add("--latent-dim", type=positive(int),
        help="number of latent variables, at each place of their grid if there is one")  # fmt: skip
    add("--width", type=positive(int), help="channels of the generator's finest map")
    options.add_network(add)
    add("--kernel-size", type=positive(int), help="of the generator's transposed convolutions")
    add("--hidden", type=at_least_zero(int), help="units of a hidden layer; 0 for none")
    add("--activation", choices=networks.SMOOTH, help="of the generator")
    add("--batch-norm", action=argparse.BooleanOptionalAction,
        help="in the generator; by default if no --mask is given, with which it cannot be")  # fmt: skip
    add("--sigma", type=positive(float), help="standard deviation of the noise on its signals")
    add("--latent-steps", type=at_least_zero(int),
        help="Langevin steps of latents towards the revision; 0 in the released codes")  # fmt: skip
    add("--chain-steps", type=positive(int),
        help="with --mask: steps of each image's latents per iteration; 10 by default")  # fmt: skip
    add("--latent-step-size", type=positive(float), help="delta of these, and of inference")
    add("--latent-temperature", type=at_least_zero(float),
        help="of their noise in training; 1 samples, 0 is gradient descent")  # fmt: skip
    add("--inference-steps", type=at_least_zero(int), help="noisy steps for new images")
    add("--inference-cool", type=at_least_zero(int), help="noise-free steps after them")
    add("--generator-rate", type=positive(float), help="learning rate of its Adam")
    add("--generator-beta-1", type=at_least_zero(float), help="of its Adam")
    add = result.add_argument_group("descriptor").add_argument
    add("--descriptor-width", type=positive(int), help="channels of the descriptor's finest map")
    add("--descriptor-kernel-size", type=options.kernel, metavar="N|TxHxW",
        help="of its convolutions")  # fmt: skip
    options.add_bottom_up(add, "descriptor-")
    add("--descriptor-activation", choices=[*networks.SMOOTH, "relu", "leaky_relu"],
        help="of its convolutions")  # fmt: skip
    add("--outputs", type=positive(int), help="units whose sum is the score; 100 as published")
    add("--initial-deviation", type=positive(float),
        help="standard deviation of its initial weights; 0.01 as published")  # fmt: skip
    add("--reference-sigma", type=positive(float), help="standard deviation of the reference")
    add("--steps", type=positive(int), help="of the revision")
    add("--step-size", type=positive(float), help="delta of the revision")
    add("--temperature", type=at_least_zero(float), help="of its noise")
    add("--score-scale", type=positive(float),
        help="what the network's output is multiplied by; 2/delta^2 by default, which makes a step "
        "of the revision move by the output's gradient")  # fmt: skip
    add("--data-noise", type=at_least_zero(float), help="standard deviation of noise added to images")
    add("--energy-penalty", type=at_least_zero(float), help="weight of the mean of f squared")
    add("--penalized", choices=["f", "U"], help="what is squared there, score or energy")
    add("--descriptor-rate", type=positive(float), help="learning rate of its Adam")
    add("--descriptor-beta-1", type=at_least_zero(float), help="of its Adam")
    add = result.add_argument_group("watching").add_argument
    options.add_roll_back(add)
    add("--negative", metavar="SOURCE", help="images of another kind, for the error curves")
    add("--curve-every", type=positive(int), help="epochs between points of the error curves")
    add("--picture-every", type=positive(int), help="epochs between pictures in TensorBoard")
    return result


def settle(given: dict) -> dict:
    """Return all settings of a run that was given some options."""
    settings = kinds.settle("coopnets", given, DEFAULTS, SOURCE_DEFAULTS)
    options.check_roll_back(settings)
    if settings["score_scale"] is None:
        settings["score_scale"] = 2 / settings["step_size"] ** 2
    incomplete = settings["mask"] is not None
    if settings["batch_norm"] is None:
        # It would tie the chain of an incomplete example to its batch.
        settings["batch_norm"] = not incomplete and settings["kind"] == "image"
    if incomplete:
        settings["chain_steps"] = settings["chain_steps"] or 10
    elif settings["chain_steps"]:
        raise ValueError("--chain-steps is about the chains of incomplete images: give --mask.")
    return settings


def build(settings: dict, shape: tuple[int, ...], examples: int) -> CoopNets:
    """Make and compile the models that the settings describe."""
    keras.utils.set_random_seed(settings["seed"])
    top_down = kinds.generator(shape, settings)
    bottom_up = kinds.descriptor(shape, settings, settings["score_scale"])
    latent, steps = settings["latent_step_size"], settings["chain_steps"] or settings["latent_steps"]
    generator = Generator(
        top_down,
        sigma=settings["sigma"],
        langevin=Langevin(steps, latent, settings["latent_temperature"]),
        inference=Langevin(settings["inference_steps"], latent, cool=settings["inference_cool"]),
        chains="persistent" if settings["mask"] else "fresh",
        seed=settings["seed"],
    )
    descriptor = Descriptor(
        bottom_up,
        reference_sigma=settings["reference_sigma"],
        langevin=Langevin(settings["steps"], settings["step_size"], settings["temperature"]),
        chains="short-run",
        data_noise=settings["data_noise"],
        energy_penalty=settings["energy_penalty"],
        penalized=settings["penalized"],
        seed=settings["seed"],
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


def watchers(model: CoopNets, settings: dict, images: data.Images, logs: Path) -> list:
    """Return the callbacks that show how learning goes."""
    return [
        *options.roll_back(settings),
        report.curves(model, settings, images),
        callbacks.TensorBoardPictures(
            logs, images.train, settings["picture_every"], images.rate, images.train_mask
        ),
    ]


def figures(model: CoopNets, settings: dict, images: data.Images, run: runs.Run) -> dict:
    """Write pictures of what was learned and return its errors and scores."""
    report.write_pictures(model, images, run.pictures, settings["mask"])
    return {**report.all_errors(model, images), **report.scores(model, report.sets(images))}


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit code."""
    recipe = learning.Recipe("coopnets", parser(), settle, build, watchers, figures)
    return learning.learn(recipe, argv)


if __name__ == "__main__":
    programs.run(main)
