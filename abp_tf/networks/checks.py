"""Checks of networks, whose errors contain what was expected, what was received, and a remedy."""

from __future__ import annotations

import keras


def trainable(model, owner: str) -> None:
    """Raise an error for networks that cannot be trained.

    Args:
        model: object to check.
        owner: name of the class that uses the network, for the message.

    Raises:
        ValueError: if it is no model, its shapes are unknown, it has no trainable weights, or it
        computes in float16.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"{owner} expected `network` to be a keras.Model, received {type(model).__name__}."
        )
    try:
        shapes = model.input_shape, model.output_shape
    except AttributeError:
        shapes = None, None
    if not all(isinstance(shape, tuple) and None not in shape[1:] for shape in shapes):
        raise ValueError(
            f"{owner} expected a network with known shapes of one input and one output, received "
            f"{shapes[0]} and {shapes[1]}. Build it with keras.Input, as a functional or Sequential "
            "model."
        )
    if not model.trainable_variables:
        raise ValueError(f"{owner} expected trainable weights in the network, received none.")
    for layer in model._flatten_layers():
        if layer.compute_dtype == "float16":
            raise ValueError(
                f"{owner} expected a network that does not compute in float16, in which energies "
                f"overflow, received one with such a layer, {layer.name!r}. Use the policy "
                "mixed_bfloat16 or float32."
            )


def independent_rows(model: keras.Model) -> None:
    """Raise an error for layers that make an example's output depend on its batch or on chance."""
    tied = (keras.layers.BatchNormalization, keras.layers.Dropout, keras.layers.GaussianDropout)
    for layer in model._flatten_layers():
        if isinstance(layer, (*tied, keras.layers.GaussianNoise)):
            raise ValueError(
                "Expected a network whose output for an example depends on the example alone, received "
                f"a layer {layer.name!r} of type {type(layer).__name__}. Build the network without it."
            )
