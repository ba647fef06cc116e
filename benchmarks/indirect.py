"""Recover images from projections and coarser grids, for `benchmarks.recovery`.

ABP learns from the observations alone. PCA learns from complete images, because from observations by
one fixed operator it could learn nothing outside the operator's range. Sparse recovery learns nothing;
its penalty is chosen on a few training images.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from scipy.fft import idctn
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso

from abp_tf import metrics
from abp_tf.display import pictures
from train import options

from . import cells, methods

OPERATORS = (
    "projection:50",
    "projection:100",
    "projection:200",
    "projection:400",
    "coarser:2",
    "coarser:4",
)
PENALTIES = (1e-4, 3e-4, 1e-3, 3e-3)
TRAINING = 100  # number of training images that are recovered
# Upper limits of settings: posteriors are narrower than those given one pixel in ten, and need less.
LESS = {"epochs": 20, "samples": 36, "chains": 4}


def matrix(operator, shape: tuple[int, ...]) -> np.ndarray:
    """Return the matrix `[outputs, entries]` of a linear operator on signals of a shape."""
    count = int(np.prod(shape))
    basis = np.eye(count, dtype=np.float32).reshape(count, *shape)
    return np.asarray(operator(basis)).reshape(count, -1).T


def abp(settings: dict, operator, data: methods.Data) -> dict:
    """Learn a generator from observations, and recover by the median of posterior samples."""
    train, test = np.asarray(operator(data.train)), np.asarray(operator(data.test))
    learn = partial(methods.learn_abp, observation=operator)
    model, seconds = methods.timed(learn, settings, train, None)

    def recover(observed):
        several = {name: settings[name] for name in ("samples", "chains")}
        return np.median(model.sample_posterior(observed, **several).samples, axis=1)

    found, took = methods.timed(recover, test)
    recovered = recover(train[:TRAINING])
    return {"train": recovered, "test": found, "seconds": seconds, "took": took / len(found)}


def pca(settings: dict, operator, data: methods.Data) -> dict:
    """Learn principal components, and recover by the conditional mean of their Gaussian."""
    shape = data.train.shape[1:]
    flat = data.train.reshape(len(data.train), -1)
    learned, seconds = methods.timed(PCA(settings["components"], random_state=0).fit, flat)
    scores = matrix(operator, shape)
    covariance = learned.get_covariance() @ scores.T
    gain = covariance @ np.linalg.inv(scores @ covariance)

    def recover(images):
        observed = np.asarray(operator(images)).reshape(len(images), -1) - scores @ learned.mean_
        return (learned.mean_ + observed @ gain.T).reshape(images.shape)

    found, took = methods.timed(recover, data.test)
    train = recover(data.train[:TRAINING])
    return {"train": train, "test": found, "seconds": seconds, "took": took / len(found)}


def sparse(settings: dict, operator, data: methods.Data) -> dict:
    """Recover the image whose discrete cosine transform is sparse (lasso)."""
    shape = data.train.shape[1:]
    scores = matrix(operator, shape)
    count = scores.shape[1]
    waves = idctn(np.eye(count).reshape(count, *shape), axes=(1, 2), norm="ortho").reshape(count, -1)
    design = scores @ waves.T

    def recover(images, penalty):
        lasso = Lasso(penalty, fit_intercept=False, max_iter=2000)
        observed = np.asarray(operator(images)).reshape(len(images), -1)
        with warnings.catch_warnings():
            # A solution that has not converged after the largest number of iterations is used as it is.
            warnings.simplefilter("ignore", ConvergenceWarning)
            found = [lasso.fit(design, y).coef_ @ waves for y in observed.astype(np.float64)]
        return np.reshape(found, images.shape)

    few = data.train[:20]
    tried = {p: metrics.absolute_error(few, np.clip(recover(few, p), -1, 1)) for p in PENALTIES}
    best = min(tried, key=tried.get)
    found, took = methods.timed(recover, data.test, best)
    train = recover(data.train[:TRAINING], best)
    return {"train": train, "test": found, "seconds": 0.0, "took": took / len(found)}


def table(
    data: methods.Data,
    directory: Path,
    specs: list[str],
    quick: bool,
    few: int,
    bfloat16: Sequence[str] = (),
) -> list[dict]:
    """Compute or read the cells of all operators, and draw pictures; return a row for each cell."""
    dtype = "mixed_bfloat16" if "ABP" in bfloat16 else None
    shape = list(data.train.shape[1:])
    common = {"data": data.name, "images": len(data.train), "recovered": [TRAINING, len(data.test)]}
    learned = methods.settings("ABP", data.name, quick, dtype)
    learned |= {key: min(value, learned[key]) for key, value in LESS.items()}
    ways = {
        "ABP": (abp, {**learned, "shape": shape}),
        "PCA": (pca, {"components": methods.SHARED[data.name]["latent_dim"]}),
        "sparse DCT": (sparse, {"penalties": PENALTIES}),
    }
    result = []
    for spec in specs:
        operator = options.operator(spec)
        shown = {}
        for name, (method, given) in ways.items():
            settings = {**given, **common, "operator": spec}
            if name == "ABP" and spec.startswith("coarser"):
                # A mean over f² pixels has f times less noise than a pixel.
                factor = int(spec.partition(":")[2])
                settings |= {"antialias": factor, "sigma": settings["sigma"] / factor}
            label = f"{data.name}-{spec.replace(':', '')}-{name.replace(' ', '-')}"

            def fill(folder, method=method, settings=settings, operator=operator):
                found = method(settings, operator, data)
                np.savez_compressed(folder / "recovered.npz", test=found["test"][:few])
                return {
                    **{part: _errors(getattr(data, part), found[part]) for part in ("train", "test")},
                    "seconds": found["seconds"],
                    "seconds_per_1000": 1000 * found["took"],
                }

            figures = cells.cell(directory, label, settings, fill)
            recovered = cells.images(directory, label, settings)
            if recovered:
                shown[name] = recovered["test"]
            errors = {
                f"{part} {key}": figures[part][key]
                for part in ("train", "test")
                for key in ("mae", "psnr")
            }
            cost = {"training s": figures["seconds"], "s per 1 000": figures["seconds_per_1000"]}
            result.append({"operator": spec, "method": name, **errors, **cost})
        truth = data.test[:few]
        # Observations are shown as images by the pseudo-inverse of the operator.
        scores = matrix(operator, data.train.shape[1:])
        observed = (truth.reshape(len(truth), -1) @ scores.T @ np.linalg.pinv(scores).T).reshape(
            truth.shape
        )
        path = directory / f"{data.name}_{spec}.png".replace(":", "")
        batches, labels = [truth, observed, *shown.values()], ["truth", "observed", *shown]
        pictures.save_png(path, pictures.rows(batches, labels))
    return result


def _errors(truth: np.ndarray, found: np.ndarray) -> dict:
    truth, found = truth[: len(found)], np.clip(found, -1, 1).astype(np.float32)
    return {"mae": metrics.absolute_error(truth, found), "psnr": metrics.psnr(truth, found)}


def shown(rows: list[dict]) -> str:
    """Return the table of operators, errors on all pixels."""
    listed = [
        [
            row["operator"],
            row["method"],
            f"{row['train mae']:.4f} / {row['test mae']:.4f}",
            f"{row['train psnr']:.1f} / {row['test psnr']:.1f}",
            f"{row['training s']:.0f}",
            f"{row['s per 1 000']:.1f}",
        ]
        for row in rows
    ]
    columns = ["observed", "method", "MAE/range", "PSNR", "training s", "s per 1 000"]
    title = (
        "All pixels, training / test images; PCA learned from complete images, ABP from observations"
    )
    return f"{title}\n\n{cells.table(columns, listed)}"
