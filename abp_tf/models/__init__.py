"""The models: `Generator`, `Descriptor`, `CoopNets`."""

from abp_tf.models.coopnets import CoopNets
from abp_tf.models.descriptor import Descriptor
from abp_tf.models.energy_prior import EnergyPrior
from abp_tf.models.generator import Generator
from abp_tf.models.prior import Prior
from abp_tf.models.time_prior import TimePrior

__all__ = ["CoopNets", "Descriptor", "EnergyPrior", "Generator", "Prior", "TimePrior"]
