"""Where the time of a recovery goes, by TensorFlow's profiler: python -m benchmarks.profile --help.

A generator of 28×28 images with an encoder, which has not learned, because time does not depend on
weights, fills in images with nine in ten pixels hidden. The table lists kernels by their share of it.
"""

from __future__ import annotations

import argparse
import collections
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from abp_tf import Generator, Langevin, masks, networks, programs, qualities

from . import cells

SHAPE, FIRST = (28, 28, 1), 2
# Kernels that compute the network and its gradient, by parts of their names.
NETWORK = ("Conv2D", "MatMul", "BiasAdd", "Elu", "Tanh")


def kernels(directory: Path) -> collections.Counter:
    """Return the milliseconds of each kernel in the records of the profiler below a directory."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    spent: collections.Counter = collections.Counter()
    for path in directory.rglob("*.xplane.pb"):
        space = xplane_pb2.XSpace.FromString(path.read_bytes())
        for plane in space.planes:
            for event in (event for line in plane.lines for event in line.events):
                name = plane.event_metadata[event.metadata_id].name
                # "while/body/Conv2D:Conv2D" is a kernel; "Executor::Run" and functions surround them.
                if ":" in name and "::" not in name and "__inference" not in name:
                    spent[name.rpartition(":")[2]] += event.duration_ps / 1e9
    return spent


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.profile", description=__doc__)
    parser.add_argument("--quality", choices=list(qualities.QUALITIES), default=qualities.DEFAULT)
    parser.add_argument("--images", type=int, default=100, help="number of images [%(default)s]")
    arguments = parser.parse_args(argv)

    keras.utils.set_random_seed(0)
    network = networks.image_generator(SHAPE, latent_dim=60, width=16)
    model = Generator(network, langevin=Langevin(3, 0.5), preconditioning=True, encoder=True)
    random = np.random.default_rng(0)
    images = random.uniform(-1, 1, (arguments.images, *SHAPE)).astype(np.float32)
    mask = masks.pepper(len(images), SHAPE[:2], p=0.9)

    model.inpaint(images[:FIRST], mask[:FIRST], quality=arguments.quality)  # compile
    with tempfile.TemporaryDirectory() as directory:
        with tf.profiler.experimental.Profile(directory):
            model.inpaint(images, mask, quality=arguments.quality)
        spent = kernels(Path(directory))
    total = sum(spent.values())
    rows = [[name, f"{part:.0f}", f"{part / total:.1%}"] for name, part in spent.most_common(12)]
    print(cells.table(["kernel", "ms", "share"], rows))
    of_network = sum(part for name, part in spent.items() if any(one in name for one in NETWORK))
    print(f"\nnetwork and its gradient: {of_network / total:.1%}")
    return 0


if __name__ == "__main__":
    programs.run(main)
