"""Pictures of what a model of images has learned, for TensorBoard and for files."""

from __future__ import annotations

import numpy as np

from abp_tf import interpolation, pictures

_COUNT, _COLUMNS, _PAIRS = 64, 8, 16


def gallery(model, images: np.ndarray) -> dict[str, np.ndarray]:
    """Let a model show what it can do.

    Args:
        model: a `Generator`, `Descriptor` or `CoopNets` of images.
        images: float32 `[n, h, w, c]` in [-1, 1]; the first 16 are reconstructed.

    Returns:
        uint8 pictures by name: "synthesis"; "from_noise" if chains of a pool were shown as synthesis;
        "revision", drafts above what became of them; "reconstruction" and "interpolation", where there
        are latents.
    """
    shown = {}
    if not hasattr(model, "reconstruct"):  # a descriptor
        pool = model.chains == "persistent"
        drawn = model.synthesize(_COUNT, from_noise=not pool)
        if pool:
            noise = model.synthesize(_COUNT // 2)
            shown["from_noise"] = pictures.grid(noise, columns=_COLUMNS)
    else:
        drawn = model.synthesize(_COUNT)
    shown["synthesis"] = pictures.grid(drawn, columns=_COLUMNS)
    latents = getattr(model, "generator", model)  # of CoopNets
    if latents is not model:
        drafts = model.synthesize(_PAIRS, revised=False)
        shown["revision"] = pictures.grid(np.concatenate([drafts, drawn[:_PAIRS]]), columns=_PAIRS)
    if hasattr(latents, "interpolate"):
        few = images[:_PAIRS]
        pairs = np.concatenate([few, latents.reconstruct(few)])
        shown["reconstruction"] = pictures.grid(pairs, columns=len(few))
        if len(few) >= 4:
            corners = latents.interpolate(few[:4], interpolation.square(_COLUMNS))
            shown["interpolation"] = pictures.grid(corners, columns=_COLUMNS)
    return shown
