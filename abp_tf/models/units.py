"""Functions of a batch that take and return signals in the units of the data."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable

import tensorflow as tf

from abp_tf.scaling import Scaling

# Outputs of functions that are in the units of signals; all others are latents, scores and the like.
_SIGNALS = ("signal", "samples", "mean")
_DEVIATIONS = ("deviation", "sigma")


def in_units_of_data(scaling: Scaling | None, function: Callable, specs: list) -> tuple[Callable, list]:
    """Return a function of a batch, with its specs, that scales its signals and restores its results.

    Observed entries of what it returns are those that it was given, bit for bit. If the scaling has a
    period, the function has one more input, `time`, float64 `[n]`, the last one.

    Args:
        scaling: scaling of a model; None returns the function as it is.
        function: function in scaled units, as a model's `signatures` returns them.
        specs: specs of its inputs, in their order.
    """
    if scaling is None:
        return function, specs
    if scaling.period is not None:
        specs = [*specs, tf.TensorSpec([None], tf.float64, name="time")]

    @functools.wraps(function)
    def converted(*inputs):
        given = dict(zip((spec.name for spec in specs), inputs, strict=True))
        time = given.pop("time", None)
        found = function(*_scaled(scaling, given, time).values())
        # Samples alone, without their mean, are those of the decoded signal, observed entries too.
        complete = _SIGNALS if "samples" not in found or "mean" in found else ()

        def restored(name, part):
            if name in _DEVIATIONS:
                return scaling.restore_deviation(part)
            if name not in _SIGNALS:
                return part
            part = scaling.restore(part, time)
            if "mask" not in given or name not in complete:
                return part
            signal, observed = given["signal"], given["mask"] > 0.5
            if name == "samples":
                signal, observed = signal[:, None], observed[:, None]
            return tf.where(observed, signal, part)

        return {name: restored(name, part) for name, part in found.items()}

    # TensorFlow names the inputs of a function by its parameters.
    names = [inspect.Parameter(spec.name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for spec in specs]
    converted.__signature__ = inspect.Signature(names)  # type: ignore[attr-defined]  # `inspect` reads it
    return converted, specs


def _scaled(scaling: Scaling, given: dict, time) -> dict:
    return {name: scaling.scale(one, time) if name == "signal" else one for name, one in given.items()}
