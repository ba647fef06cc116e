"""Baselines for generators: PCA, VAE and GAN, trained on the same incomplete data."""

from abp_tf.baselines.gan import GAN
from abp_tf.baselines.pca import PCA
from abp_tf.baselines.vae import VAE
from abp_tf.sampling import Descent

__all__ = ["GAN", "PCA", "VAE", "Descent"]
