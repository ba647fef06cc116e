"""Where signals come from.

`load` reads images by name; `SOURCES` and `SOURCES_HELP` list the names. How arrays become an
indexed `tf.data` pipeline is in `abp_tf.data.pipeline`.
"""

from abp_tf.data.convert import fit_to, to_uint8
from abp_tf.data.sources import SOURCES, SOURCES_HELP, Images, load

__all__ = ["SOURCES", "SOURCES_HELP", "Images", "fit_to", "load", "to_uint8"]
