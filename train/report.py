"""Compute errors and scores of a model, and draw its pictures."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import keras
import numpy as np

from abp_tf import (
    callbacks,
    data,
    interpolation,
    mask_files,
    metrics,
    networks,
    runs,
    signals,
    synthesize_at,
)
from abp_tf.data.examples import Examples
from abp_tf.display import pictures
from abp_tf.display.gallery import drawable, given, seen, show

# Number of masks that pictures look at where all are not in memory.
_LOOKED_AT = 64


def sets(images: data.Signals) -> dict[str, Examples]:
    """Return training signals, and test signals if there are any, with their masks and times."""
    found = {
        "train": Examples(images.train, images.train_mask, time=images.train_time),
        "test": Examples(images.test, images.test_mask, time=images.test_time),
    }
    return {name: part for name, part in found.items() if len(part.signal)}


def negatives(source: str, settings: dict, images: data.Signals) -> Examples:
    """Load signals of another sort and convert them to the shape of the run's signals."""
    shape = images.train.shape[1:]
    found = runs.load_like(source, settings, shape, images.header)
    return Examples(found.train, found.train_mask, time=found.train_time)


def errors(model, part: Examples, count: int = 300) -> dict:
    """Return errors of reconstructions, on the observed entries of up to `count` signals.

    Of a model with a scaling, `reconstruction_error` is in scaled units, and the other errors are those
    of pictures (`abp_tf.display.gallery.drawable`).

    Args:
        model: a `Generator` or `CoopNets`, whose latents are inferred from the prior.
        part: signals with their masks and times.
        count: largest number of signals.
    """
    part = part.rows(0, count)
    found = model.reconstruct(given(model, part))
    scaled, drawn = (
        [to(one, time=part.time) for one in (part.signal, found)]
        for to in (model.scaled, partial(drawable, model))
    )
    return {
        "images": len(part.signal),
        "reconstruction_error": metrics.reconstruction_error(*scaled, part.mask),
        "mae_per_range": metrics.absolute_error(*drawn, part.mask),
        "psnr": metrics.psnr(*drawn, part.mask),
    }


def all_errors(model, images: data.Signals) -> dict:
    """Return the errors of training and test signals, each None where there are none."""
    found = {name: errors(model, part) for name, part in sets(images).items()}
    return {"train": found["train"], "test": found.get("test")}


def latent_norm(model) -> float | None:
    """Return the mean `‖z‖²/d` of the learned latents, None without persistent chains."""
    if model.chains != "persistent":
        return None
    return float(np.mean(model.latents**2, dtype=np.float64))


def curves(model, settings: dict, images: data.Signals) -> callbacks.ErrorCurves:
    """Return the callback that records the errors of training, test and negative signals."""
    parts = sets(images)
    if settings["negative"]:
        parts["negative"] = negatives(settings["negative"], settings, images)
    return callbacks.ErrorCurves(parts, every=settings["curve_every"])


def pictures_of(images: data.Signals, settings: dict, logs: Path) -> callbacks.TensorBoardPictures:
    """Return the callback that writes the model's signals to TensorBoard."""
    every, mask, hidden = settings["picture_every"], images.train_mask, None
    if settings.get("mask") and not mask_files.is_stored(settings["mask"]):
        drawn, own = runs.training_mask(settings, images), mask
        if isinstance(images.train, data.LazyRows):
            drawn, own = drawn[:_LOOKED_AT], own if own is None else own[:_LOOKED_AT]
        hidden = signals.both(~drawn, own)  # what is known of it
    return callbacks.TensorBoardPictures(
        logs,
        images.train,
        every,
        mask=mask,
        kind=images.kind,
        header=images.header,
        hidden=hidden,
        time=images.train_time,
    )


def completed(model, part: Examples) -> Examples:
    """Return signals unchanged, or completed by the model if they have masks."""
    return part if part.mask is None else Examples(model.inpaint(part.given()), time=part.time)


def scores(model, sets: dict[str, Examples], count: int = 300) -> dict:
    """Return mean and standard deviation of `f(x)` over up to `count` completed signals of each set."""
    result = {}
    for name, part in sets.items():
        score = model.score(completed(model, part.rows(0, count)).given()).score
        result[f"{name}_score"] = {"mean": float(np.mean(score)), "deviation": float(np.std(score))}
    return result


