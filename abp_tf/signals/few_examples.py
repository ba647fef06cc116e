"""Defaults of the training programs for kinds of signal that are learned from one or few examples.

A generator learns from whole recordings and clips, or from some crops of a photograph. There are few of
them, so the chain of each is updated often. The settings are close to those of `benchmarks.kinds`.
Descriptors learn with short-run chains, because a pool of whole signals would be large and rarely
updated; they learn from pieces of sounds and clips, and from a whole photograph, of which the border is
a small part. One pass over few examples is short, so epochs have a least number of iterations.
"""

from __future__ import annotations

# Preconditioned as for images: an energy summed over so many entries is too steep for plain steps of
# 0.1, or 0.05 for sounds, which move the latents so far that these networks saturate immediately.
GENERATOR = {
    "steps": 6, "step_size": 0.5, "expansion": 1.0, "batch_size": 4, "learning_rate": 1e-3,
    "epochs": 20,
}  # fmt: skip
DESCRIPTOR = {
    "activation": "leaky_relu", "chains": "short-run", "start_sigma": 0.3, "pool": 100, "steps": 60,
    "learning_rate": 5e-4, "batch_size": 8, "epochs": 20,
}  # fmt: skip
COOPNETS = {
    "descriptor_activation": "leaky_relu", "reference_sigma": 0.1, "steps": 20, "step_size": 0.01,
    "generator_rate": 3e-4, "descriptor_rate": 6e-4, "batch_size": 4, "epochs": 20,
}  # fmt: skip
