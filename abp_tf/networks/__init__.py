"""ConvNets by kind of signal."""

from abp_tf.networks.image import image_generator
from abp_tf.networks.linear import linear

__all__ = ["image_generator", "linear"]
