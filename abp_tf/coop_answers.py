"""What a generator and a descriptor are asked together once they have learned."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from abp_tf import checks
from abp_tf.sampling import Langevin
from abp_tf.sampling.random import CHAIN, REVISION, row_seeds
from abp_tf.signal_answers import RevisedAnswers, partial


class CoopAnswers(RevisedAnswers):
    """Methods, for models with `generator` and `descriptor`, that take and return arrays."""

    def synthesize(
        self, count: int, seed=0, revised=True, steps=None, batch_size: int = 100, verbose: int = 0
    ):
        """Draw signals: the generator's, revised by the descriptor.

        Args:
            count: number of signals.
            seed: an integer, for the seeds `seed + arange(count)`, or `count` integers.
            revised: False returns the generator's drafts.
            steps: of the revision, those of training by default.
            batch_size: rows at a time.
            verbose: 1 shows a progress bar.

        Returns:
            float32 `[count, *signal_shape]`.
        """
        if not revised:
            return self.generator.synthesize(count, seed, batch_size, verbose)
        if count < 1:
            raise ValueError(f"synthesize expected a count of 1 or more, received {count}.")
        seeds = checks.seeds(seed, count)
        return self._ask("synthesize", [seeds], steps, batch_size, verbose)["signal"]

    def inpaint(self, signals, mask, seed=0, steps=None, batch_size: int = 100, verbose: int = 0):
        """Fill in what is hidden: by the generator, then revised by the descriptor.

        Latents are inferred from what is observed, as `Generator.inpaint` does; the hidden entries
        they decode to are revised given the observed ones.

        Args:
            signals: see `Generator.infer`, as for `mask`, `seed`, `batch_size` and `verbose`.
            mask: see above; 1 = observed, 0 = hidden.
            seed: see above.
            steps: of the revision, those of training by default.
            batch_size: see above.
            verbose: see above.

        Returns:
            float32 `[n, *signal_shape]`, observed entries untouched.
        """
        inputs = partial(self, signals, mask, seed)
        return self._ask("inpaint", inputs, steps, batch_size, verbose)["signal"]

    def infer(self, *args, **kwargs):
        """Infer the latents of signals; see `Generator.infer`."""
        return self.generator.infer(*args, **kwargs)

    def reconstruct(self, *args, **kwargs):
        """Infer the latents of signals and decode them; see `Generator.reconstruct`."""
        return self.generator.reconstruct(*args, **kwargs)

    def interpolate(self, *args, **kwargs):
        """Decode combinations of latents; see `Generator.interpolate`."""
        return self.generator.interpolate(*args, **kwargs)

    def refine(self, *args, **kwargs):
        """Revise signals; see `Descriptor.refine`."""
        return self.descriptor.refine(*args, **kwargs)

    def score(self, *args, **kwargs):
        """Tell `f(x)` and the energy; see `Descriptor.score`."""
        return self.descriptor.score(*args, **kwargs)

    def complete(
        self, signal, mask, seed, langevin: Langevin
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Infer latents from what is observed; decode, and revise, what is hidden.

        Args:
            signal: float32 `[n, *signal_shape]`; hidden entries may hold anything.
            mask: float32 of 1 (observed) and 0 (hidden) that broadcasts against `signal`.
            seed: int64 `[n]`, one per row.
            langevin: of the revision.

        Returns:
            the completed signals, observed entries untouched; the latents; and the mean squared error
            of what they decode to per observed entry, `[n]`.
        """
        latent, decoded, error = self.generator.posterior(signal, mask, seed)
        seeds = row_seeds(seed, REVISION)  # CHAIN is that of the latents
        return self.descriptor.fill(decoded, signal, mask, langevin, seeds), latent, error

    def signatures(self, steps: int | None = None) -> dict:
        """Return the functions that answer, and the specs of their inputs.

        They are `synthesize(seed)`, `reconstruct(signal, seed)`, `inpaint(signal, mask, seed)`,
        `decode(latent)`, `refine(signal, seed)` and `score(signal)`.

        Args:
            steps: of revisions, in the place of those of training.
        """
        change = {} if steps is None else {"steps": steps}
        langevin = dataclasses.replace(self.langevin, **change)
        parts = [*self.generator.signatures().items(), *self.descriptor.signatures(steps).items()]
        # By name; of those that both have, the generator's.
        parts = {function.__name__: (function, specs) for function, specs in reversed(parts)}
        draft, filled = parts.pop("synthesize"), parts.pop("inpaint")

        def synthesize(seed):
            answer = draft[0](seed)
            seeds = row_seeds(seed, CHAIN)
            revised, _ = langevin.sample(self.descriptor.energy, answer["signal"], seeds)
            return {**answer, "signal": revised}

        def inpaint(signal, mask, seed):
            mask = tf.cast(mask > 0.5, tf.float32)
            whole, latent, error = self.complete(signal, mask, seed, langevin)
            return {"signal": whole, "latent": latent, "error": error}

        return {synthesize: draft[1], inpaint: filled[1], **dict(parts.values())}

    def _dynamics(self) -> tuple[Langevin, ...]:
        return self.generator.inference, self.langevin
