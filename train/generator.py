"""Learn a generator by alternating back-propagation: python -m train.generator --help."""

from __future__ import annotations

import argparse
from pathlib import Path

import keras

from abp_tf import Generator, Langevin, callbacks, data, networks, programs, runs

from . import kinds, learning, options, report

DEFAULTS = {
    **kinds.DEFAULTS,
    "negative": None,
    "mask": None,
    "observe": None,
    "latent_dim": 20,
    "width": 32,
    "hidden": None,
    "kernel_size": 4,
    "antialias": None,
    "activation": "elu",
    "precision": "float32",
    "sigma": 0.3,
    "chains": "persistent",
    "preconditioning": True,
    "steps": None,
    "step_size": None,
    "temperature": 1.0,
    "expansion": 0.5,
    "inference_steps": 200,
    "inference_cool": 100,
    "inference_step_size": None,
    "epochs": 20,
    "steps_per_epoch": None,
    "batch_size": 50,
    "learning_rate": 1e-3,
    "beta_1": 0.5,
    "weight_decay": 0.0,
    "schedule": "cosine",
    "seed": 0,
    "curve_every": 5,
    "picture_every": 5,
}
# Steps and step size, with preconditioning and without.
LANGEVIN_DEFAULTS = {True: {"steps": 6, "step_size": 0.5}, False: {"steps": 10, "step_size": 0.1}}
# What suits a source better than the defaults above.
SOURCE_DEFAULTS = {
    "digits": {"latent_dim": 16, "width": 16, "curve_every": 7, "picture_every": 10},
    "faces": {"latent_dim": 10, "width": 16, "epochs": 200, "curve_every": 50, "picture_every": 50},
}


def parser() -> argparse.ArgumentParser:
    """Return the parser; options that were not given are absent from what it returns."""
    result = argparse.ArgumentParser(
        prog="train.generator",
        description="Learn a generator by alternating back-propagation, into a run directory.",
        argument_default=argparse.SUPPRESS,
    )
    options.add_run(result)
    kinds.add_options(result, "generator", DEFAULTS, SOURCE_DEFAULTS)
    options.add_learning(result)

    positive, at_least_zero = options.positive, options.at_least_zero
    group = result.add_argument_group("model")
    add = group.add_argument
    options.add_mask(add, "hide parts of the training images, or say which are")
    add("--observe", type=options.observe, metavar="SPEC",
        help="learn from what an operator gives of the images alone: projection:200 so many random "
        "projections, coarser:4 means over cells of 4x4, blur:2.0 a blur of 2 pixels")  # fmt: skip
    add("--latent-dim", type=positive(int),
        help="number of latent variables, at each place of their grid if there is one")  # fmt: skip
    add("--width", type=positive(int), help="channels of the finest map")
    add("--hidden", type=at_least_zero(int), help="units of the hidden layer; 8 * width by default")
    options.add_network(add)
    add("--kernel-size", type=positive(int), help="of the transposed convolutions")
    add("--antialias", type=positive(int),
        help="average the maps of images after each doubling, over so many pixels each way, against "
        "patterns that coarser or blurred data do not show; 1 for none; by default the factor of "
        "--observe coarser, 2 with blur, else 1")  # fmt: skip
    add("--activation", choices=networks.SMOOTH, help="of all layers but the last")
    add("--sigma", type=positive(float), help="standard deviation of the noise on signals in [-1, 1]")
    add("--learning-rate", type=positive(float), help="of Adam")
    add("--beta-1", type=at_least_zero(float), help="of Adam")
    add("--weight-decay", type=at_least_zero(float),
        help="of Adam, times the learning rate; 0 for none. Against what the initial weights leave in "
        "places that the signals do not ask about, such as hiss in sounds")  # fmt: skip

    group = result.add_argument_group("Langevin dynamics")
    add = group.add_argument
    add(
        "--chains", choices=["persistent", "fresh"], help="continue each example's chain, or begin anew"
    )
    add(
        "--preconditioning",
        action=argparse.BooleanOptionalAction,
        help="run the chains in coordinates where posteriors are round; --no-preconditioning "
        "--expansion 0 is the paper's algorithm",
    )
    add(
        "--steps",
        type=at_least_zero(int),
        help="per iteration; by default 6, or 10 without preconditioning",
    )
    add(
        "--step-size",
        type=positive(float),
        help="delta; by default 0.5, or 0.1 without preconditioning",
    )
    add("--temperature", type=at_least_zero(float), help="1 samples, 0 is gradient descent")
    add("--expansion", type=options.share, help="share of the epochs that end with parameter expansion")
    add("--inference-steps", type=at_least_zero(int), help="noisy steps for new images")
    add("--inference-cool", type=at_least_zero(int), help="noise-free steps after them")
    add("--inference-step-size", type=positive(float), help="as --step-size by default")

    group = result.add_argument_group("watching")
    add = group.add_argument
    add("--negative", metavar="SOURCE", help="images of another kind, for the error curves")
    add("--curve-every", type=positive(int), help="epochs between points of the error curves")
    add("--picture-every", type=positive(int), help="epochs between pictures in TensorBoard")
    return result


def build(settings: dict, shape: tuple[int, ...], examples: int) -> Generator:
    """Make and compile the model that the settings describe."""
    keras.utils.set_random_seed(settings["seed"])
    network = kinds.generator(shape, settings)
    step_size, operator = settings["step_size"], settings["observe"]
    model = Generator(
        network,
        sigma=settings["sigma"],
        langevin=Langevin(settings["steps"], step_size, settings["temperature"]),
        inference=Langevin(
            settings["inference_steps"],
            settings["inference_step_size"] or step_size,
            cool=settings["inference_cool"],
        ),
        chains=settings["chains"],
        expansion=settings["expansion"],
        preconditioning=settings["preconditioning"],
        seed=settings["seed"],
        observation=options.operator(operator, settings["seed"]) if operator else None,
    )
    rate = learning.rate(settings, examples)
    # Runs of before the option have none.
    decay = settings.get("weight_decay") or None
    model.compile(keras.optimizers.Adam(rate, beta_1=settings["beta_1"], weight_decay=decay))
    return model


def settle(given: dict) -> dict:
    """Return all settings of a run that was given some options."""
    settings = kinds.settle("generator", given, DEFAULTS, SOURCE_DEFAULTS)
    if settings["mask"] and settings["observe"]:
        raise ValueError("--mask and --observe both say what is seen of images: give one of them.")
    if settings["antialias"] is None and settings["kind"] == "image":
        operator, _, factor = (settings["observe"] or "").partition(":")
        settings["antialias"] = int({"coarser": factor, "blur": 2}.get(operator, 1))
    for name, value in LANGEVIN_DEFAULTS[settings["preconditioning"]].items():
        settings[name] = value if settings[name] is None else settings[name]
    return settings


def watchers(model: Generator, settings: dict, images: data.Images, logs: Path) -> list:
    """Return the callbacks that show how learning goes."""
    return [
        report.curves(model, settings, images),
        callbacks.TensorBoardPictures(
            logs, images.train, settings["picture_every"], images.rate, images.train_mask
        ),
    ]


def figures(model: Generator, settings: dict, images: data.Images, run: runs.Run) -> dict:
    """Write pictures of what was learned and return its errors."""
    report.write_pictures(model, images, run.pictures, settings["mask"])
    return {
        **report.all_errors(model, images),
        "learned_latent_norm": report.latent_norm(model),
    }


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit code."""
    recipe = learning.Recipe("generator", parser(), settle, build, watchers, figures)
    return learning.learn(recipe, argv)


if __name__ == "__main__":
    programs.run(main)
