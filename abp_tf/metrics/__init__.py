"""Measures of the quality of models: pure functions of NumPy arrays."""

from abp_tf.metrics import calibration, features, likelihood, perceptual
from abp_tf.metrics.distances import frechet_distance, kernel_distance
from abp_tf.metrics.errors import (
    Verdict,
    absolute_error,
    auc,
    psnr,
    reconstruction_error,
    recovery_error,
    ssim,
    verdict,
)

__all__ = [
    "Verdict",
    "absolute_error",
    "auc",
    "calibration",
    "features",
    "frechet_distance",
    "kernel_distance",
    "likelihood",
    "perceptual",
    "psnr",
    "reconstruction_error",
    "recovery_error",
    "ssim",
    "verdict",
]