def write_pictures(model, images: data.Signals, directory: Path, mask: str | None = None) -> list[Path]:
    """Write pictures of a model's syntheses, reconstructions and inpaintings as PNG files.

    Args:
        model: a `Generator`, `Descriptor` or `CoopNets`.
        images: training and test signals.
        directory: an existing directory.
        mask: specification of the mask of complete signals for inpainting, such as "pepper:0.5"
            (`abp_tf.masks.parse`); None for the default of the kind of signal.

    Returns:
        The paths of the files.
    """
    few = 10
    parts = sets(images)
    source = parts.get("test", parts["train"])
    source = source if len(source.signal) >= few else parts["train"]
    kind = signals.get(images.kind)
    drawn = show(model, source.signal, source.mask, kind, source.time)
    shown = {name: kind.picture(*part, images.header) for name, part in drawn.items()}
    if kind.enlarged > 1 and networks.resizable(_input_network(model)):
        sides = [kind.enlarged * side for side in model.signal_shape[:-1]]
        shown["larger"] = pictures.grid(kind.tiles(synthesize_at(model, sides)), 1, scale=1, gap=0)
    if not kind.drawn_whole:
        for number, signal in enumerate(drawn["synthesis"].signals[:4]):
            kind.save(directory / f"synthesis-{number}", signal, images.header, every_format=True)
    if hasattr(model, "reconstruct"):
        labelled = []
        for name, part in parts.items():
            part = part.rows(0, few)
            labelled += [(name, pictures.visible(part.signal, part.mask))]
            labelled += [("reconstructed", model.reconstruct(given(model, part)))]
        shown["reconstruction"] = _rows(kind, labelled, images.header)
    if hasattr(model, "interpolate") and len(source.signal) >= 2:
        pair = source.rows(0, 2)
        time = None if pair.time is None else pair.time[0]
        ways = [
            model.interpolate(given(model, pair), way(few), time=time)
            for way in (interpolation.line, interpolation.arc)
        ]
        shown["line_and_arc"] = _rows(kind, zip(["line", "arc"], ways, strict=True), images.header)
    if model.observation is None:
        shown["inpainting"] = _inpainting(kind, model, source.rows(0, few), mask, images.header)
    elif (observed := observed_images(model, source.signal[:few])) is not None:
        truth = source.signal[:few]
        found = model.reconstruct(seen(model, truth))
        labelled = [("observed", observed), ("recovered", found), ("truth", truth)]
        shown["recovery"] = _rows(kind, labelled, images.header)
    paths = []
    for name, picture in shown.items():
        paths.append(directory / f"{name}.png")
        pictures.save_png(paths[-1], picture)
    return paths


def _input_network(model) -> keras.Model:
    """Return the network whose inputs a model draws; for CoopNets that of the generator."""
    return getattr(model, "generator", model).network


def _rows(kind: signals.SignalKind, labelled, header: Mapping) -> np.ndarray:
    """Draw signals in labelled rows, from pairs of a label and signals."""
    labels, batches = zip(*labelled, strict=True)
    return pictures.rows([kind.tiles(batch, header) for batch in batches], labels)


def save_rows(
    path: Path, kind: signals.SignalKind, rows: dict[str, np.ndarray], header: Mapping
) -> None:
    """Write a picture of signals in labelled rows."""
    pictures.save_png(path, _rows(kind, rows.items(), header))


def observed_images(model, images: np.ndarray) -> np.ndarray | None:
    """Return the output of a model's operator as images of the size of its input.

    Entries of coarser images are repeated.

    Returns:
        The images, or None if the operator's output is not an image.
    """
    observed = seen(model, images)
    if observed.ndim != images.ndim or observed.shape[-1] != images.shape[-1]:
        return None
    for axis in range(1, images.ndim):
        observed = observed.repeat(images.shape[axis] // observed.shape[axis], axis)
    return observed


def _inpainting(
    kind: signals.SignalKind, model, part: Examples, mask: str | None, header: Mapping
) -> np.ndarray:
    """Draw rows of observed signals, inpainted signals and, where it is known, the truth."""
    signal, observed, truth = part.signal, part.mask, {}
    if observed is None:
        # Where training signals have masks of their own, test signals may still be complete.
        shape, drawn = signal.shape[1:], mask is not None and not mask_files.is_stored(mask)
        spec = mask if drawn else kind.default_mask(shape)
        observed, truth = kind.draw_masks(spec, len(signal), shape, 0), {"truth": signal}
    rows = {
        "observed": pictures.visible(signal, observed),
        "inpainted": model.inpaint(part._replace(mask=observed).given()),
        **truth,
    }
    return _rows(kind, rows.items(), header)
