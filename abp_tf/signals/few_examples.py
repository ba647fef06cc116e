"""Defaults of the training programs for kinds of which there is one example, or few, to learn from.

A generator takes a recording or a clip whole, or some crops of a photograph, few enough for each one's
chain to be visited often, with settings near those of `benchmarks.kinds`. Descriptors learn by
short-run chains, for a pool of whole signals would be as large as it is stale: of sounds and clips from
pieces, of a photograph from the whole, of which the border is a small part. One pass over so few
examples is short, so there is a least number of iterations in an epoch.
"""

from __future__ import annotations

# Preconditioned as for images: an energy summed over so many entries is too steep for a plain step of
# 0.1, or 0.05 for sounds, which throws latents so far that networks of these sizes saturate at once.
GENERATOR = {"expansion": 1.0, "batch_size": 4, "learning_rate": 1e-3, "epochs": 20}
DESCRIPTOR = {
    "activation": "leaky_relu", "chains": "short-run", "start_sigma": 0.3, "pool": 100, "steps": 60,
    "learning_rate": 5e-4, "batch_size": 8, "epochs": 20,
}  # fmt: skip
COOPNETS = {
    "descriptor_activation": "leaky_relu", "reference_sigma": 0.1, "steps": 20, "step_size": 0.01,
    "generator_rate": 3e-4, "descriptor_rate": 6e-4, "batch_size": 4, "epochs": 20,
}  # fmt: skip
