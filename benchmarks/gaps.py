"""Fill real gaps by every method: python -m benchmarks.gaps --help.

Vegetation index and sea-surface temperature with gaps of clouds whose truth is known, faces behind
blocks, and clips with half of their frames hidden. No method sees a hidden entry; all choose their
settings by moved gaps among observed entries. Tables are printed as Markdown.
"""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from scipy.ndimage import gaussian_filter

from abp_tf import Generator, Langevin, Scaling, files, metrics, networks, programs
from abp_tf.baselines import DINEOF, PCA, VAE, OptimalInterpolation, frames
from abp_tf.data import load_field
from abp_tf.display import pictures
from abp_tf.fields import FieldModel, FieldSettings, choose, gaps
from abp_tf.metrics.calibration import calibration

from . import recovery, videos
from .cost import measured

SETS = ("ndvi 20", "ndvi 40", "sst", "faces", "fire", "flashing light")


class Gaps(NamedTuple):
    """Frames, what methods observe of them, and the entries that errors are measured at."""

    signal: np.ndarray
    mask: np.ndarray
    hidden: np.ndarray
    domain: np.ndarray
    times: np.ndarray

    @property
    def given(self) -> dict:
        """The data of methods, without anything hidden."""
        return {"signal": np.where(self.mask, self.signal, 0), "mask": self.mask}


def load(name: str, folder: Path, quick: bool) -> Gaps:
    """Load one of the sets of fields."""
    if name == "sst":
        field = load_field(folder / "alboran_sst.nc", "SST")
        with np.load(folder / "alboran_sst_clouds.npz") as stored:
            hidden = stored["hidden"][..., None] & field.mask
        found = Gaps(field.signal, field.mask & ~hidden, hidden, field.domain, field.times)
    else:
        with np.load(folder / "ndvi_mask_study.npz") as stored:
            truth = stored["truth"][..., None]
            known, times = np.isfinite(truth), stored["year"] * 365.0 + stored["day"] * 8
            hidden = stored[f"hidden_{name.split()[1]}"][..., None] & known
        domain = np.ones(truth.shape[1:], bool)
        found = Gaps(np.where(known, truth, 0), known & ~hidden, hidden, domain, times)
    if quick:  # every second pixel of the first frames
        part = (slice(0, 8), slice(None, None, 2), slice(None, None, 2))
        found = Gaps(*(p[part] for p in found[:3]), found.domain[part[1:]], found.times[:8])
    return found


def ours(data: Gaps):
    """Fill by `abp_tf.fields`, with settings and widening chosen by moved gaps."""
    choice = choose(data.given, times=data.times, domain=data.domain)
    print(f"  chosen: {choice.settings}, deviations times {choice.widening:.2f}", flush=True)
    model = choice.model().fit(data.given, times=data.times, domain=data.domain)
    return model.sample_posterior(samples=64)


def local_latents(data: Gaps):
    """Fill by a generator with local latents, learned for as many epochs as moved gaps choose."""

    def fitted(given):
        model = Generator(
            _network(given),
            sigma=0.7,
            langevin=Langevin(6, 0.5),
            inference=Langevin(200, 0.5, cool=100),
            preconditioning=True,
            expansion=1.0,
            scaling=Scaling.of(given, positions=True),
        )
        model.compile(keras.optimizers.Adam(1e-3))
        return model

    def drawn(model, given):
        return model.sample_posterior(*given.values(), samples=32, chains=4)

    return _after_some_epochs(data, fitted, drawn, (10, 20, 40))


def vae(data: Gaps) -> np.ndarray:
    """Fill by a VAE with the decoder of `local_latents`, for as many epochs as moved gaps choose."""

    def fitted(given):
        model = VAE(_network(given), scaling=Scaling.of(given, positions=True))
        model.compile(keras.optimizers.Adam(1e-3))
        return model

    def filled(model, given):
        return model.inpaint(*given.values())

    return _after_some_epochs(data, fitted, filled, (10, 30, 100))


def optimal_interpolation(data: Gaps):
    """Fill by kriging with a stationary covariance."""
    model = OptimalInterpolation(value_range=None).fit(data.given)
    return model.sample_posterior(*data.given.values(), samples=16)


def dineof(data: Gaps) -> np.ndarray:
    """Fill by empirical orthogonal functions."""
    return DINEOF(value_range=None).fit(data.given).inpaint(*data.given.values())


def pca(data: Gaps) -> np.ndarray:
    """Fill by PCA, learned by EM, with the number of components that moved gaps choose."""

    def filled(given, components):
        return PCA(components, value_range=None).fit(given).inpaint(*given.values())

    return _by_moved_gaps(data, filled, (0, 1, 2, 4))


