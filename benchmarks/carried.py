"""Learn the model of digits that the package carries: python -m benchmarks.carried.

The settings are those of `train.generator` for digits, with a smaller generator and encoder, so that
the file has less than 1 MB. Two runs give the same model but for roundings: the order in which threads
add numbers is not fixed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import numpy as np

from abp_tf import Generator, Langevin, Underdamped, data, examples, masks, networks, programs
from abp_tf.files import aside

SHAPE, LATENT_DIM, WIDTH = (16, 16, 1), 16, 12
BATCH_SIZE, LEARNING_RATE = 25, 4e-3
CARRIED_IMAGES = 20


def learn(images: np.ndarray, epochs: int) -> Generator:
    """Return a model of images that has learned for some epochs."""
    keras.utils.set_random_seed(0)
    network = networks.image_generator(SHAPE, LATENT_DIM, WIDTH)
    model = Generator(
        network,
        sigma=0.25,
        encoder=networks.encoder(SHAPE, networks.latent_blocks(network), width=12, hidden=64),
        langevin=Langevin(3, 0.5),
        inference=Underdamped(200, 0.5, cool=100),
        expansion=0.6,
        preconditioning=True,
    )
    steps = epochs * -(-len(images) // BATCH_SIZE)
    rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps, alpha=0.05)
    model.compile(keras.optimizers.Adam(rate, beta_1=0.5))
    model.fit(images, batch_size=BATCH_SIZE, epochs=epochs, verbose=2)
    return model


def bare(model: Generator) -> Generator:
    """Return a model without chains and optimizers, which files of other models hold too."""
    model.reset_chains()
    result = type(model).from_config(model.get_config())
    for own, learned in zip(result.weights, model.weights, strict=True):
        own.assign(learned)
    return result


def errors(model: Generator, images: np.ndarray) -> dict[str, float]:
    """Return mean absolute errors as shares of the range: of reconstructions, and of hidden pixels."""
    found = {"reconstruct": np.abs(model.reconstruct(images) - images).mean() / 2}
    count, shape = len(images), images.shape[1:3]
    hiding = {
        "inpaint, block of 6x6": masks.block(count, shape, size=6, seed=0),
        "inpaint, half of the pixels": masks.pepper(count, shape, 0.5, seed=0),
    }
    for name, mask in hiding.items():
        found[name] = np.abs(model.inpaint(images, mask) - images)[~mask].mean() / 2
    return found


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.carried", description=__doc__)
    parser.add_argument("--epochs", type=int, default=40, help="passes over the digits [40]")
    parser.add_argument(
        "--to",
        default=str(examples.FOLDER),
        metavar="DIR",
        help="directory of digits.keras and digits.npz, which are replaced [that of the package]",
    )
    arguments = parser.parse_args(argv)
    images, folder = data.load("digits"), Path(arguments.to)
    model = bare(learn(images.train, arguments.epochs))
    with aside(folder / "digits.keras") as path:
        model.save(path)
    with aside(folder / "digits.npz") as path:
        np.savez_compressed(path, images=data.to_uint8(images.test[:CARRIED_IMAGES]))
    size = (folder / "digits.keras").stat().st_size
    print(f"\ndigits.keras: {size / 1e6:.2f} MB. Mean absolute errors of test images / range:")
    for name, error in errors(model, images.test).items():
        print(f"| {name} | {error:.4f} |")
    return 0


if __name__ == "__main__":
    programs.run(main)
