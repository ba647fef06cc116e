"""The main job from end to end, on real digits: learn, look, evaluate, export, call the export."""

from __future__ import annotations

import importlib
import itertools
import sys
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from abp_tf import masks, pictures, programs, runs

from . import evaluate, generator


def main(argv: list[str] | None = None) -> int:
    """Run the demo; arguments go to train.generator."""
    began = time.perf_counter()
    path = _fresh("runs/demo")
    given = sys.argv[1:] if argv is None else argv
    say = f"1. Learning a generator of digits into {path}, by alternating back-propagation"
    print(say, flush=True)
    code = generator.main(["--run", str(path), "--data", "digits", "--negative", "faces", *given])
    if code:
        return code
    print("\n2. Evaluating it", flush=True)
    evaluate.main(["--run", str(path), "--negative", "faces"])

    print("\n3. Exporting it", flush=True)
    # The same program has two names: in the checkout, and in an installed package.
    exporter = importlib.import_module(
        "abp_tf.export.saved_model" if __package__.startswith("abp_tf") else "export.saved_model"
    )
    exporter.main(["--run", str(path), "--to", f"models/{path.name}"])
    exported = max(Path(f"models/{path.name}").glob("[0-9]*"), key=lambda version: int(version.name))

    print("\n4. Calling every signature of the export", flush=True)
    run = runs.Run.open(path)
    written = _call_all(exported, run)
    print(f"\nDone in {time.perf_counter() - began:.0f} s. Look at")
    for picture in sorted(run.pictures.glob("*.png")):
        print(f"  {picture}{'   (made by the export)' if picture in written else ''}")
    print(f"Export: {exported}   errors: {path / 'evaluation.json'}")
    print(f"TensorBoard: {Path(sys.executable).parent / 'tensorboard'} --logdir {run.logs}")
    return 0


def _fresh(stem: str) -> Path:
    """Return the first of stem-1, stem-2, … that does not exist."""
    return next(
        path for number in itertools.count(1) if not (path := Path(f"{stem}-{number}")).exists()
    )


def _call_all(exported: Path, run: runs.Run) -> list[Path]:
    """Ask the SavedModel, as loaded from disk; write what it answers as pictures."""
    signatures = tf.saved_model.load(str(exported)).signatures
    images = run.load_images()
    truth = images.test[:10]
    seed = np.arange(len(truth), dtype=np.int64)
    seen = masks.pepper(len(truth), truth.shape[1:3], 0.5)[..., None]
    mask = np.broadcast_to(seen, truth.shape).astype(np.float32)
    damaged = truth * mask

    def ask(name, **inputs):
        tensors = {key: tf.constant(value) for key, value in inputs.items()}
        answer = {key: value.numpy() for key, value in signatures[name](**tensors).items()}
        shapes = ", ".join(f"{key} {value.shape}" for key, value in sorted(answer.items()))
        print(f"  {name:12} -> {shapes}")
        return answer

    drawn = ask("synthesize", seed=seed)
    found = ask("reconstruct", signal=truth, seed=seed)
    whole = ask("inpaint", signal=damaged, mask=mask, seed=seed)
    decoded = ask("decode", latent=found["latent"])
    path = run.pictures / "export.png"
    picture = pictures.rows(
        [drawn["signal"], truth, decoded["signal"], damaged, whole["signal"]],
        ["synthesize", "images", "reconstruct", "observed", "inpaint"],
    )
    pictures.save_png(path, picture)
    return [path]


if __name__ == "__main__":
    programs.run(main)
