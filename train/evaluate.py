"""Train, test and negative reconstruction errors of a run: python -m train.evaluate --help."""

from __future__ import annotations

import argparse
import json
import math

from abp_tf import files, metrics, pictures, programs, runs

from . import options, report


def parser() -> argparse.ArgumentParser:
    """Return the parser of the program's options."""
    result = argparse.ArgumentParser(
        prog="train.evaluate",
        description="Reconstruct training, test and negative images by the same fresh inference; tell "
        "over- and under-fitting from the errors.",
    )
    result.add_argument("--run", required=True, help="directory of the run")
    result.add_argument("--negative", metavar="SOURCE", help="images of another kind")
    result.add_argument(
        "--count", type=options.positive(int), default=500, help="images of each set, at most"
    )
    return result


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit code."""
    arguments = parser().parse_args(argv)
    run = runs.Run.open(arguments.run)
    settings = run.config["settings"]
    images = run.load_images()
    model = run.load_model()
    sets = {"train": images.train, "test": images.test}
    negative = arguments.negative or settings["negative"]
    if negative:
        sets["negative"] = report.negatives(negative, model.signal_shape, settings["data_dir"])

    sets = {name: part for name, part in sets.items() if len(part)}
    found = {name: report.errors(model, part, arguments.count) for name, part in sets.items()}
    entries = images.train[0].size
    print(f"{'':10}{'images':>8}{'MSE':>10}{'sum of squares':>16}{'MAE/range':>11}{'PSNR':>8}")
    for name, row in found.items():
        mean = row["reconstruction_error"]
        print(
            f"{name:10}{row['images']:8d}{mean:10.4f}{mean * entries:16.2f}"
            f"{row['mae_per_range']:11.4f}{row['psnr']:8.2f}"
        )
    result: dict = {"errors": found, "negative": negative}
    if len(found) == 3:
        verdict = metrics.verdict(*(row["reconstruction_error"] for row in found.values()))
        gap = None if math.isnan(verdict.gap) else verdict.gap  # JSON has no NaN
        result["verdict"] = {"gap": gap, "text": verdict.text}
        print(f"verdict: {verdict.text}{'' if gap is None else f' (gap {gap:.2f})'}")
    else:
        print("no verdict: it needs training, test and negative images (--negative faces)")
    files.write_json(run.path / "evaluation.json", result)
    _write_curves(run, found)
    print(f"written: {run.path / 'evaluation.json'}, {run.pictures / 'errors.png'}")
    return 0


def _write_curves(run: runs.Run, found: dict) -> None:
    """Draw the errors of the run's epochs, and those just measured at its end."""
    history = run.path / "history.json"
    epochs = json.loads(history.read_text()) if history.exists() else []
    last = epochs[-1]["epoch"] if epochs else 0
    series = {}
    for name, row in found.items():
        key = f"{name}_error"
        points = [(entry["epoch"], entry[key]) for entry in epochs if key in entry]
        now = (last, row["reconstruction_error"])
        series[name] = [point for point in points if point[0] != last] + [now]
    pictures.curves(
        run.pictures / "errors.png", series, "mean squared error", "Reconstruction by fresh inference"
    )


if __name__ == "__main__":
    programs.run(main)
