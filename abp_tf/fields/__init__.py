"""Fields on a grid with real gaps: a linear model, and the choice of its settings by moved gaps."""

from abp_tf.fields.choose import Choice, choose, widening
from abp_tf.fields.model import FieldModel, FieldSettings

__all__ = ["Choice", "FieldModel", "FieldSettings", "choose", "widening"]
