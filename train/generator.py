"""Learn a generator by alternating back-propagation: python -m train.generator --help."""

from __future__ import annotations

import argparse
import time

import keras

from abp_tf import Generator, Langevin, callbacks, files, masks, networks, programs, runs

from . import options, report

DEFAULTS = {
    **options.DATA_DEFAULTS,
    "negative": None,
    "mask": None,
    "latent_dim": 20,
    "width": 32,
    "hidden": None,
    "kernel_size": 4,
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
    "schedule": "cosine",
    "seed": 0,
    "curve_every": 5,
    "picture_every": 5,
}
# Steps and step size, with preconditioning and without.
LANGEVIN_DEFAULTS = {True: {"steps": 6, "step_size": 0.5}, False: {"steps": 10, "step_size": 0.1}}
# What suits a source better than the defaults above.
SOURCE_DEFAULTS = {
    "digits": {"latent_dim": 16, "width": 16},
    "faces": {"latent_dim": 10, "width": 16, "epochs": 200, "curve_every": 50, "picture_every": 50},
}
# What a resumed run may be given anew.
CHANGEABLE = {"epochs"}


def parser() -> argparse.ArgumentParser:
    """Return the parser; options that were not given are absent from what it returns."""
    result = argparse.ArgumentParser(
        prog="train.generator",
        description="Learn a generator by alternating back-propagation, into a run directory.",
        argument_default=argparse.SUPPRESS,
    )
    add = result.add_argument
    add("--run", required=True, help="directory to write; it must not exist, but for --resume")
    add("--resume", action="store_true", help="continue an interrupted run with its own settings")
    options.add_data(result)

    positive, at_least_zero = options.positive, options.at_least_zero
    group = result.add_argument_group("model")
    add = group.add_argument
    add(
        "--mask",
        type=options.mask,
        help="hide parts of the training images: pepper:0.5 hides half "
        "of the pixels, squares:0.5:3 squares of 3x3, block:9 one square of 9x9",
    )
    add("--latent-dim", type=positive(int), help="number of latent variables")
    add("--width", type=positive(int), help="channels of the finest map")
    add("--hidden", type=at_least_zero(int), help="units of the hidden layer; 8 * width by default")
    add("--kernel-size", type=positive(int), help="of the transposed convolutions")
    add("--activation", choices=networks.SMOOTH, help="of all layers but the last")
    add("--precision", choices=["float32", "mixed_bfloat16"], help="that the network computes in")
    add("--sigma", type=positive(float), help="standard deviation of the noise on signals in [-1, 1]")

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

    group = result.add_argument_group("learning")
    add = group.add_argument
    add("--epochs", type=positive(int), help="passes over the images")
    add(
        "--steps-per-epoch",
        type=positive(int),
        help="iterations in an epoch, where one pass over a small set is too short",
    )
    add("--batch-size", type=positive(int), help="images per iteration")
    add("--learning-rate", type=positive(float), help="of Adam")
    add("--beta-1", type=at_least_zero(float), help="of Adam")
    add("--schedule", choices=["constant", "cosine"], help="of the learning rate, down to 5 %%")
    add("--seed", type=int, help="of weights, noise and order")

    group = result.add_argument_group("watching")
    add = group.add_argument
    add("--negative", metavar="SOURCE", help="images of another kind, for the error curves")
    add("--curve-every", type=positive(int), help="epochs between points of the error curves")
    add("--picture-every", type=positive(int), help="epochs between pictures in TensorBoard")
    return result


def build(settings: dict, shape: tuple[int, ...], examples: int) -> Generator:
    """Make and compile the model that the settings describe."""
    keras.utils.set_random_seed(settings["seed"])
    network = networks.image_generator(
        shape,
        settings["latent_dim"],
        settings["width"],
        hidden=settings["hidden"],
        kernel_size=settings["kernel_size"],
        activation=settings["activation"],
        dtype=settings["precision"],
    )
    step_size = settings["step_size"]
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
    )
    rate = settings["learning_rate"]
    if settings["schedule"] == "cosine":
        steps = settings["steps_per_epoch"] or -(-examples // settings["batch_size"])
        iterations = settings["epochs"] * steps
        rate = keras.optimizers.schedules.CosineDecay(rate, iterations, alpha=0.05)
    model.compile(optimizer=keras.optimizers.Adam(rate, beta_1=settings["beta_1"]))
    return model


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit code."""
    given = vars(parser().parse_args(argv))
    path, resume = given.pop("run"), given.pop("resume", False)
    if resume:
        run = runs.Run.open(path)
        settings = _resumed(run.config["settings"], given)
        images = run.load_images()
    else:
        source = given.get("data", DEFAULTS["data"])
        settings = {**DEFAULTS, **SOURCE_DEFAULTS.get(source, {}), **given}
        for name, value in LANGEVIN_DEFAULTS[settings["preconditioning"]].items():
            settings[name] = value if settings[name] is None else settings[name]
        images = runs.load_images(settings)
    shape = images.train.shape[1:]
    model = build(settings, shape, len(images.train))
    watched = {"train": images.train, "test": images.test}
    if settings["negative"]:
        watched["negative"] = report.negatives(settings["negative"], shape, settings["data_dir"])
    training: object = images.train
    if settings["mask"]:
        mask = masks.parse(settings["mask"])(len(images.train), shape[:2], settings["seed"])
        training = {"signal": images.train, "mask": mask}
    # Nothing is written before all of the above has succeeded.
    if not resume:
        run = runs.Run.create(path, "generator", settings, images)
    print(f"{len(images.train)} training and {len(images.test)} test images of {shape}")

    began = time.perf_counter()
    try:
        model.fit(
            training,
            batch_size=settings["batch_size"],
            epochs=settings["epochs"],
            steps_per_epoch=settings["steps_per_epoch"],
            callbacks=[
                callbacks.ErrorCurves(watched, every=settings["curve_every"]),
                callbacks.HistoryFile(run.path / "history.json"),
                keras.callbacks.TensorBoard(run.logs, write_graph=False),
                callbacks.TensorBoardPictures(run.logs, images.train, settings["picture_every"]),
                callbacks.Backup(run.model_path),
            ],
        )
    except KeyboardInterrupt:
        print(f"\nInterrupted. Continue with --run {path} --resume; evaluate it as it is.")
        return 130
    seconds = time.perf_counter() - began
    report.write_pictures(model, images, run.pictures, settings["mask"] or "pepper:0.5")
    metrics = {
        "seconds": round(seconds, 1),
        "train": report.errors(model, images.train),
        "test": report.errors(model, images.test) if len(images.test) else None,
        "learned_latent_norm": report.latent_norm(model),
    }
    files.write_json(run.path / "metrics.json", metrics)
    print(f"Run {run.path}: model.keras, metrics.json, pictures/, logs/ (tensorboard --logdir {path})")
    return 0


def _resumed(settings: dict, given: dict) -> dict:
    """Return the run's own settings, with what may change taken from the command line."""
    for name, value in given.items():
        if name not in CHANGEABLE and settings.get(name) != value:
            raise ValueError(
                f"--resume goes on with the run's own settings: its {name} is {settings.get(name)!r}, "
                f"not {value!r}. Leave the option out, or begin another run."
            )
    return {**settings, **given}


if __name__ == "__main__":
    programs.run(main)
