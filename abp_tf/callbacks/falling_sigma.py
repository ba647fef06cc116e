"""Let the noise that a generator assumes fall during the first epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import keras
import numpy as np
from numpy.typing import ArrayLike

from abp_tf import checks
from abp_tf.observation.bands import Mdct

# Channels to either side over which levels are averaged, because that of one channel is uncertain.
NEIGHBOURS = 4


class FallingSigma(keras.callbacks.Callback):
    """Let σ of a `Generator` fall from one value to another, each epoch by the same factor.

    A small σ from the beginning asks for detail before there is anything to correct, and a network may
    answer with silence, from which it hardly returns. σ depends on the epoch alone, so that a resumed
    training is one without interruption. For a model that learns σ itself (`learn_sigma`) use one of
    the two.

    Args:
        first: σ of the first epoch, a positive number or one for each channel of the data.
        last: σ at the end, likewise.
        share: share of the epochs in which σ falls, in (0, 1].

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> network = abp_tf.networks.image_generator((16, 16, 1), latent_dim=4, width=4)
        >>> model = abp_tf.Generator(network)
        >>> model.compile(optimizer="adam")
        >>> falling = abp_tf.callbacks.FallingSigma(first=0.4, last=0.1)
        >>> history = model.fit(images, epochs=2, callbacks=[falling], verbose=0)
        >>> round(model.sigma, 3)
        0.126
    """

    def __init__(
        self, first: float | Sequence[float], last: float | Sequence[float], share: float = 0.6
    ):
        super().__init__()
        self.first = np.asarray(checks.deviations("FallingSigma", "first", first))
        self.last = np.asarray(checks.deviations("FallingSigma", "last", last))
        self.share = checks.share("FallingSigma", "share", share)
        checks.positive("FallingSigma", "share", share)

    @classmethod
    def to_levels(
        cls,
        bands: Mdct,
        sounds: ArrayLike,
        mask: ArrayLike | None = None,
        *,
        first: float,
        share: float = 0.6,
    ) -> Self:
        """Return a callback for σ that ends at the level of each band, and not above `first`.

        What is quieter than σ is nothing but noise to a model. So σ of a band of frequencies that is
        quiet has to be small, for synthesized sounds to be quiet there.

        Args:
            bands: the bands of the model, such as `abp_tf.Mdct(512)`.
            sounds: the training sounds, float `[n, samples, 1]`.
            mask: bool `[n, samples]` or `[n, samples, 1]`, True where a sample is observed; None if all
                are. Levels are those of windows without a hidden sample; if there is none, σ stays.
            first: σ of the first epoch, a positive number.
            share: share of the epochs in which σ falls.

        Raises:
            ValueError: if an argument is out of its range.
        """
        sounds = np.asarray(sounds, np.float32)
        observed = np.ones(sounds.shape, bool)
        if mask is not None:
            observed &= np.reshape(mask, (*np.shape(mask)[:2], 1)).astype(bool)
        known = bands.known(observed.astype(np.float32)).numpy()
        if not known.any():
            return cls(first, first, share)
        coefficients = bands(np.where(observed, sounds, 0)).numpy()
        total = np.sum(np.square(coefficients * known, dtype=np.float64), axis=(0, 1))
        squares = total / known.sum()
        levels = 0.5 * np.log(np.maximum(squares, np.max(squares) * 1e-12))
        width = 2 * NEIGHBOURS + 1
        smooth = np.convolve(np.pad(levels, NEIGHBOURS, "edge"), np.ones(width) / width, "valid")
        return cls(first, np.minimum(first, np.exp(smooth)).tolist(), share)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Set σ of the epoch, and estimate the preconditioner that depends on it."""
        done = min(epoch / (self.share * self.params["epochs"]), 1.0)
        self.model.sigma = (self.first ** (1 - done) * self.last**done).tolist()
        if epoch and self.model.preconditioning:
            self.model.precondition()
