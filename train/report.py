"""What programs say of a generator they trained or loaded: errors and pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from abp_tf import data, interpolation, masks, metrics, pictures


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


def write_pictures(model, images: data.Images, directory: Path, mask: str) -> list[Path]:
    """Write reconstructions, syntheses, interpolations and inpaintings as PNG files.

    Args:
        model: a `Generator`.
        images: what it learned from, and test images.
        directory: to write to; it exists.
        mask: specification of what to hide for inpainting, see `abp_tf.masks.parse`.

    Returns:
        The paths.
    """
    few = 10
    shown = {}
    labels, parts = [], []
    for name, part in (("training", images.train[:few]), ("test", images.test[:few])):
        if len(part):
            labels += [name, "reconstructed"]
            parts += [part, model.reconstruct(part)]
    shown["reconstruction"] = pictures.rows(parts, labels)
    shown["synthesis"] = pictures.grid(model.synthesize(64), columns=8)

    source = images.test if len(images.test) >= few else images.train
    if len(source) >= 4:
        corners = model.interpolate(source[:4], interpolation.square(8))
        shown["interpolation"] = pictures.grid(corners, columns=8)
        ends = source[:2]
        shown["line_and_arc"] = pictures.rows(
            [model.interpolate(ends, way(few)) for way in (interpolation.line, interpolation.arc)],
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
