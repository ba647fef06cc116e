"""Learn a generator by alternating back-propagation: python -m train.generator --help."""

from __future__ import annotations

from pathlib import Path

import keras

from abp_tf import (
    EnergyPrior,
    Generator,
    Langevin,
    Mdct,
    Scaling,
    Underdamped,
    data,
    networks,
    programs,
    runs,
    signals,
)
from abp_tf.callbacks import FallingSigma
from abp_tf.options import Option, at_least, at_least_zero, positive, share
from abp_tf.signals import SignalKind

from . import learning, options, report

# Option of kinds of signal whose noise may have bands of frequency.
BANDS = {
    "bands": Option(
        at_least(0), "samples of a window, whose bands of frequency each have a sigma; 0: one sigma"
    )
}
# Positions along each side of which a learned prior of a grid of latents sees the neighbours.
WINDOW = 3
# Default steps and step size without preconditioning, for all kinds of signal.
PLAIN = {"steps": 10, "step_size": 0.1}


def table(kind: SignalKind) -> options.Table:
    """Return the options of the program for a kind of signal, by heading and name."""
    return options.complete(
        {
            **options.of_kind(kind, "generator"),
            "model": {
                "mask": options.masking([kind], "mask of the training signals"),
                "observe": Option(
                    options.observe,
                    "learn only from projection:200, coarser:4 (means of 4x4 cells) or blur:2.0",
                    form="SPEC",
                ),
                "sigma": Option(
                    positive(float), "standard deviation of the noise of signals in [-1, 1]", 0.3
                ),
                **(BANDS if kind.banded else {}),
                "last_sigma": Option(
                    positive(float),
                    "sigma at the end, to which it falls",
                ),
                "learn_sigma": Option(
                    bool,
                    "estimate sigma of each channel as well",
                    False,
                ),
                "encoder": Option(bool, "learn where chains of new signals begin", False),
                "learn_prior": Option(bool, "learn the distribution of the latents as well", False),
                "particles": Option(positive(int), "number of chains of each example", 1),
            },
            "Langevin dynamics": {
                "chains": Option(
                    ("persistent", "fresh"),
                    "whether each example's chain continues or starts afresh",
                    "persistent",
                ),
                "preconditioning": Option(
                    bool,
                    "scale Langevin steps to the width of the posterior; the paper's algorithm is "
                    "--no-preconditioning --expansion 0",
                    True,
                ),
                "steps": Option(
                    at_least_zero(int),
                    "Langevin steps; 10 without preconditioning",
                    6,
                ),
                "step_size": Option(
                    positive(float),
                    "Langevin step size; 0.1 without preconditioning",
                    0.5,
                ),
                "temperature": Option(
                    at_least_zero(float),
                    "noise of chains: 1 samples the posterior, 0 is gradient descent",
                    1.0,
                ),
                "expansion": Option(
                    share, "share of the epochs that end with a parameter expansion", 0.5
                ),
                **options.INFERENCE,
                "inference_step_size": Option(
                    positive(float), "Langevin step size of inference; by default --step-size"
                ),
            },
            "learning": options.learning(
                "cosine",
                50,
                learning_rate=options.rate(1e-3),
                beta_1=options.beta_1(0.5),
                weight_decay=Option(
                    at_least_zero(float),
                    "weight decay of Adam, times the learning rate",
                    0.0,
                ),
            ),
            "monitoring": {
                "negative": options.NEGATIVE,
                "curve_every": options.CURVES,
                "picture_every": options.PICTURES,
            },
        },
        kind,
        "generator",
    )


