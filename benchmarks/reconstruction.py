"""Compare reconstruction with PCA, and measure synthesis: python -m benchmarks.reconstruction.

The reconstruction error is MAE/range on 1 000 test images of Fashion-MNIST. The distance is the Fréchet
distance of classifier features between 2 000 syntheses and those images. Cells are stored, so that an
interrupted benchmark continues where it stopped.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import keras
import numpy as np
from sklearn.decomposition import PCA

from abp_tf import Generator, Langevin, files, metrics, networks, programs
from abp_tf.callbacks import FallingSigma
from abp_tf.display import pictures
from train import generator

from . import cells, fashion

# Settings tuned on this task; `benchmarks/README.md` lists the trials.
EXPANDED = {
    "latent_dim": 60,
    "width": 32,
    "kernel_size": 4,
    "hidden": 256,
    "sigma": 0.4,
    "preconditioning": True,
    "expansion": 0.6,
    "steps": 6,
    "step_size": 0.5,
    "batch_size": 25,
    "learning_rate": 1e-3,
    "epochs": 10,
    "seed": 0,
}
# The published algorithm with the same network and number of steps.
PLAIN = {**EXPANDED, "preconditioning": False, "expansion": 0.0, "step_size": 0.1}
# The prior of the latents is learned in the epochs after the expansions. What σ leaves out is blurred,
# and where it is small latents that are N(0, I) together are not enough.
LEARNED_PRIOR = {
    **EXPANDED, "learned_prior": True, "latent_dim": 100, "last_sigma": 0.15, "epochs": 12,
}  # fmt: skip


def train(settings: dict, data: fashion.Labelled) -> tuple[Generator, float]:
    """Learn a generator; return it and the seconds of training."""
    keras.utils.set_random_seed(settings["seed"])
    network = networks.image_generator(
        (28, 28, 1),
        settings["latent_dim"],
        settings["width"],
        hidden=settings["hidden"],
        kernel_size=settings["kernel_size"],
    )
    learned = settings.get("learned_prior", False)
    model = Generator(
        network,
        prior=generator.learned_prior(network) if learned else None,
        sigma=settings["sigma"],
        langevin=Langevin(settings["steps"], settings["step_size"]),
        expansion=settings["expansion"],
        preconditioning=settings["preconditioning"],
        seed=settings["seed"],
    )
    iterations = settings["epochs"] * -(-len(data.train) // settings["batch_size"])
    rate = keras.optimizers.schedules.CosineDecay(settings["learning_rate"], iterations, alpha=0.05)
    model.compile(optimizer=keras.optimizers.Adam(rate, beta_1=0.5))
    began = time.perf_counter()
    falling = []
    if "last_sigma" in settings:
        falling = [FallingSigma(settings["sigma"], settings["last_sigma"], share=0.5)]
    model.fit(
        data.train,
        batch_size=settings["batch_size"],
        epochs=settings["epochs"],
        verbose=2,
        callbacks=falling,
    )
    return model, time.perf_counter() - began


def measure(settings: dict, data: fashion.Labelled, extract, folder: Path) -> dict:
    """Learn and measure one generator, and write its pictures."""
    model, seconds = train(settings, data)
    model.save(folder / "model.keras")
    latents = model.infer(data.test, seed=0)
    found = model(latents).numpy()
    drawn = model.synthesize(2000, seed=0)
    few = 12
    pictures.save_png(
        folder / "reconstruction.png",
        pictures.rows([data.test[:few], found[:few]], ["test", "reconstructed"]),
    )
    pictures.save_png(folder / "synthesis.png", pictures.grid(drawn[:96], columns=12))
    return {
        "mae_per_range": metrics.absolute_error(data.test, found),
        "train_mse": metrics.reconstruction_error(data.train, model(model.latents).numpy()),
        "test_mse": metrics.reconstruction_error(data.test, found),
        "latent_norm_train": float(np.mean(model.latents**2)),
        "latent_norm_test": float(np.mean(latents**2)),
        "distance": metrics.frechet_distance(extract(drawn), extract(data.test)),
        "distance_of_chains": metrics.frechet_distance(
            extract(model(model.latents[:2000]).numpy()), extract(data.test)
        ),
        "seconds": seconds,
    }


def pca_error(data: fashion.Labelled, components: int) -> float:
    """Return MAE/range of PCA on the test images, clipped to the range of images."""
    pca = PCA(components, random_state=0).fit(data.train.reshape(len(data.train), -1))
    flat = data.test.reshape(len(data.test), -1)
    found = np.clip(pca.inverse_transform(pca.transform(flat)), -1, 1)
    return metrics.absolute_error(data.test, found.reshape(data.test.shape).astype(np.float32))


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; return its exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.reconstruction", description=__doc__)
    parser.add_argument(
        "--run", default="runs/benchmarks/reconstruction", help="directory of the cells [%(default)s]"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of all models [0]")
    arguments = parser.parse_args(argv)
    directory = Path(arguments.run)
    data = fashion.load()
    extract = fashion.extractor(data, directory)

    variants = [(f"ABP, d = {d}", {**EXPANDED, "latent_dim": d}) for d in (60, 20, 100)]
    variants.append(("plain ABP, d = 60", PLAIN))
    rows, figures = [], {}
    for name, settings in variants:
        settings = {**settings, "seed": arguments.seed}
        figures[name] = found = cells.cell(
            directory,
            name.replace(", d = ", "-").replace(" ", "-"),
            settings,
            lambda folder, settings=settings: measure(settings, data, extract, folder),
        )
        reference = pca_error(data, settings["latent_dim"])
        rows.append(
            [
                name,
                f"{found['mae_per_range']:.4f}",
                f"{reference:.4f}",
                f"{found['mae_per_range'] / reference:.2f}",
                f"{found['train_mse']:.4f}",
                f"{found['test_mse']:.4f}",
                f"{found['latent_norm_train']:.2f} / {found['latent_norm_test']:.2f}",
                f"{found['distance']:.1f}",
                f"{found['distance_of_chains']:.1f}",
                f"{found['seconds']:.0f}",
            ]
        )
    columns = [
        "model",
        "MAE/range test",
        "PCA",
        "ratio",
        "MSE train",
        "MSE test",
        "‖z‖²/d train / test",
        "distance, z ~ N(0, I)",
        "distance, chains",
        "seconds",
    ]
    print(f"\n{cells.table(columns, rows)}\n")
    marks = fashion.yardsticks(data, extract)
    print(
        cells.table(["yardstick", "distance"], [[k, f"{v['distance']:.1f}"] for k, v in marks.items()])
    )
    files.write_json(directory / "table.json", {"figures": figures, "yardsticks": marks})
    print(f"\nPictures: {directory}/*/reconstruction.png and synthesis.png")
    return 0


if __name__ == "__main__":
    programs.run(main)
