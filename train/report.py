"""What programs say of a model they trained or loaded: errors, scores and pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from abp_tf import callbacks, data, interpolation, masks, metrics, pictures
from abp_tf.data import mask_files
from abp_tf.data.pipeline import Examples
from abp_tf.gallery import gallery


def sets(images: data.Images) -> dict[str, Examples]:
    """Return training images, and test images if there are any, with what is known of them."""
    found = {
        "train": Examples(images.train, images.train_mask),
        "test": Examples(images.test, images.test_mask),
    }
    return {name: part for name, part in found.items() if len(part.signal)}


def negatives(source: str, shape: tuple[int, ...], data_dir: str | None = None) -> Examples:
    """Load images of another kind, brought to the size and colour of the run's own."""
    images = data.load(source, test_share=0.0, data_dir=data_dir)
    return Examples(data.fit_to(images.train, shape))


def errors(model, part: Examples, count: int = 500) -> dict:
    """Measure how well fresh inference reconstructs what is known of up to `count` images."""
    signal, mask, _ = part.rows(0, count)
    found = model.reconstruct(signal, mask)
    return {
        "images": len(signal),
        "reconstruction_error": metrics.reconstruction_error(signal, found, mask),
        "mae_per_range": metrics.absolute_error(signal, found, mask),
        "psnr": metrics.psnr(signal, found, mask),
    }


def all_errors(model, images: data.Images) -> dict:
    """Measure the errors of training and test images; None stands for those there are none of."""
    found = {name: errors(model, part) for name, part in sets(images).items()}
    return {"train": found["train"], "test": found.get("test")}


def latent_norm(model) -> float | None:
    """Mean `‖z‖²/d` of the learned latents; none without persistent chains."""
    if model.chains != "persistent":
        return None
    return float(np.mean(model.latents**2, dtype=np.float64))


def curves(model, settings: dict, images: data.Images) -> callbacks.ErrorCurves:
    """Return the callback that follows the errors of training, test and negative images."""
    watched = sets(images)
    if settings["negative"]:
        watched["negative"] = negatives(settings["negative"], model.signal_shape, settings["data_dir"])
    return callbacks.ErrorCurves(watched, every=settings["curve_every"])


def completed(model, part: Examples) -> np.ndarray:
    """Return images as they are, or completed by the model where only a part is known."""
    return part.signal if part.mask is None else model.inpaint(part.signal, part.mask)


def scores(model, sets: dict[str, Examples], count: int = 500) -> dict:
    """Tell mean and spread of `f(x)` of up to `count` images of each set, completed."""
    result = {}
    for name, part in sets.items():
        score = model.score(completed(model, part.rows(0, count))).score
        result[f"{name}_score"] = {"mean": float(np.mean(score)), "deviation": float(np.std(score))}
    return result


def write_pictures(model, images: data.Images, directory: Path, mask: str | None = None) -> list[Path]:
    """Write what the model shows of itself, and inpaintings, as PNG files.

    Args:
        model: a `Generator`, `Descriptor` or `CoopNets`.
        images: what it learned from, and test images.
        directory: to write to; it exists.
        mask: specification of what to hide of complete images for inpainting, see
            `abp_tf.masks.parse`; half of the pixels by default.

    Returns:
        The paths.
    """
    few = 10
    parts = sets(images)
    source = parts.get("test", parts["train"])
    source = source if len(source.signal) >= few else parts["train"]
    shown = gallery(model, source.signal, source.mask)
    if hasattr(model, "reconstruct"):
        labelled = []
        for name, part in parts.items():
            signal, seen, _ = part.rows(0, few)
            labelled += [(name, pictures.visible(signal, seen))]
            labelled += [("reconstructed", model.reconstruct(signal, seen))]
        labels, batches = zip(*labelled, strict=True)
        shown["reconstruction"] = pictures.rows(batches, labels)
    if hasattr(model, "interpolate") and len(source.signal) >= 2:
        pair = source.rows(0, 2)
        ways = [
            model.interpolate(pair.signal, way(few), pair.mask)
            for way in (interpolation.line, interpolation.arc)
        ]
        shown["line_and_arc"] = pictures.rows(ways, ["line", "arc"])
    shown["inpainting"] = _inpainting(model, source.rows(0, few), mask)
    paths = []
    for name, picture in shown.items():
        paths.append(directory / f"{name}.png")
        pictures.save_png(paths[-1], picture)
    return paths


def _inpainting(model, part: Examples, mask: str | None) -> np.ndarray:
    """Draw what is observed, inpainted, and, where it is known, the truth."""
    signal, seen, _ = part
    truth = {}
    if seen is None:
        # Of images with masks of their own there are some that are complete, those for testing.
        spec = "pepper:0.5" if mask is None or mask_files.is_stored(mask) else mask
        seen, truth = masks.parse(spec)(len(signal), signal.shape[1:-1], 0), {"truth": signal}
    rows = {
        "observed": pictures.visible(signal, seen),
        "inpainted": model.inpaint(signal, seen),
        **truth,
    }
    return pictures.rows(list(rows.values()), list(rows))
