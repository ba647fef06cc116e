"""Fields on a grid with real gaps: a linear model, and the choice of its settings by moved gaps."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from abp_tf.fields.choice import Choice, choose, memory, widening
    from abp_tf.fields.model import FieldModel, FieldSettings

# Imported when asked for, because they need SciPy.
_LATER = {
    "Choice": "abp_tf.fields.choice",
    "FieldModel": "abp_tf.fields.model",
    "FieldSettings": "abp_tf.fields.model",
    "choose": "abp_tf.fields.choice",
    "memory": "abp_tf.fields.choice",
    "widening": "abp_tf.fields.choice",
}

__all__ = ["Choice", "FieldModel", "FieldSettings", "choose", "memory", "widening"]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LATER[name]), name)
