"""Small seeded runs whose numbers must not change: python -m benchmarks.hold --help.

Each run learns tiny models of every class and kind of signal and asks them what they answer. `--write`
keeps a checksum and some numbers of each array; `--check` makes the runs again and compares. Calls
whose names may change stand in the functions before `RUNS`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import abp_tf
from abp_tf import CoopNets, Descriptor, Generator, Langevin, baselines, networks

TOLERANCE = 1e-6  # of a difference, as a share of max(1, |value|)
SHAPE, COUNT, FEW = (16, 16, 1), 24, 5
SIGNATURES = ("serving_default", "synthesize", "reconstruct", "inpaint", "decode", "refine", "score")
Items = Iterator[tuple[str, object]]


# What may be called otherwise one day.


def draws(model, signals, mask=None, **options) -> Items:
    """Draw whole signals from the posterior, given what is observed."""
    found = model.sample_posterior(signals, mask, **options)
    yield from {"samples": found.samples, "mean": found.mean, "deviation": found.deviation}.items()


def chain(energy, state, dynamics, seeds) -> Items:
    """Run Langevin dynamics on an energy."""
    state, info = dynamics.sample(energy, state, seeds)
    named = {k: v for k, v in info._asdict().items() if k != "acceptance"}
    yield from {"state": state, **named}.items()


def latent_energy(model, latent, signal, mask):
    """Return the energy of latents, `[n]`."""
    return model.energy(latent, signal, mask).total


def learned(model) -> Items:
    """Tell what `fit` has changed: weights, chains, and the coordinates of the chains."""
    parts = {"": model}
    if isinstance(model, CoopNets):
        parts = {"generator-": model.generator, "descriptor-": model.descriptor}
    for prefix, part in parts.items():
        for name in ("network", "encoder", "discriminator", "prior", "preconditioner"):
            if hasattr(part, name):
                values = [np.ravel(value) for value in getattr(part, name).get_weights()]
                yield f"{prefix}{name}", np.concatenate(values)
        if part.tables:
            yield f"{prefix}chains", part.tables[0].states
    yield "iteration", int(model.iteration.value)


# Made data, models, and what they are asked.


def waves(shape, seed=0) -> np.ndarray:
    """Make smooth waves with some noise, float32 `[24, *shape]` in [-1, 1]."""
    rng = np.random.default_rng(seed)
    places = np.meshgrid(*(np.linspace(0, 1, side) for side in shape), indexing="ij")[: len(shape) - 1]
    phase = sum(rng.uniform(0, 4, (COUNT, *[1] * len(shape))) * place for place in places)
    signals = 0.7 * np.sin(2 * np.pi * phase) + 0.05 * rng.normal(size=phase.shape)
    return np.clip(np.broadcast_to(signals, (COUNT, *shape)), -1, 1).astype(np.float32)


def hide(shape, seed=1) -> np.ndarray:
    """Make masks `[24, *shape without channels]`, of which 60 % are observed."""
    return np.random.default_rng(seed).uniform(size=(COUNT, *shape[:-1])) < 0.6


IMAGES, MASKS = waves(SHAPE), hide(SHAPE)
DAMAGED = np.where(MASKS[..., None], IMAGES, np.float32(np.nan))
INCOMPLETE = {"signal": DAMAGED, "mask": MASKS}


def top_down(**options):
    """Make the network of a generator of images."""
    keras.utils.set_random_seed(1)
    return networks.image_generator(SHAPE, latent_dim=4, width=4, kernel_size=3, **options)


def bottom_up():
    """Make the network of a descriptor of images."""
    keras.utils.set_random_seed(2)
    return networks.image_descriptor(SHAPE, width=4, kernel_size=3)


def generator(network=None, step_size=0.1, compiled=True, **options):
    """Make a generator."""
    options = {"inference": Langevin(8, step_size, cool=4), "seed": 3, **options}
    model = Generator(network or top_down(), langevin=Langevin(5, step_size), **options)
    if compiled:
        model.compile(keras.optimizers.Adam(1e-2))
    return model


def descriptor(network=None, compiled=True, **options):
    """Make a descriptor."""
    options = {"langevin": Langevin(5, 2**0.5, temperature=0.01**2 / 2), "pool": 30, **options}
    model = Descriptor(network or bottom_up(), restart=0.2, seed=4, **options)
    model.inference = Langevin(8, model.langevin.step_size, model.langevin.temperature)
    if compiled:
        model.compile(keras.optimizers.Adam(1e-3))
    return model


def coopnets(batch_norm=False, chains="persistent", **options):
    """Make CoopNets, compiled."""
    options_of_generator = {"step_size": 0.03, "chains": chains, "compiled": False}
    of_generator = generator(top_down(batch_norm=batch_norm), **options_of_generator)
    of_descriptor = descriptor(chains="short-run", compiled=False)
    model = CoopNets(of_generator, of_descriptor, seed=5, **options)
    model.compile(keras.optimizers.Adam(1e-3), keras.optimizers.Adam(2e-3, beta_1=0.5))
    return model


def fit(model, data, epochs=2, **options) -> Items:
    """Learn; tell what came of it."""
    if not isinstance(data, tf.data.Dataset):
        options["batch_size"] = 10
    history = model.fit(data, epochs=epochs, verbose=0, **options).history
    yield from {f"log-{name}": values for name, values in history.items()}.items()
    yield from learned(model)


def evaluate(model, data) -> Items:
    """Evaluate; tell each mean."""
    found = model.evaluate(data, batch_size=10, verbose=0, return_dict=True)
    yield from {f"evaluate-{name}": value for name, value in found.items()}.items()


def named(prefix, items: Items) -> Items:
    """Put a prefix before names."""
    return ((f"{prefix}-{name}", value) for name, value in items)


def exported(model) -> Items:
    """Export, load, and call every signature."""
    with tempfile.TemporaryDirectory() as folder:
        model.export(Path(folder) / "model" / "1")
        loaded = tf.saved_model.load(str(Path(folder) / "model" / "1"))
        latent = np.random.default_rng(2).normal(size=(FEW, *getattr(model, "latent_shape", (1,))))
        given = {
            "signal": IMAGES[:FEW],
            "mask": MASKS[:FEW, ..., None].astype(np.float32),
            "seed": np.arange(FEW, dtype=np.int64) + 50,
            "latent": latent.astype(np.float32),
        }
        for name in (name for name in SIGNATURES if name in loaded.signatures):
            function = loaded.signatures[name]
            inputs = function.structured_input_signature[1]
            answer = function(**{key: tf.constant(given[key]) for key in inputs})
            yield from named(f"export-{name}", answer.items())


def latent_answers(model, signals, mask=None, restarts=True) -> Items:
    """Ask a model with latents."""
    signals, mask = signals[:FEW], None if mask is None else mask[:FEW]
    yield "synthesize", model.synthesize(FEW, seed=7)
    yield "infer", model.infer(signals, mask, seed=8, batch_size=3)
    yield "reconstruct", model.reconstruct(signals, mask, seed=9)
    if restarts:
        yield "infer-restarts", model.infer(signals, mask, seed=8, restarts=3)
        yield "reconstruct-restarts", model.reconstruct(signals, mask, seed=9, restarts=3)
    weights = np.eye(2, FEW, dtype=np.float32) * 0.6 + 0.1
    yield "interpolate", model.interpolate(signals, weights, mask=mask, seed=10)


def run_generator_plain() -> Items:
    """Learn from whole images; ask everything; export."""
    model = generator()
    yield from fit(model, IMAGES, validation_data=IMAGES[:6])
    yield "latents", model.latents
    yield from evaluate(model, IMAGES)
    yield from latent_answers(model, IMAGES)
    yield "predict", model.predict(IMAGES, batch_size=10, verbose=0)
    yield "inpaint", model.inpaint(DAMAGED[:FEW], MASKS[:FEW], seed=11)
    yield from named("draws", draws(model, IMAGES[:FEW], samples=6, chains=3, seed=12))
    latent = np.random.default_rng(5).normal(size=(FEW, 4)).astype(np.float32)
    yield "decode", model(latent)
    mask = MASKS[:FEW, ..., None].astype(np.float32)
    yield "energy", latent_energy(model, latent, IMAGES[:FEW], mask)
    yield from exported(model)


def run_generator_masks() -> Items:
    """Learn from incomplete images."""
    model = generator()
    yield from fit(model, INCOMPLETE)
    yield from evaluate(model, INCOMPLETE)
    yield from latent_answers(model, DAMAGED, MASKS)
    yield "inpaint", model.inpaint(DAMAGED[:FEW], MASKS[:FEW], seed=11)
    yield "inpaint-restarts", model.inpaint(DAMAGED[:FEW], MASKS[:FEW], seed=11, restarts=3)
    yield from named("draws", draws(model, DAMAGED[:FEW], MASKS[:FEW], samples=6, chains=3, seed=12))


def run_generator_fresh() -> Items:
    """Learn with chains that begin anew each time."""
    model = generator(chains="fresh")
    yield from fit(model, INCOMPLETE)
    yield "synthesize", model.synthesize(FEW)


def run_generator_expanded() -> Items:
    """Learn with parameter expansion and a preconditioner, masks and noise-free steps."""
    model = generator(expansion=1.0, preconditioning=True, step_size=0.5)
    yield from fit(model, INCOMPLETE, epochs=3)
    yield from latent_answers(model, DAMAGED, MASKS, restarts=False)


def run_generator_observations() -> Items:
    """Learn from means over cells, and from projections."""
    for name, seen in (("coarser", abp_tf.Coarser(2)), ("projection", abp_tf.Projection(40))):
        model = generator(observation=seen, preconditioning=name == "coarser")
        signals = model.observe(IMAGES)
        yield f"{name}-observe", signals
        yield from named(name, fit(model, signals))
        yield from named(name, latent_answers(model, signals, restarts=False))
        yield from named(f"{name}-draws", draws(model, signals[:FEW], samples=6, chains=3, seed=12))


def run_generator_dataset() -> Items:
    """Learn from a dataset of dicts."""
    parts = {"signal": IMAGES, "mask": MASKS, "index": np.arange(COUNT)}
    keras.utils.set_random_seed(6)
    dataset = tf.data.Dataset.from_tensor_slices(parts).shuffle(COUNT, seed=1).batch(10)
    yield from fit(generator(examples=COUNT), dataset)


def run_generator_linear() -> Items:
    """Learn factor analysis, of signals of any range."""
    keras.utils.set_random_seed(1)
    model = generator(networks.linear((12,), 3), sigma=0.5, value_range=None, expansion=0.5)
    data = np.random.default_rng(7).normal(size=(COUNT, 12)).astype(np.float32)
    yield from fit(model, 2 * data)
    yield "synthesize", model.synthesize(FEW)
    yield "infer", model.infer(2 * data[:FEW])


def run_descriptor_persistent() -> Items:
    """Learn with persistent chains and no reference; ask everything; export."""
    model = descriptor()
    yield from fit(model, IMAGES, validation_data=IMAGES[:6])
    yield from evaluate(model, IMAGES)
    yield "predict", model.predict(IMAGES, batch_size=10, verbose=0)
    yield from named("score", model.score(IMAGES)._asdict().items())
    yield "synthesize", model.synthesize(FEW, seed=7)
    yield "synthesize-pool", model.synthesize(FEW, seed=7, from_noise=False)
    yield "synthesize-steps", model.synthesize(FEW, seed=7, steps=3, batch_size=2)
    yield "refine", model.refine(IMAGES[:FEW], seed=8)
    yield "inpaint", model.inpaint(DAMAGED[:FEW], MASKS[:FEW], seed=9)
    yield from exported(model)


def run_descriptor_reference() -> Items:
    """Learn with a reference and a penalty of the energy, from Gaussian noise."""
    options = {"reference_sigma": 0.5, "langevin": Langevin(5, 0.05), "start_sigma": 0.4}
    model = descriptor(energy_penalty=1e-4, penalized="U", **options)
    yield from fit(model, IMAGES)
    yield "synthesize", model.synthesize(FEW, seed=7)
    yield from named("score", model.score(IMAGES[:FEW])._asdict().items())
    found = model.autoencode(IMAGES[:FEW], steps=20, step_size=0.2)
    yield from named("autoencode", found._asdict().items())


def run_descriptor_short() -> Items:
    """Learn with chains from noise, and a penalty of f."""
    model = descriptor(chains="short-run", energy_penalty=0.01)
    yield from fit(model, IMAGES)
    yield "synthesize", model.synthesize(FEW, seed=7)


def run_descriptor_data() -> Items:
    """Learn by contrastive divergence, with a reference."""
    model = descriptor(chains="data", reference_sigma=0.7, langevin=Langevin(5, 0.05))
    yield from fit(model, IMAGES)
    yield "inpaint", model.inpaint(DAMAGED[:FEW], MASKS[:FEW], seed=9)


def run_coopnets_complete() -> Items:
    """Learn together from whole images, with BatchNorm; ask everything; export."""
    model = coopnets(batch_norm=True)
    yield from fit(model, IMAGES)
    yield from evaluate(model, IMAGES)
    yield from latent_answers(model, IMAGES, restarts=False)
    yield "drafts", model.synthesize(FEW, seed=7, revised=False)
    yield "inpaint", model.inpaint(DAMAGED[:FEW], MASKS[:FEW], seed=11)
    yield "refine", model.refine(IMAGES[:FEW], seed=8)
    yield from named("score", model.score(IMAGES[:FEW])._asdict().items())
    yield from exported(model)


def run_coopnets_latents() -> Items:
    """Learn together with steps of the latents."""
    model = coopnets(latent_steps=2)
    yield from fit(model, IMAGES)
    yield "synthesize", model.synthesize(FEW, seed=7)


def run_coopnets_masks() -> Items:
    """Learn together from incomplete images, with persistent chains and with fresh ones."""
    for chains, steps in (("persistent", 0), ("fresh", 2)):
        model = coopnets(chains=chains, latent_steps=steps)
        yield from named(chains, fit(model, INCOMPLETE))
    yield from evaluate(model, INCOMPLETE)
    yield "synthesize", model.synthesize(FEW, seed=7)
    yield "inpaint", model.inpaint(DAMAGED[:FEW], MASKS[:FEW], seed=11)


def run_baselines() -> Items:
    """Learn the models that others are compared with, from incomplete images."""
    descent = abp_tf.sampling.Descent(steps=10, learning_rate=0.1, restarts=2)
    kinds = {"vae": (baselines.VAE, False), "gan": (baselines.GAN, True)}
    for name, (kind, batch_norm) in kinds.items():
        model = kind(top_down(batch_norm=batch_norm), inference=descent, seed=3)
        model.compile(keras.optimizers.Adam(1e-3, beta_1=0.5))
        yield from named(name, fit(model, INCOMPLETE))
        yield f"{name}-inpaint", model.inpaint(DAMAGED[:FEW], MASKS[:FEW], seed=11)
        yield f"{name}-synthesize", model.synthesize(FEW, seed=7)
        if name == "vae":
            yield from named(name, evaluate(model, INCOMPLETE))
            model.method = "gibbs"
            yield "vae-gibbs-inpaint", model.inpaint(DAMAGED[:FEW], MASKS[:FEW], seed=11)
    for name, data in {"pca": IMAGES, "pca-masks": INCOMPLETE}.items():
        model = baselines.PCA(4).fit(data)
        yield f"{name}-mean", model.mean
        yield f"{name}-covariance", (model.loading @ model.loading.T)[:, :8]
        yield f"{name}-inpaint", model.inpaint(DAMAGED[:FEW], MASKS[:FEW])
        yield f"{name}-reconstruct", model.reconstruct(IMAGES[:FEW])


def run_kinds() -> Items:
    """Learn textures, sounds and clips."""
    kinds = {
        "texture": (
            lambda: networks.texture_generator((16, 16, 3), 1, 4, levels=2),
            lambda: networks.texture_descriptor((16, 16, 3), 4, padding="same"),
        ),
        "sound": (
            lambda: networks.sound_generator(64, 2, 4, factors=(4, 4), kernel_size=9),
            lambda: networks.sound_descriptor(64, 4, kernel_size=5, stride=2, levels=2),
        ),
        "video": (
            lambda: networks.video_generator((4, 8, 8, 1), 3, 4, levels=1, time_levels=1),
            lambda: networks.video_descriptor((4, 8, 8, 1), 4, levels=2),
        ),
    }
    for kind, (make_generator, make_descriptor) in kinds.items():
        keras.utils.set_random_seed(1)
        model = generator(make_generator(), step_size=0.3, expansion=1.0, preconditioning=True)
        signals, masks = waves(model.signal_shape), hide(model.signal_shape)
        given = {"signal": signals, "mask": masks}
        yield from named(f"{kind}-generator", fit(model, given, epochs=1))
        yield f"{kind}-generator-synthesize", model.synthesize(FEW, seed=7)
        yield f"{kind}-generator-inpaint", model.inpaint(signals[:FEW], masks[:FEW], seed=11)
        keras.utils.set_random_seed(2)
        model = descriptor(make_descriptor(), langevin=Langevin(5, 0.2))
        yield from named(f"{kind}-descriptor", fit(model, signals, epochs=1))
        yield f"{kind}-descriptor-synthesize", model.synthesize(FEW, seed=7)


def run_sampling() -> Items:
    """Sample from quadratic energies, and integrate one."""

    def energy(state):
        return 0.5 * tf.reduce_sum((state - 0.5) ** 2 * [1.0, 4.0, 9.0], axis=-1)

    seeds = tf.stack([tf.range(6, dtype=tf.int64), tf.fill([6], tf.constant(7, tf.int64))], axis=1)
    dynamics = Langevin(40, 0.3, temperature=0.8, cool=10)
    yield from named("langevin", chain(energy, tf.ones([6, 3]), dynamics, seeds))
    yield "stability", Langevin(1, 0.3).stability(energy, tf.zeros([2, 3]))
    options = {"distributions": 60, "step_size": 0.4, "chains": 30, "seed": 3}
    found = abp_tf.metrics.likelihood.log_normalizer(energy, (3,), 2.0, **options)
    yield from named("normalizer", found._asdict().items())


def run_saving() -> Items:
    """Save after an epoch, load, and go on as the model itself does."""
    models = {
        "generator": (generator(expansion=1.0, preconditioning=True, step_size=0.4), INCOMPLETE),
        "descriptor": (descriptor(), IMAGES),
        "coopnets": (coopnets(), INCOMPLETE),
    }
    for name, (model, data) in models.items():
        yield from named(name, fit(model, data, epochs=1))
        with tempfile.TemporaryDirectory() as folder:
            model.save(Path(folder) / "model.keras")
            loaded = keras.models.load_model(Path(folder) / "model.keras")
        yield from named(f"{name}-loaded", fit(loaded, data, epochs=1))
        yield from named(f"{name}-continued", fit(model, data, epochs=1))


RUNS = {name.removeprefix("run_"): run for name, run in globals().items() if name.startswith("run_")}


# Writing and comparing.


def summary(value) -> dict:
    """Tell an array by its shape, a checksum, and numbers: all of few, or some and means of many."""
    array = np.ascontiguousarray(value)
    flat = array.ravel()
    numbers = flat[np.linspace(0, max(flat.size - 1, 0), min(flat.size, 16)).astype(int)]
    numbers = [float(str(number)) for number in numbers]  # the shortest decimals that tell it
    if flat.size > 16:
        wide = flat.astype(np.float64)
        signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(4, flat.size))
        numbers += [wide.mean(), (wide**2).mean(), *(signs @ wide / math.sqrt(flat.size))]
    return {"shape": array.shape, "crc": zlib.crc32(array.tobytes()), "numbers": numbers}


def difference(found, kept) -> float:
    """Return the largest difference as a share of max(1, |value|), infinite if shapes differ."""
    found, kept = np.asarray(found, np.float64), np.asarray(kept, np.float64)
    if found.shape != kept.shape:
        return math.inf
    return float(np.max(np.abs(found - kept) / np.maximum(1, np.abs(kept)), initial=0.0))


def compare(found: dict, kept: dict, array=None, exact=None) -> tuple[str, bool]:
    """Return what there is to say of an item, and whether it may stand."""
    if list(found["shape"]) != list(kept["shape"]):
        return f"shape {tuple(found['shape'])}, expected {tuple(kept['shape'])}", False
    if found["crc"] == kept["crc"]:
        return "equal", True
    far = difference(found["numbers"], kept["numbers"])
    if exact is not None:
        far = difference(array, exact)
    return f"differs by {far:.3g}", far <= TOLERANCE


def main() -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", type=Path, metavar="JSON", help="make the runs, keep their numbers")
    action.add_argument("--check", type=Path, metavar="JSON", help="make the runs again, compare")
    parser.add_argument("--only", nargs="+", choices=RUNS, default=list(RUNS), help="these runs")
    arrays = (
        "an .npz of whole arrays beside --write; with --check, differences are those of all entries"
    )
    parser.add_argument("--arrays", type=Path, metavar="NPZ", help=arrays)
    arguments = parser.parse_args()
    # Sums are then taken in one order, however many cores there are.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.get_logger().setLevel("ERROR")  # functions are traced once more for each model, as they should
    values = {}
    for run in arguments.only:
        for name, value in RUNS[run]():
            values[f"{run}/{name}"] = np.asarray(value)
        print(f"made {run}", file=sys.stderr, flush=True)
    found = {name: summary(value) for name, value in values.items()}
    if arguments.write:
        lines = (f" {json.dumps(name)}: {json.dumps(item)}" for name, item in found.items())
        arguments.write.write_text("{\n" + ",\n".join(lines) + "\n}\n")
        if arguments.arrays:
            np.savez_compressed(arguments.arrays, **values)
        return 0
    kept = json.loads(arguments.check.read_text())
    kept = {name: item for name, item in kept.items() if name.split("/")[0] in arguments.only}
    exact = np.load(arguments.arrays) if arguments.arrays else {}
    bad = [name for name in kept if name not in found]
    for name in bad:
        print(f"{name}: missing")
    equal = 0
    for name, item in found.items():
        if name not in kept:
            print(f"{name}: new")
            continue
        text, good = compare(item, kept[name], values[name], exact.get(name))
        print(f"{name}: {text}{'' if good else '  <-- too far'}")
        equal += text == "equal"
        bad += [] if good else [name]
    print(f"{len(kept)} items: {equal} equal, {len(bad)} missing or too far")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
