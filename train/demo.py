"""Learn digits, evaluate, export and serve the model, and request its results: python -m train.demo."""

from __future__ import annotations

import importlib
import itertools
import sys
import time
from pathlib import Path

from abp_tf import Client, masks, programs, runs
from abp_tf.display import pictures

from . import evaluate, generator


def main(argv: list[str] | None = None) -> int:
    """Run the demo.

    Args:
        argv: further options for train.generator; None for the command line.

    Returns:
        The exit code.
    """
    began = time.perf_counter()
    given = sys.argv[1:] if argv is None else argv
    if {"-h", "--help"} & set(given):
        print(
            "The demo learns digits, evaluates, exports and serves the model, and requests its "
            "results, in a few minutes.\nIts options are those of the learning, train.generator, such "
            "as --epochs 2. It sets --run, --data and --negative itself.\n"
        )
        return generator.main(["--help"])
    path = _fresh("runs/demo")
    print(f"1. Learning a generator of digits by alternating back-propagation: {path}", flush=True)
    code = generator.main(["--run", str(path), "--data", "digits", "--negative", "faces", *given])
    if code:
        return code
    print("\n2. Evaluating it", flush=True)
    evaluate.main(["--run", str(path), "--negative", "faces"])

    print("\n3. Exporting it", flush=True)
    exported = Path("models") / path.name
    words = ["--run", str(path), "--to", str(exported), "--examples", "8"]
    _exporting("saved_model").main(words)

    print("\n4. Serving it, and requesting every signature over the network", flush=True)
    run = runs.Run.open(path)
    served = ["--model", f"digits={exported}"]
    with _exporting("process").ServerProcess(path / "server.log", *served) as server:
        print(f"  a server listens on {server.address}")
        with Client(server.address, model="digits") as client:
            written = _request_all(client, run)
    print("  the server has stopped")
    print(f"\nDone in {time.perf_counter() - began:.0f} s. Look at")
    for picture in sorted(run.pictures.glob("*.png")):
        print(f"  {picture}{'   (made by the server)' if picture in written else ''}")
    print(f"Export: {exported}   errors: {path / 'evaluation.json'}")
    programs_of_python = Path(sys.executable).parent
    print(f"TensorBoard: {programs_of_python / 'tensorboard'} --logdir {run.logs}")
    print(f"Try the model in a browser: {programs_of_python / 'abp-tf'} page --model-dir {exported}")
    return 0


def _fresh(stem: str) -> Path:
    """Return the first of stem-1, stem-2, … that does not exist."""
    return next(
        path for number in itertools.count(1) if not (path := Path(f"{stem}-{number}")).exists()
    )


def _exporting(program: str):
    """Import a module of `export`, whose full name differs in an installed package."""
    return importlib.import_module(f"{__package__.removesuffix('train')}export.{program}")


def _request_all(client: Client, run: runs.Run) -> list[Path]:
    """Request each signature from a server and write the results as pictures."""
    truth = run.load_images().test[:10]
    mask = masks.pepper(len(truth), truth.shape[1:3], 0.5)[..., None]
    damaged = truth * mask

    def request(name, **inputs):
        outputs = client.ask(name, **inputs)
        shapes = ", ".join(f"{key} {value.shape}" for key, value in sorted(outputs.items()))
        print(f"  {name:12} -> {shapes}")
        return outputs

    drawn = request("synthesize", seed=range(len(truth)))
    found = request("reconstruct", signal=truth)
    whole = request("inpaint", signal=damaged, mask=mask)
    decoded = request("decode", latent=found["latent"])
    path = run.pictures / "served.png"
    picture = pictures.rows(
        [drawn["signal"], truth, decoded["signal"], damaged, whole["signal"]],
        ["synthesize", "images", "reconstruct", "observed", "inpaint"],
    )
    pictures.save_png(path, picture)
    return [path]


if __name__ == "__main__":
    programs.run(main)
