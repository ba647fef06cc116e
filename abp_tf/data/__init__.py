"""Where signals come from.

`load` reads images by name, `load_texture`, `load_sound`, `load_video` and `load_volume` signals of
other kinds; `SOURCES_HELP` and its like list the names. How arrays become an indexed `tf.data` pipeline
is in `abp_tf.data.examples`.
"""

from abp_tf.data.collect import Signals
from abp_tf.data.convert import fit_to, to_uint8
from abp_tf.data.sound import SOUND_SOURCES_HELP, load_sound
from abp_tf.data.sources import SOURCES, SOURCES_HELP, load
from abp_tf.data.texture import TEXTURE_SOURCES_HELP, load_texture
from abp_tf.data.video import VIDEO_SOURCES_HELP, load_video
from abp_tf.data.volume import VOLUME_SOURCES_HELP, load_volume

Images = Signals  # what programs that know no other kind call them

__all__ = [
    "SOUND_SOURCES_HELP",
    "SOURCES",
    "SOURCES_HELP",
    "TEXTURE_SOURCES_HELP",
    "VIDEO_SOURCES_HELP",
    "VOLUME_SOURCES_HELP",
    "Images",
    "Signals",
    "fit_to",
    "load",
    "load_sound",
    "load_texture",
    "load_video",
    "load_volume",
    "to_uint8",
]
