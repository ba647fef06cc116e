"""Run compiled functions over the rows of arrays, batch by batch."""

from __future__ import annotations

import keras
import numpy as np


def run(function, inputs: list, batch_size: int = 100, verbose: int = 0, outputs=None) -> dict:
    """Run a function over the rows of arrays, batch by batch.

    Args:
        function: a `tf.function` with an input signature that returns a dict of tensors; all inputs
            and outputs have the batch axis first.
        inputs: one array per input, with `n` rows each; an array with `n / k` rows has each row used k
            times.
        batch_size: number of rows that are computed at a time; it bounds memory and does not change the
            result.
        verbose: 1 shows a progress bar.
        outputs: names of the outputs to return; None returns all.

    Returns:
        NumPy arrays of `n` rows by name.
    """
    dtypes = [spec.dtype.as_numpy_dtype for spec in function.input_signature]
    count = max(len(part) for part in inputs)
    progress = keras.utils.Progbar(count, verbose=verbose, unit_name="row")
    found = []
    for start in range(0, count, batch_size):
        chosen = np.arange(start, min(start + batch_size, count))
        batch = [
            part[chosen * len(part) // count].astype(dtype)
            for part, dtype in zip(inputs, dtypes, strict=True)
        ]
        returned = function(*batch)
        found.append({name: returned[name].numpy() for name in outputs or returned})
        progress.update(int(chosen[-1]) + 1)
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}
