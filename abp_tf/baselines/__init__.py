"""Baselines: PCA, VAE and GAN for generators, optimal interpolation and DINEOF for fields with gaps.

All learn from the same incomplete data.
"""

from abp_tf.baselines.dineof import DINEOF
from abp_tf.baselines.gan import GAN
from abp_tf.baselines.optimal_interpolation import OptimalInterpolation
from abp_tf.baselines.pca import PCA
from abp_tf.baselines.vae import VAE
from abp_tf.sampling import Descent

__all__ = ["DINEOF", "GAN", "PCA", "VAE", "Descent", "OptimalInterpolation"]
