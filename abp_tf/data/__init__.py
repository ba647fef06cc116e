"""Load signals by the name of their source.

`load` reads images; `load_texture`, `load_sound`, `load_video` and `load_volume` read the other kinds.
`SOURCES_HELP` and the like list the names. `load_field` reads fields with holes on a grid, in their own
units, and `load_fields` scales them for programs. `LazyRows` are read when they are needed:
`load(lazy=True)` and `lazy_field` return them, and `unreadable` lists images that cannot be read.
`abp_tf.data.examples` checks arrays, and `abp_tf.data.ordering` turns them into batches with indices.
"""

from abp_tf.data.collect import Signals
from abp_tf.data.convert import fit_to, to_uint8
from abp_tf.data.field import Field, load_field
from abp_tf.data.field_rows import lazy_field
from abp_tf.data.field_source import FIELD_SOURCES_HELP, load_fields
from abp_tf.data.folder_rows import unreadable
from abp_tf.data.lazy import LazyRows, UnreadableError
from abp_tf.data.sound import SOUND_SOURCES_HELP, load_sound
from abp_tf.data.sources import SOURCES, SOURCES_HELP, load
from abp_tf.data.texture import TEXTURE_SOURCES_HELP, load_texture
from abp_tf.data.video import VIDEO_SOURCES_HELP, load_video
from abp_tf.data.volume import VOLUME_SOURCES_HELP, load_volume

Images = Signals  # the name in programs that take images only

__all__ = [
    "FIELD_SOURCES_HELP",
    "SOUND_SOURCES_HELP",
    "SOURCES",
    "SOURCES_HELP",
    "TEXTURE_SOURCES_HELP",
    "VIDEO_SOURCES_HELP",
    "VOLUME_SOURCES_HELP",
    "Field",
    "Images",
    "LazyRows",
    "Signals",
    "UnreadableError",
    "fit_to",
    "lazy_field",
    "load",
    "load_field",
    "load_fields",
    "load_sound",
    "load_texture",
    "load_video",
    "load_volume",
    "to_uint8",
    "unreadable",
]
