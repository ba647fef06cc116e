"""Learn lions and tigers, and cats, by train.generator: python -m benchmarks.small_sets.

These are the images of the published experiments, in the folder $ABP_TF_DATA.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from abp_tf import programs
from train import generator

from . import cells

SETS = {
    # With 12 288 entries few latents are determined well at any σ. A large σ keeps posteriors broad and
    # interpolated images meaningful.
    "lions and tigers": (
        "seed_lion_tiger_64.npz",
        {"--latent-dim": 10, "--epochs": 15, "--sigma": 1.0},
    ),
    # Inference of 100 latents from the prior needs more steps than the default.
    "cats": (
        "seed_cat_64.npz",
        {
            "--latent-dim": 100,
            "--epochs": 60,
            "--sigma": 0.5,
            "--inference-steps": 600,
            "--inference-cool": 300,
        },
    ),
}
COMMON = {
    "--test-share": 0,
    "--width": 16,
    "--batch-size": 11,
    "--steps-per-epoch": 20,
    "--steps": 10,
    "--expansion": 0.5,
    "--curve-every": 100000,
    "--picture-every": 100000,
}


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; return its exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.small_sets", description=__doc__)
    parser.add_argument(
        "--run", default="runs/benchmarks/small_sets", help="directory of the runs [%(default)s]"
    )
    arguments = parser.parse_args(argv)
    if "ABP_TF_DATA" not in os.environ:
        raise FileNotFoundError(
            "Expected the folder of the published images in $ABP_TF_DATA, which is not set. Set it."
        )
    folder, directory = Path(os.environ["ABP_TF_DATA"]), Path(arguments.run)
    rows = []
    for name, (file, options) in SETS.items():
        run = directory / name.replace(" ", "-")
        if not (run / "metrics.json").exists():
            words = [f"{key}={value}" for key, value in {**COMMON, **options}.items()]
            resume = ["--resume"] if run.exists() else [f"--data=npz:{folder / file}", *words]
            code = generator.main([f"--run={run}", *resume])
            if code:
                return code
        metrics = json.loads((run / "metrics.json").read_text())
        rows.append(
            [
                name,
                options["--latent-dim"],
                f"{metrics['train']['reconstruction_error']:.4f}",
                f"{metrics['learned_latent_norm']:.2f}",
                f"{metrics['seconds']:.0f}",
            ]
        )
    print(cells.table(["images", "d", "MSE train", "‖z‖²/d", "seconds"], rows))
    print(f"Pictures: {directory}/*/pictures/")
    return 0


if __name__ == "__main__":
    programs.run(main)
