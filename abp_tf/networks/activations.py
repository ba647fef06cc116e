"""Activations that a precision asks for."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf


def quick(activation: str, dtype: str | keras.DTypePolicy | None) -> str | Callable:
    """Return what computes an activation fast in the precision of a layer.

    Args:
        activation: its name.
        dtype: policy of the layer, Keras's global one if None.

    Returns:
        For ELU in bfloat16 `elu`; else the name.
    """
    policy = keras.config.dtype_policy() if dtype is None else keras.dtype_policies.get(dtype)
    return elu if activation == "elu" and policy.compute_dtype == "bfloat16" else activation


@keras.saving.register_keras_serializable(package="abp_tf")
def elu(x: tf.Tensor) -> tf.Tensor:
    """ELU whose values are computed in float32, whatever the type of `x`, and rounded to that.

    On CPUs TensorFlow's own takes twice as long for bfloat16 as for float32, more than the ways there
    and back. Its gradient, which needs no exponential, is quick in either.

    Example:
        >>> elu(tf.constant([-1.0, 2.0], tf.bfloat16)).dtype
        tf.bfloat16
    """
    return _elu(x)


@tf.custom_gradient
def _elu(x):
    y = tf.cast(tf.nn.elu(tf.cast(x, tf.float32)), x.dtype)
    return y, lambda upstream: tf.raw_ops.EluGrad(gradients=upstream, outputs=y)
