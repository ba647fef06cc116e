"""Measures of the quality of models: pure functions of NumPy arrays."""

from abp_tf.metrics import calibration, features, likelihood, perceptual
from abp_tf.metrics.distances import (
    PrecisionRecall,
    frechet_distance,
    kernel_distance,
    precision_recall,
)
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
from abp_tf.metrics.patches import nearest_patch_ratio, sliced_wasserstein
from abp_tf.metrics.spectra import PowerRatio, power_ratio

__all__ = [
    "PowerRatio",
    "PrecisionRecall",
    "Verdict",
    "absolute_error",
    "auc",
    "calibration",
    "features",
    "frechet_distance",
    "kernel_distance",
    "likelihood",
    "nearest_patch_ratio",
    "perceptual",
    "power_ratio",
    "precision_recall",
    "psnr",
    "reconstruction_error",
    "recovery_error",
    "sliced_wasserstein",
    "ssim",
    "verdict",
]