def build(
    settings: dict, shape: tuple[int, ...], examples: int, scaling: Scaling | None = None
) -> Generator:
    """Build and compile the model that the settings describe."""
    keras.utils.set_random_seed(settings["seed"])
    network = options.network("generator", "generator", shape, settings)
    step_size, operator = settings["step_size"], settings["observe"]
    model = Generator(
        network,
        sigma=settings["sigma"],
        learn_sigma=settings["learn_sigma"],
        encoder=settings["encoder"],
        prior=learned_prior(network) if settings["learn_prior"] else None,
        particles=settings["particles"],
        langevin=Langevin(settings["steps"], step_size, settings["temperature"]),
        inference=Underdamped(
            settings["inference_steps"],
            settings["inference_step_size"] or step_size,
            cool=settings["inference_cool"],
        ),
        chains=settings["chains"],
        expansion=settings["expansion"],
        preconditioning=settings["preconditioning"],
        seed=settings["seed"],
        observation=options.operator(operator, settings["seed"]) if operator else None,
        bands=Mdct(settings["bands"]) if settings.get("bands") else None,
        value_range=signals.get(settings["kind"]).value_range,
        scaling=scaling,
        shards=settings["shards"] or 1,
    )
    rate = learning.rate(settings, examples)
    decay = settings["weight_decay"] or None
    model.compile(keras.optimizers.Adam(rate, beta_1=settings["beta_1"], weight_decay=decay))
    return model


def learned_prior(network: keras.Model) -> EnergyPrior:
    """Return a prior for the latents of a network, which `fit` learns.

    If the network fits signals of any size, so does the prior, which sees neighbouring latents. Windows
    tie their latents together, so that its chains are longer.
    """
    shape = network.input_shape[1:]
    if networks.resizable(network):
        return EnergyPrior(
            networks.latent_energy(shape, 64, window=WINDOW), Langevin(60, 0.5), learning_rate=5e-4
        )
    return EnergyPrior(networks.latent_energy(shape), blocks=networks.latent_blocks(network))


def settle(given: dict) -> dict:
    """Return all settings of a run, from the options that were given."""
    settings = _without_excluded(options.settle("generator", table, given), given)
    if settings["mask"] and settings["observe"]:
        raise ValueError(
            f"--mask, --observe: expected one of the two, received {settings['mask']!r} and "
            f"{settings['observe']!r}. Leave one out."
        )
    if settings["last_sigma"] and settings["learn_sigma"]:
        raise ValueError(
            "--last-sigma, --learn-sigma: expected one of the two, received "
            f"{settings['last_sigma']:g} and the other. Leave one out."
        )
    kind = signals.get(settings["kind"])
    if settings["observe"] and kind.incomplete:
        raise ValueError(
            f"--observe: expected signals without masks of their own, received {kind.plural}. Leave it "
            "out."
        )
    if settings.get("antialias", 1) is None:
        operator, _, factor = (settings["observe"] or "").partition(":")
        settings["antialias"] = int({"coarser": factor, "blur": 2}.get(operator, 1))
    return settings if settings["preconditioning"] else {**settings, **PLAIN, **given}


def _without_excluded(settings: dict, given: dict) -> dict:
    """Return settings without defaults that options which were given exclude."""
    changed: dict = {}
    if given.keys() & {"sigma", "learn_sigma"}:
        changed["last_sigma"] = None
    if "bands" in settings and (settings["learn_sigma"] or settings["observe"]):
        changed["bands"] = 0
    if settings["learn_prior"] and settings["expansion"] == 1:
        # A learned prior learns in the epochs after the expansions.
        changed |= {"learn_prior": False} if "expansion" in given else {"expansion": 0.6}
    return {**settings, **changed, **given}


def callbacks(model: Generator, settings: dict, images: data.Images, logs: Path) -> list:
    """Return the callbacks that record how learning proceeds."""
    found = [
        report.curves(model, settings, images),
        report.pictures_of(images, settings, logs),
    ]
    if settings["last_sigma"]:
        found.append(FallingSigma(settings["sigma"], settings["last_sigma"]))
    elif model.bands is not None:
        mask = runs.training_mask(settings, images)
        found.append(FallingSigma.to_levels(model.bands, images.train, mask, first=settings["sigma"]))
    return found


def figures(model: Generator, settings: dict, images: data.Images, run: runs.Run) -> dict:
    """Write pictures of the learned model and return its errors."""
    report.write_pictures(model, images, run.pictures, settings["mask"])
    return {
        **report.all_errors(model, images),
        "learned_latent_norm": report.latent_norm(model),
    }


RECIPE = learning.Recipe(
    "generator",
    "Learn a generator by alternating back-propagation.",
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
