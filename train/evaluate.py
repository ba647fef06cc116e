"""Measure errors, scores and distances of the model of a run: python -m train.evaluate --help."""

from __future__ import annotations

import argparse
import json
import math

import numpy as np

from abp_tf import data, files, metrics, programs, runs
from abp_tf.data.examples import Examples
from abp_tf.display import pictures
from abp_tf.metrics import features
from abp_tf.options import Option, positive

from . import parsing, report


def parser() -> argparse.ArgumentParser:
    """Return the parser of the program's options."""
    return parsing.plain(
        "train.evaluate",
        "Measure the model of a run. A generator reconstructs training, test and negative signals by "
        "inference from the prior, and the errors show over- or under-fitting. A descriptor scores the "
        "signals. Where images have labels, the distance of syntheses from them is measured too.",
        {
            "run": Option(str, "directory of the run", required=True, form="DIR"),
            "negative": Option(
                str, "source of signals of another sort; by default that of the run", form="SOURCE"
            ),
            "count": Option(positive(int), "largest number of signals of each set", 500),
        },
    )


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit code."""
    arguments = parser().parse_args(argv)
    run = runs.Run.open(arguments.run)
    settings = run.config["settings"]
    images = run.load_images()
    model = run.load_model()
    sets = report.sets(images)
    negative = arguments.negative or settings["negative"]
    if negative:
        sets["negative"] = report.negatives(negative, settings, images)

    sets = {name: part.rows(0, arguments.count) for name, part in sets.items()}
    result: dict = {"negative": negative}
    if hasattr(model, "reconstruct"):
        result |= _errors(model, sets)
        _write_curves(run, result["errors"])
    if hasattr(model, "score"):
        result |= _scores(model, sets)
    if (
        images.train_labels is None
        or images.train_mask is not None
        or isinstance(images.train, data.LazyRows)
    ):
        print(
            "no distances: they need complete training images with labels in memory, for a classifier"
        )
    else:
        try:
            result |= _distances(model, images, run)
        except ValueError as error:  # too few labels or images; the other results are kept
            print(f"no distances: {error}")
    files.write_json(run.path / "evaluation.json", result)
    print(f"written: {run.path / 'evaluation.json'}")
    return 0


def _errors(model, sets: dict[str, Examples]) -> dict:
    """Print and return the reconstruction errors of each set, and the verdict on them."""
    found = {name: report.errors(model, part) for name, part in sets.items()}
    entries = sets["train"].signal[0].size
    print(f"{'':10}{'images':>8}{'MSE':>10}{'sum of squares':>16}{'MAE/range':>11}{'PSNR':>8}")
    for name, row in found.items():
        mean = row["reconstruction_error"]
        print(
            f"{name:10}{row['images']:8d}{mean:10.4f}{mean * entries:16.2f}"
            f"{row['mae_per_range']:11.4f}{row['psnr']:8.2f}"
        )
    if len(found) < 3:
        print("no verdict: it needs training, test and negative images (--negative faces)")
        return {"errors": found}
    verdict = metrics.verdict(*(row["reconstruction_error"] for row in found.values()))
    gap = None if math.isnan(verdict.gap) else verdict.gap  # JSON has no NaN
    print(f"verdict: {verdict.text}{'' if gap is None else f' (gap {gap:.2f})'}")
    return {"errors": found, "verdict": {"gap": gap, "text": verdict.text}}


def _scores(model, sets: dict[str, Examples]) -> dict:
    """Print and return the scores `f(x)` of each set, and how well they separate negatives from it."""
    found = {name: model.score(report.completed(model, part).given()) for name, part in sets.items()}
    print(f"{'':10}{'score':>12}{'deviation':>12}{'AUC of score':>14}{'of energy':>11}")
    result = {}
    for name, (score, energy) in found.items():
        row = {"mean": float(np.mean(score)), "deviation": float(np.std(score))}
        areas = ""
        if "negative" in found and name != "negative":
            negative = found["negative"]
            row["auc"] = metrics.auc(negative.score, score)
            # With a reference distribution the likelihood follows from the energy, not the score alone.
            row["auc_of_energy"] = metrics.auc(-negative.energy, -energy)
            areas = f"{row['auc']:14.3f}{row['auc_of_energy']:11.3f}"
        result[name] = row
        print(f"{name:10}{row['mean']:12.4g}{row['deviation']:12.4g}{areas}")
    return {"scores": result}


def _distances(model, images: data.Images, run: runs.Run) -> dict:
    """Measure distances of syntheses from training images, by features of a small classifier.

    The classifier is trained on the training images here and stored in the run.
    """
    extract = features.classifier(images.train, images.train_labels, run.path)
    target = extract(images.train)
    count = min(len(images.train), 1000)
    compared = {"syntheses": model.synthesize(count)}
    if not hasattr(model, "reconstruct") and model.chains == "persistent":
        compared["pool"] = model.synthesize(min(count, model.pool), from_noise=False)
    if hasattr(model, "generator"):
        compared["drafts"] = model.synthesize(count, revised=False)
    if len(images.test) > 1:
        compared["test images"] = images.test
    print(
        "distance from training images, by features of a classifier with an accuracy of "
        f"{extract.accuracy:.0%}"
    )
    print(f"{'':14}{'images':>8}{'Fréchet':>10}{'kernel':>10}")
    result = {}
    for name, signals in compared.items():
        found = extract(np.clip(signals, -1, 1))
        row = {
            "images": len(signals),
            "frechet": metrics.frechet_distance(found, target),
            "kernel": metrics.kernel_distance(found, target),
        }
        result[name] = row
        print(f"{name:14}{row['images']:8d}{row['frechet']:10.2f}{row['kernel']:10.3f}")
    return {"distances": result, "classifier_accuracy": extract.accuracy}


def _write_curves(run: runs.Run, found: dict) -> None:
    """Draw the errors of the run's epochs, and the errors measured here at its end."""
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
