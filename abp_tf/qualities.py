"""Qualities of recovery: how many posterior samples are drawn, by how many chains of how many steps."""

from __future__ import annotations

from typing import NamedTuple

from . import checks

DEFAULT = "balanced"


class Quality(NamedTuple):
    """Numbers of samples, chains and steps that one row of data is recovered by.

    Attributes:
        samples: number of samples of each row, a multiple of `chains`.
        chains: number of chains that draw them, in pairs.
        cold: steps before the first sample of a chain that begins at a draw from the prior, as a share
            of the steps of the sampler `inference`.
        warm: the same of a chain that begins where an encoder says.
        further: steps between two samples of one chain, likewise.
    """

    samples: int
    chains: int
    cold: float
    warm: float
    further: float

    def steps(self, steps: int, warm: bool) -> tuple[int, int]:
        """Return the number of steps before the first sample of a chain, and before each further one.

        Args:
            steps: steps of the sampler `inference`.
            warm: whether chains begin where an encoder says.

        Example:
            >>> QUALITIES["best"].steps(200, warm=True)
            (20, 10)
        """
        first = self.warm if warm else self.cold
        return max(1, round(first * steps)), max(1, round(self.further * steps))


QUALITIES = {
    "fast": Quality(samples=8, chains=4, cold=0.5, warm=0.025, further=0.025),
    "balanced": Quality(samples=32, chains=4, cold=1.0, warm=0.05, further=0.025),
    "best": Quality(samples=48, chains=8, cold=1.0, warm=0.1, further=0.05),
}


def choose(quality: str, samples: int | None = None, chains: int | None = None) -> Quality:
    """Return a quality, with other numbers of samples or chains if they are given.

    Args:
        quality: one of `QUALITIES`.
        samples: number of samples of each row; None means that of the quality.
        chains: number of chains of each row; None means that of the quality.

    Raises:
        ValueError: if the quality is not known, or the numbers do not fit together.
    """
    if quality not in QUALITIES:
        raise ValueError(f"`quality` expected one of {', '.join(QUALITIES)}, received {quality!r}.")
    found = QUALITIES[quality]
    given = {"samples": samples, "chains": chains}
    for name, value in given.items():
        if value is not None:
            checks.integer("sample_posterior", name, value, 1)
            found = found._replace(**{name: value})
    if found.samples % found.chains:
        raise ValueError(
            f"sample_posterior expected `chains` to be a divisor of samples={found.samples}, received "
            f"{found.chains}."
        )
    return found


def signature(quality: str) -> str:
    """Return the name of the function of an export that fills in hidden entries with a quality.

    Example:
        >>> signature("balanced"), signature("best")
        ('inpaint', 'inpaint_best')
    """
    choose(quality)
    return "inpaint" if quality == DEFAULT else f"inpaint_{quality}"
