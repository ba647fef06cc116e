"""What the programs do by default with textures, sounds and clips, where it is not as with images.

As a rule there is one photograph, recording or clip to learn from. A generator takes it whole, or some
crops of a photograph, few enough for each one's chain to be visited often, with settings near those of
`benchmarks.kinds`. Descriptors learn by short-run chains, for a pool of whole signals would be as
large as it is stale: of sounds and clips from pieces, of a photograph from the whole, of which the
border is a small part. One pass over so few examples is short, so there is a least number of iterations
in an epoch. What is None the network has by itself.

Change numbers here; the programs' --help tells them.
"""

from __future__ import annotations

_TOP_DOWN = {
    **dict.fromkeys(("data", "latent_dim", "width", "kernel_size", "hidden")),
    "activation": "silu",
}
# Preconditioned as for images: an energy summed over so many entries is too steep for a plain step of
# 0.1, or 0.05 for sounds, which throws latents so far that networks of these sizes saturate at once.
_GENERATOR = {
    **_TOP_DOWN,
    "expansion": 1.0,
    "batch_size": 4,
    "learning_rate": 1e-3,
    "epochs": 20,
}
_DESCRIPTOR = {
    **dict.fromkeys(("data", "width", "kernel_size")),
    "chains": "short-run",
    "start_sigma": 0.3,
    "pool": 100,
    "steps": 60,
    "learning_rate": 5e-4,
    "batch_size": 8,
    "epochs": 20,
}
_COOPNETS = {
    **_TOP_DOWN,
    **dict.fromkeys(("descriptor_width", "descriptor_kernel_size")),
    "reference_sigma": 0.1,
    "steps": 20,
    "step_size": 0.01,
    "generator_rate": 3e-4,
    "descriptor_rate": 6e-4,
    "batch_size": 4,
    "epochs": 20,
}

_BRICK = {"data": "brick", "size": 224}
_CLIP = {"size": 64}

# By kind and program.
DEFAULTS: dict[str, dict[str, dict]] = {
    "image": {"generator": {}, "descriptor": {}, "coopnets": {}},
    "texture": {
        "generator": {
            **_GENERATOR, **_BRICK, "patch": 128, "patches": 24, "padding": "valid",
            "latent_dim": 3, "width": 24, "sigma": 0.15, "learning_rate": 3e-3, "weight_decay": 4.0,
            "inference_steps": 40, "inference_cool": 20, "least_steps_per_epoch": 50,
            "curve_every": 20, "picture_every": 10,
        },
        "descriptor": {
            **_DESCRIPTOR, **_BRICK, "width": 32, "levels": 3, "start_sigma": 0.1, "steps": 40,
            "learning_rate": 3.5e-4, "batch_size": 1, "epochs": 10, "least_steps_per_epoch": 50,
            "picture_every": 1,
        },
        "coopnets": {
            **_COOPNETS, **_BRICK,
            "latent_dim": 3, "width": 24, "kernel_size": 6, "padding": "valid", "sigma": 0.3,
            "descriptor_width": 32, "descriptor_levels": 3, "reference_sigma": 1.0,
            "generator_rate": 1e-4, "descriptor_rate": 5e-4, "batch_size": 1, "epochs": 10,
            "least_steps_per_epoch": 50, "curve_every": 5, "picture_every": 2,
        },
    },
    "sound": {
        "generator": {
            **_GENERATOR,
            "latent_dim": 8, "width": 48, "sigma": 0.05, "weight_decay": 8.0,
            "least_steps_per_epoch": 30,
        },
        "descriptor": {**_DESCRIPTOR, "length": 10_000, "least_steps_per_epoch": 20},
        "coopnets": {
            **_COOPNETS, "length": 20_000,
            "latent_dim": 4, "width": 32, "sigma": 0.1, "latent_step_size": 0.05,
            "least_steps_per_epoch": 20,
        },
    },
    "video": {
        "generator": {
            **_GENERATOR, **_CLIP,
            "latent_dim": 20, "width": 16, "padding": "valid", "sigma": 0.3, "step_size": 0.3,
            "weight_decay": 4.0, "batch_size": 2, "least_steps_per_epoch": 18,
        },
        "descriptor": {
            **_DESCRIPTOR, **_CLIP, "length": 32,
            "steps": 30, "batch_size": 4, "least_steps_per_epoch": 10,
        },
        "coopnets": {
            **_COOPNETS, **_CLIP, "length": 32,
            "latent_dim": 20, "width": 16, "sigma": 0.3, "least_steps_per_epoch": 15,
        },
    },
}  # fmt: skip