def smoothing(data: Gaps) -> np.ndarray:
    """Fill by means and Gaussian-weighted residuals, with the width that moved gaps choose."""

    def filled(given, width):
        signal, mask = given.values()
        mean = sum(frames.means(signal[..., 0], mask[..., 0]))[..., None]
        rest = np.where(mask, signal - mean, 0)
        return np.where(mask, signal, mean + _blur(rest, width) / (_blur(mask, width) + 1e-3))

    return _by_moved_gaps(data, filled, (1, 2, 4, 8, 16))


def means(data: Gaps) -> np.ndarray:
    """Fill by the sum of pixel mean and frame mean."""
    return frames.fill_by_means(*data.given.values())


def in_time(data: Gaps) -> np.ndarray:
    """Fill by linear interpolation in time, and by means where a pixel is never observed."""
    return frames.fill_in_time(*data.given.values(), data.times)


METHODS: dict[str, Callable] = {
    "ours": ours,
    "generator, local latents": local_latents,
    "optimal interpolation": optimal_interpolation,
    "VAE": vae,
    "smoothing": smoothing,
    "DINEOF": dineof,
    "PCA": pca,
    "linear in time": in_time,
    "means": means,
}


def _blur(values, width):
    return gaussian_filter(values.astype(float), (0, width, width, 0), mode="constant")


def _by_moved_gaps(data: Gaps, fill: Callable, values, folds: int = 1) -> np.ndarray:
    """Fill with the value of a setting that has the least error under moved gaps."""

    def error(value):
        found = []
        for held in (gaps.moved(data.mask, seed) for seed in range(folds)):
            less = data._replace(mask=data.mask & ~held).given
            found.append(((fill(less, value) - data.signal) ** 2)[held])
        return np.mean(np.concatenate(found))

    return fill(data.given, min(values, key=error))


def _network(given: dict) -> keras.Model:
    keras.utils.set_random_seed(0)
    return networks.field_generator(given["signal"].shape[1:], 2, ((14, 6),))


def _after_some_epochs(data: Gaps, build: Callable, fill: Callable, epochs: tuple[int, ...]):
    """Fill by a model after the number of epochs that has the least error under moved gaps.

    Args:
        data: the frames.
        build: function from signal and mask to a compiled model.
        fill: function from a model, signal and mask to posterior samples or filled frames.
        epochs: numbers of epochs in increasing order; learning continues from each to the next.
    """
    held = gaps.moved(data.mask, 0)
    less = data._replace(mask=data.mask & ~held).given
    model, errors = build(less), []
    for before, after in itertools.pairwise((0, *epochs)):
        model.fit(less, batch_size=8, epochs=after, initial_epoch=before, verbose=0)
        errors.append(np.mean((model.inpaint(*less.values()) - data.signal)[held] ** 2))
    chosen = epochs[int(np.argmin(errors))]
    print(f"  chosen: {chosen} epochs", flush=True)
    model = build(data.given)
    model.fit(data.given, batch_size=8, epochs=chosen, verbose=0)
    return fill(model, data.given)


def fields(name: str, folder: Path, arguments, results: list[dict]) -> None:
    """Fill one set of fields by all methods."""
    data = load(name, folder, arguments.quick)
    kept = {"observed": np.where(data.mask, data.signal, np.nan), "truth": data.signal}
    for method in arguments.methods:
        row = {"set": name, "method": method}
        with measured() as cost:
            found = METHODS[method](data)
        row |= cost
        drawn = None if isinstance(found, np.ndarray) else found
        mean = found if drawn is None else drawn.mean
        row["RMSE"] = float(np.sqrt(np.mean((mean - data.signal)[data.hidden] ** 2)))
        if drawn is not None:
            scores = calibration(data.signal, drawn, data.hidden, levels=(0.9,))
            frames = scores.coverage_per_example[:, 0]
            row |= {"CRPS": float(scores.crps), "coverage of 90 %": float(scores.coverage[0])}
            row |= {"least of a frame": float(np.nanmin(frames))}
            row |= {"largest of a frame": float(np.nanmax(frames))}
        print(f"  {row}", flush=True)
        results.append(row)
        kept[method] = mean
    _draw(name, kept, data, arguments.out)


