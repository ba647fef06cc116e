"""Export models as SavedModels, and call those that a server runs."""

import importlib
from collections.abc import Callable

# Modules by the format they write, each with a function
# `export(model, path, *, examples=None, **options)`.
EXPORTERS = {"tf_saved_model": "abp_tf.serving.saved_model"}


def exporter(format: str) -> Callable:
    """Return the function that exports a model in a format.

    Raises:
        ValueError: for a format without an exporter.

    Example:
        >>> exporter("tf_saved_model").__name__
        'export'
    """
    if format not in EXPORTERS:
        raise ValueError(f"Expected a format among {list(EXPORTERS)}, received {format!r}.")
    return importlib.import_module(EXPORTERS[format]).export
