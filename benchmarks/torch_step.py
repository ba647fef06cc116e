"""The step of `benchmarks.speed` in PyTorch, for comparison; only this module needs `torch`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import numpy as np

# Forms of the step: memory layout, precision and compilation.
FORMS = {
    "PyTorch, eager": {},
    "PyTorch, channels last": {"channels_last": True},
    "PyTorch, bfloat16, compiled": {"channels_last": True, "bfloat16": True, "compiled": True},
}


def step(
    images: np.ndarray,
    latent_dim: int,
    width: int,
    steps: int,
    *,
    channels_last: bool = False,
    bfloat16: bool = False,
    compiled: bool = False,
) -> Callable[[], float]:
    """Return a function that runs one iteration of alternating back-propagation, and its seconds.

    Network, energy, Langevin steps and optimizer are those of `benchmarks.speed.make`: transposed
    convolutions of 5×5 from 7×7 to 28×28, σ = 0.3, steps of 0.1, Adam at 1e-3.

    Args:
        images: float32 `[n, 28, 28, 1]` in [-1, 1].
        latent_dim: number of latents.
        width: channels of the finest feature map.
        steps: number of Langevin steps of an iteration.
        channels_last: whether maps have their channels last in memory.
        bfloat16: whether layers compute in bfloat16; chains and energies stay float32.
        compiled: whether `torch.compile` compiles the energy's gradient.
    """
    import torch
    from torch import nn

    torch.manual_seed(0)
    up = {"kernel_size": 5, "stride": 2, "padding": 2, "output_padding": 1}
    network = nn.Sequential(
        nn.Linear(latent_dim, 49 * 4 * width),
        nn.Unflatten(1, (4 * width, 7, 7)),
        nn.ELU(),
        nn.ConvTranspose2d(4 * width, 2 * width, **up),
        nn.ELU(),
        nn.ConvTranspose2d(2 * width, width, **up),
        nn.ELU(),
        nn.Conv2d(width, 1, 3, padding=1),
        nn.Tanh(),
    )
    signal = torch.from_numpy(np.moveaxis(images, -1, 1).copy())
    if channels_last:
        network, signal = (part.to(memory_format=torch.channels_last) for part in (network, signal))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, betas=(0.5, 0.999))
    latent = torch.randn(len(images), latent_dim)
    sigma, step_size = 0.3, 0.1

    def energy(latent):
        cast = torch.autocast("cpu", torch.bfloat16) if bfloat16 else contextlib.nullcontext()
        with cast:
            decoded = network(latent)
        error = (signal - decoded.float()).square().sum((1, 2, 3))
        return error / (2 * sigma**2) + latent.square().sum(1) / 2

    if compiled:
        energy = torch.compile(energy)

    def iterate() -> float:
        nonlocal latent
        began = time.perf_counter()
        for parameter in network.parameters():  # the chains need no gradient of the weights
            parameter.requires_grad_(False)
        for _ in range(steps):
            latent = latent.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(energy(latent).sum(), latent)
            noise = torch.randn_like(latent)
            latent = latent.detach() - step_size**2 / 2 * gradient + step_size * noise
        for parameter in network.parameters():
            parameter.requires_grad_(True)
        optimizer.zero_grad()
        energy(latent.detach()).mean().backward()
        optimizer.step()
        return time.perf_counter() - began

    return iterate
