"""Samplers of densities that are given by an energy. They do not depend on any model."""

from abp_tf.sampling.adam import Descent
from abp_tf.sampling.base import Info, Sampler
from abp_tf.sampling.hmc import HMC
from abp_tf.sampling.langevin import Langevin
from abp_tf.sampling.mala import MALA
from abp_tf.sampling.underdamped import Underdamped

__all__ = ["HMC", "MALA", "Descent", "Info", "Langevin", "Sampler", "Underdamped"]
