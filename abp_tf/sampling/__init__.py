"""Markov chains: samplers of densities that are known by an energy. Nothing here knows a model."""

from abp_tf.sampling.adam import Descent
from abp_tf.sampling.base import Info, Sampler
from abp_tf.sampling.hmc import HMC
from abp_tf.sampling.langevin import Langevin
from abp_tf.sampling.mala import MALA

__all__ = ["HMC", "MALA", "Descent", "Info", "Langevin", "Sampler"]
