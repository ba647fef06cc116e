"""Several answers to one question: the best of some chains, or draws from the posterior."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from abp_tf import checks, signatures
from abp_tf.sampling import Langevin

# Chain s of a row with the seed i has the seed i + s · 2⁴⁰, which no other row is likely to have.
APART = 2**40
# A chain that gives several samples makes a FURTHER-th of its steps between them.
FURTHER = 10


class Completions(NamedTuple):
    """Draws from the posterior of whole signals, and what they agree on.

    A draw is `g(z)` with `z` drawn from the posterior, without the noise `σ ε` of single entries:
    `√(deviation² + σ²)` is how far the signal itself is expected from the mean.

    Attributes:
        samples: float32 `[n, k, *signal_shape]`.
        mean: over the k samples, `[n, *signal_shape]`.
        deviation: standard deviation over the k samples, same shape.
    """

    samples: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray


class PosteriorChains:
    """A mixin for `LatentAnswers`: chains of latents, one or more for each row."""

    def _whole(
        self, data, seed, batch_size, verbose, samples, restarts, chains
    ) -> np.ndarray | Completions:
        """Decode the best latents of each row, or draws from their posterior."""
        if samples is None:
            if chains is not None:
                raise ValueError(f"`chains` are those of `samples`; received {chains} without samples.")
            return self._decoded(self._best(data, seed, batch_size, verbose, restarts), batch_size)
        if restarts != 1:
            raise ValueError(
                f"`samples` are draws from the posterior, of which none is better than another: "
                f"expected restarts=1 with them, received {restarts}."
            )
        chains = samples if chains is None else chains
        latents = self._draws(data, seed, batch_size, verbose, samples, chains)
        whole = self._decoded(latents.reshape(-1, *self.latent_shape), batch_size)
        whole = whole.reshape(-1, samples, *self.signal_shape)
        return Completions(whole, whole.mean(axis=1), whole.std(axis=1))

    def _draws(self, data, seed, batch_size, verbose, samples: int, chains: int) -> np.ndarray:
        """Draw latents from the posterior of each row, `[n, samples, *latent_shape]`."""
        _check_count("samples", samples)
        _check_count("chains", chains)
        if samples % chains:
            raise ValueError(f"`chains` expected a divisor of samples={samples}, received {chains}.")
        langevin = self.inference.for_draws()
        further = langevin.with_steps(-(-langevin.steps // FURTHER))
        seeds = self._seeds(data, seed, samples)
        ask = functools.partial(self._chains, data, batch_size=batch_size, verbose=verbose)
        drawn = [ask(seeds[:, :chains], langevin=langevin)["latent"]]
        for at in range(chains, samples, chains):
            drawn.append(ask(seeds[:, at : at + chains], langevin=further, start=drawn[-1])["latent"])
        return np.concatenate(drawn, axis=1)

    def _best(self, data, seed, batch_size, verbose, restarts) -> np.ndarray:
        """Return the latents of least energy of each row, `[n, *latent_shape]`."""
        _check_count("restarts", restarts)
        seeds = self._seeds(data, seed, restarts)
        found = self._chains(data, seeds, batch_size, verbose)
        latents = found["latent"]
        if restarts == 1:
            return latents[:, 0]
        shape = data.signal.shape
        seen = np.ones(shape, bool) if data.mask is None else np.broadcast_to(data.mask, shape)
        entries = seen.reshape(len(seen), -1).sum(axis=1)
        misfit = found["error"] * entries[:, None] / (2 * self.sigma**2)
        prior = np.square(latents).reshape(*latents.shape[:2], -1).sum(axis=2) / 2
        return latents[np.arange(len(latents)), np.argmin(misfit + prior, axis=1)]

    def _seeds(self, data, seed, count: int) -> np.ndarray:
        """Return the seeds `[n, count]` of several answers to each row."""
        return checks.seeds(seed, len(data.signal))[:, None] + np.arange(count) * APART

    def _chains(
        self, data, seeds, batch_size, verbose, langevin: Langevin | None = None, start=None
    ) -> dict[str, np.ndarray]:
        """Run chains for each row, by seeds `[n, count]`, from the prior or from latents `start`.

        Returns:
            "latent" and "error", `[n, count, ...]`.
        """
        count = seeds.shape[1]
        inputs, name = [data.signal, seeds.reshape(-1)], "reconstruct"
        if data.mask is not None or start is not None:
            mask = np.True_ if data.mask is None else data.mask
            inputs.insert(1, np.broadcast_to(mask, data.signal.shape))
            name = "infer"
        if start is not None:
            inputs.append(start.reshape(-1, *self.latent_shape))
            name = "proceed"
        answer = self._ask(name, inputs, batch_size, verbose, langevin, ("latent", "error"))
        # Observed entries are returned as they came, so only what was inferred can have gone wrong.
        if not np.isfinite(answer["latent"]).all():
            raise checks.DivergenceError(
                "Latents left the finite numbers during inference. Lower the step size: "
                f"`model.inference` is {self.inference}."
            )
        return {key: part.reshape(-1, count, *part.shape[1:]) for key, part in answer.items()}

    def _decoded(self, latents, batch_size: int = 100) -> np.ndarray:
        return self._ask("decode", [latents], batch_size)["signal"]

    def _ask(self, name, inputs, batch_size=100, verbose=0, langevin=None, outputs=None) -> dict:
        """Run one signature over rows of `inputs`, `batch_size` at a time."""
        if self._functions is None:
            self._functions = {}
        if langevin not in self._functions:
            functions = signatures.functions(self, langevin=langevin, exported=False)
            self._functions[langevin] = functions
        return signatures.ask(self._functions[langevin][name], inputs, batch_size, verbose, outputs)


def _check_count(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"`{name}` expected an integer of 1 or more, received {value!r}.")
