"""What programs say of a model they trained or loaded: errors, scores and pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from abp_tf import callbacks, data, interpolation, masks, metrics, pictures
from abp_tf.gallery import gallery


def negatives(source: str, shape: tuple[int, ...], data_dir: str | None = None) -> np.ndarray:
    """Load images of another kind, brought to the size and colour of the run's own."""
    images = data.load(source, test_share=0.0, data_dir=data_dir)
    return data.fit_to(images.train, shape)


def errors(model, images: np.ndarray, count: int = 500) -> dict:
    """Measure how well fresh inference reconstructs up to `count` images."""
    images = images[:count]
    found = model.reconstruct(images)
    return {
        "images": len(images),
        "reconstruction_error": metrics.reconstruction_error(images, found),
        "mae_per_range": metrics.absolute_error(images, found),
        "psnr": metrics.psnr(images, found),
    }


def latent_norm(model) -> float | None:
    """Mean `‖z‖²/d` of the learned latents; none without persistent chains."""
    if model.chains != "persistent":
        return None
    return float(np.mean(model.latents**2, dtype=np.float64))


def curves(model, settings: dict, images: data.Images) -> callbacks.ErrorCurves:
    """Return the callback that follows the errors of training, test and negative images."""
    watched = {"train": images.train, "test": images.test}
    if settings["negative"]:
        watched["negative"] = negatives(settings["negative"], model.signal_shape, settings["data_dir"])
    return callbacks.ErrorCurves(watched, every=settings["curve_every"])


def scores(model, sets: dict[str, np.ndarray], count: int = 500) -> dict:
    """Tell mean and spread of `f(x)` of up to `count` images of each set that is not empty."""
    found = {name: model.score(part[:count]).score for name, part in sets.items() if len(part)}
    return {
        f"{name}_score": {"mean": float(np.mean(score)), "deviation": float(np.std(score))}
        for name, score in found.items()
    }


def write_pictures(model, images: data.Images, directory: Path, mask: str) -> list[Path]:
    """Write what the model shows of itself, and inpaintings, as PNG files.

    Args:
        model: a `Generator`, `Descriptor` or `CoopNets`.
        images: what it learned from, and test images.
        directory: to write to; it exists.
        mask: specification of what to hide for inpainting, see `abp_tf.masks.parse`.

    Returns:
        The paths.
    """
    few = 10
    source = images.test if len(images.test) >= few else images.train
    shown = gallery(model, source)
    if hasattr(model, "reconstruct"):
        parts = {"training": images.train[:few], "test": images.test[:few]}
        labelled = []
        for name, part in parts.items():
            if len(part):
                labelled += [(name, part), ("reconstructed", model.reconstruct(part))]
        labels, batches = zip(*labelled, strict=True)
        shown["reconstruction"] = pictures.rows(batches, labels)
    if hasattr(model, "interpolate") and len(source) >= 2:
        shown["line_and_arc"] = pictures.rows(
            [
                model.interpolate(source[:2], way(few))
                for way in (interpolation.line, interpolation.arc)
            ],
            ["line", "arc"],
        )
    truth = source[:few]
    seen = masks.parse(mask)(len(truth), truth.shape[1:3], 0)
    damaged = np.where(seen[..., None], truth, 0.0).astype(np.float32)
    recovered = model.inpaint(damaged, seen)
    shown["inpainting"] = pictures.rows([damaged, recovered, truth], ["observed", "inpainted", "truth"])
    paths = []
    for name, picture in shown.items():
        paths.append(directory / f"{name}.png")
        pictures.save_png(paths[-1], picture)
    return paths