def faces(name: str, folder: Path, arguments, results: list[dict]) -> None:
    """Recover faces behind blocks, learned from complete faces of other people."""
    data = recovery.load("olivetti", arguments.quick)
    latents = 8 if arguments.quick else 60
    models = {
        "ours": FieldModel(FieldSettings(latents=latents, mean=10.0, noise=0.02)).fit(data.train),
        "PCA": PCA(latents).fit(data.train),
    }
    for spec in ("block:20", "block:30"):
        mask = recovery.drawn(spec, data.test, 1)
        given = {"signal": data.test, "mask": mask}
        shown = [data.test, np.where(mask[..., None], data.test, 0)]
        for method, model in models.items():
            found = model.inpaint(given) if method == "ours" else model.inpaint(data.test, mask)
            figures = recovery.errors(data.test, found, mask)
            results.append({"set": f"{name}, {spec}", "method": method, "MAE/range": figures["mae"]})
            print(f"  {results[-1]}", flush=True)
            shown.append(found)
        rows = [np.clip(row[:10], -1, 1) for row in shown]
        path = arguments.out / f"faces-{spec.replace(':', '')}.png"
        pictures.save_png(path, pictures.rows(rows, ["truth", "observed", *models]))


def clips(name: str, folder: Path, arguments, results: list[dict]) -> None:
    """Fill clips of which half of the frames are hidden."""
    settings = videos.settings(name, "missing frames", arguments.quick)
    with np.load(folder / videos.SUBJECTS[name]) as stored:
        clip = (stored["frames"][: settings["frames"]] / 127.5 - 1).astype(np.float32)
    mask = np.empty(clip.shape, bool)
    mask[...] = videos.hidden("missing frames", clip.shape[:3], settings)[..., None]
    data = Gaps(clip, mask, ~mask, np.ones(clip.shape[1:], bool), np.arange(len(clip)))

    def filled(given, latents):
        tried = FieldSettings(latents, mean=10.0, time=10.0, noise=0.05, rhythm=latents > 0)
        return FieldModel(tried).fit(given).inpaint()

    methods = {
        "ours": lambda: _by_moved_gaps(data, filled, (0, 3, 5), folds=3),
        "linear in time": lambda: videos.interpolated(clip, mask[..., 0]),
    }
    for method, fill in methods.items():
        with measured() as row:
            found = fill()
        error = metrics.recovery_error(clip[None], np.clip(found, -1, 1)[None], mask[None, ..., 0])
        results.append({"set": f"{name}, half the frames", "method": method, "MAE/range": error} | row)
        print(f"  {results[-1]}", flush=True)


def _draw(name: str, kept: dict[str, np.ndarray], data: Gaps, out: Path) -> None:
    """Draw the frames with the most hidden entries as filled by each method."""
    chosen = np.argsort(-data.hidden.sum((1, 2, 3)))[:4]
    values = data.signal[data.mask]
    low, high = np.quantile(values, [0.01, 0.99])
    rows = []
    for found in kept.values():
        scaled = np.clip(2 * (found[chosen] - low) / (high - low) - 1, -1, 1)
        rows.append(np.where(np.isfinite(scaled) & data.domain, scaled, -1).astype(np.float32))
    pictures.save_png(out / f"{name.replace(' ', '-')}.png", pictures.rows(rows, list(kept)))


def tables(results: list[dict]) -> str:
    """Return the results as Markdown, a table for each set."""
    lines = []
    for name in dict.fromkeys(row["set"] for row in results):
        rows = [row for row in results if row["set"] == name]
        columns = [key for key in dict.fromkeys(key for row in rows for key in row) if key != "set"]
        lines += ["", f"### {name}", "", "| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
        for row in rows:
            cells = (row.get(column, "") for column in columns)
            shown = (f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in cells)
            lines.append("| " + " | ".join(shown) + " |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.gaps", description=__doc__)
    add = parser.add_argument
    add("--sets", nargs="+", choices=SETS, default=list(SETS))
    add("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="of fields")
    add("--quick", action="store_true", help="small parts of the data, to see the form of the tables")
    add("--out", type=Path, default=Path("runs/gaps"), help="directory for pictures [%(default)s]")
    add("--results", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args(argv)
    folder = os.environ.get("ABP_TF_DATA")
    if not folder:
        raise FileNotFoundError("Expected the folder of the data in $ABP_TF_DATA, which is not set.")
    arguments.out.mkdir(parents=True, exist_ok=True)
    runs = {"faces": faces, "fire": clips, "flashing light": clips}
    results: list[dict] = []
    for name in arguments.sets:
        print(f"[{name}]", flush=True)
        runs.get(name, fields)(name, Path(folder), arguments, results)
    if arguments.results:
        files.write_json(arguments.results, results)
    print(tables(results))
    return 0


if __name__ == "__main__":
    programs.run(main)
