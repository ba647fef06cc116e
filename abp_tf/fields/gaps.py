"""Moved gaps: hide observed entries as the gaps of other frames would, to compare settings."""

from __future__ import annotations

import numpy as np

SPEC = "moved"  # the name of such masks in programs
_MOST = 0.6  # largest share of a frame's observed entries that moved gaps hide
_WHOLE = 0.2  # probability that a frame is hidden whole, relative to the share of empty frames


def moved(mask: np.ndarray, seed: int = 0, *, every: bool = False) -> np.ndarray:
    """Choose observed entries to hide: in each frame those that another frame has hidden.

    Errors at these entries, which a method must not use, estimate its errors in the real gaps, because
    the gaps have the same sizes and shapes. By default they are moved to the clearer half of the
    frames, since the others would have fewer observed entries left than real frames have. Of the other
    frames, in random order, the first is taken that hides some of the observed entries, and at most
    60 % of them. Where frames have no observation at all, a frame is hidden whole with a fifth of the
    probability of such frames.

    Args:
        mask: bool `[n, *axes, channels]`, True where observed.
        seed: seed of the choice of frames.
        every: whether gaps are moved to all frames, not only to the clearer half.

    Returns:
        bool, same shape: True where an observed entry is to be hidden. A frame stays as it is if no gap
        of another frame fits, and a channel if nothing of it would be left.

    Raises:
        ValueError: if no frame gets a gap.

    Example:
        >>> mask = np.ones((2, 4, 4, 1), bool)
        >>> mask[0, :2] = False
        >>> moved(mask).sum(axis=(1, 2, 3)).tolist()
        [0, 8]
    """
    mask = np.asarray(mask, bool)
    random = np.random.default_rng(seed)
    held = np.zeros_like(mask)
    totals = mask.reshape(len(mask), -1).sum(1)
    empty = np.mean(totals == 0)
    for number in np.flatnonzero(totals >= (0 if every else np.median(totals))):
        observed, total = mask[number], totals[number]
        if empty and random.random() < _WHOLE * empty:
            held[number] = observed
            continue
        for other in random.permutation(len(mask)):
            hidden = observed & ~mask[other]
            if 0 < hidden.sum() <= _MOST * total:
                held[number] = hidden
                break
    # What is observed of a channel is never hidden altogether.
    some = tuple(range(mask.ndim - 1))
    held &= (mask & ~held).any(axis=some)
    if not held.any():
        raise ValueError(
            "Expected frames with different gaps, to choose settings by gaps moved from one frame to "
            "another, received frames whose gaps are all alike. Give settings instead of choosing "
            "them, such as `latents=0`, --latents 0."
        )
    return held
