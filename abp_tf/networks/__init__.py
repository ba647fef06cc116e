"""ConvNets by kind of signal."""

from abp_tf.networks.descriptor import image_descriptor
from abp_tf.networks.image import SMOOTH, image_generator
from abp_tf.networks.linear import linear

__all__ = ["SMOOTH", "image_descriptor", "image_generator", "linear"]
