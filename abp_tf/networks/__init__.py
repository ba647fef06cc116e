"""ConvNets for each kind of signal."""

from abp_tf.networks.autoencoder import autoencoder_energy
from abp_tf.networks.blocks import SMOOTH
from abp_tf.networks.descriptor import image_descriptor
from abp_tf.networks.dynamic import dynamic_generator
from abp_tf.networks.encoder import encoder
from abp_tf.networks.field import field_generator
from abp_tf.networks.frames import frame_by_frame
from abp_tf.networks.image import image_generator
from abp_tf.networks.latent_energy import latent_energy
from abp_tf.networks.linear import linear
from abp_tf.networks.local import SplitLatents, latent_blocks
from abp_tf.networks.sizes import free, reach, resizable, resized
from abp_tf.networks.sound import sound_descriptor, sound_generator
from abp_tf.networks.texture import texture_descriptor, texture_generator
from abp_tf.networks.video import video_descriptor, video_generator
from abp_tf.networks.volume import volume_descriptor, volume_generator

__all__ = [
    "SMOOTH",
    "SplitLatents",
    "autoencoder_energy",
    "dynamic_generator",
    "encoder",
    "field_generator",
    "frame_by_frame",
    "free",
    "image_descriptor",
    "image_generator",
    "latent_blocks",
    "latent_energy",
    "linear",
    "reach",
    "resizable",
    "resized",
    "sound_descriptor",
    "sound_generator",
    "texture_descriptor",
    "texture_generator",
    "video_descriptor",
    "video_generator",
    "volume_descriptor",
    "volume_generator",
]
