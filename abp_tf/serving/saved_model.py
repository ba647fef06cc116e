"""SavedModels for serving: a model's functions as signatures, with warm-up records."""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from abp_tf._version import __version__
from abp_tf.serving import examples as few
from abp_tf.serving.protocol import WARMUP_ROWS

# Signals of more entries are warmed up with one row, because inference takes seconds per row.
WARMUP_ENTRIES = 50_000
# Signatures that run many chains a row; one row is enough for their warm-up.
ONE_ROW = frozenset(("sample_posterior", "inpaint_best"))
# The signature of requests without a name of one.
DEFAULT = "serving_default"
# File beside the warm-up records, for properties of a model that a SavedModel has no field for.
ABOUT = "abp_tf.json"
# Directory of such files in a version.
EXTRA = "assets.extra"
# The largest number of a version, an int64 in the protocol.
_LAST = 2**63 - 1


def version_number(name: str) -> int | None:
    """Return the number of the version in a directory, or None if its name is not a version's.

    Example:
        >>> [version_number(name) for name in ("12", "notes", str(2**63))]
        [12, None, None]
    """
    number = int(name) if name.isascii() and name.isdecimal() else _LAST + 1
    return number if number <= _LAST else None


def export(model, path: str | os.PathLike, *, examples=None, **options) -> Path:
    """Write a SavedModel with a model's signatures and warm-up records.

    The directory appears complete or not at all: it is written under another name and then renamed,
    because servers poll its parent directory. It holds the network and the prior, without chains and
    optimizer.

    Args:
        model: a `SignalModel`.
        path: version directory to write, `…/<name>/<number>`; it must not exist.
        examples: `abp_tf.data.Signals` to keep in the export, as `serving.examples.choose` returns
            them, for programs that show the model; None for none.
        **options: arguments of `model.signatures`, such as `samples` of a model with latents.

    Returns:
        The path.

    Raises:
        FileExistsError: if the path exists.
        ValueError: if examples have another shape than the model's signals.
    """
    path = Path(path)
    if examples is not None and examples.train.shape[1:] != tuple(model.signal_shape):
        raise ValueError(
            f"Export expected examples of shape {tuple(model.signal_shape)}, received "
            f"{examples.train.shape[1:]}."
        )
    if path.exists():
        raise FileExistsError(
            f"Export expected a directory that does not exist, but {path} does. Choose the next "
            "version number; nothing was changed."
        )
    for parent in path.parents:
        if parent.exists() and not parent.is_dir():
            raise NotADirectoryError(
                f"Export expected {parent} to be a directory, but it is a file. Nothing was changed."
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    # The name is not a number, so that TensorFlow Serving does not load it as a version.
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        archive = keras.export.ExportArchive()
        for part in model.exported_layers:
            archive.track(part)
        functions = _functions(model, options)
        for name, function in functions.items():
            archive.add_endpoint(name, function)
        archive.write_out(str(aside), verbose=False)
        _write_extra(model, functions, aside / EXTRA, path.parent.name)
        if examples is not None:
            few.write(aside / EXTRA, examples)
        aside.chmod(0o755)
        aside.rename(path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return path


def _functions(model, options: dict) -> dict:
    """Return the compiled signatures of a model; rows of a batch do not depend on each other."""
    return {
        name: tf.function(function, specs, autograph=False, jit_compile=False)
        for name, (function, specs) in model.exported_signatures(**options).items()
    }


def _write_extra(model, functions: dict, directory: Path, name: str) -> None:
    """Write the files beside a SavedModel: range and shapes of data, and the warm-up records.

    The records are one request per signature and batch size, which a server runs while it loads the
    model. The default signature, a second name of another one, has one record of one row.
    """
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    directory.mkdir()
    about = {
        "abp_tf": __version__,
        "value_range": model.observed_range,
        "signal_shape": model.signal_shape,
        "latent_shape": getattr(model, "latent_shape", None),
    }
    (directory / ABOUT).write_text(json.dumps(about) + "\n", encoding="utf-8")
    small = math.prod(model.signal_shape) <= WARMUP_ENTRIES
    requests = [
        (rows, item)
        for rows, item in itertools.product(WARMUP_ROWS, functions.items())
        if rows == WARMUP_ROWS[0] or (small and item[0] not in ONE_ROW)
    ]
    # Keras exports the first function a second time, under the default name.
    default = (WARMUP_ROWS[0], (DEFAULT, next(iter(functions.values()))))
    with tf.io.TFRecordWriter(str(directory / "tf_serving_warmup_requests")) as writer:
        for rows, (signature, function) in (default, *requests):
            request = predict_pb2.PredictRequest()
            request.model_spec.name = name
            request.model_spec.signature_name = signature
            for spec in function.input_signature:
                # Latents may have any size; the record has the size of training.
                shape = model.latent_shape if spec.name == "latent" else spec.shape[1:]
                value = np.zeros((rows, *shape), spec.dtype.as_numpy_dtype)
                if spec.name == "seed":
                    value += np.arange(rows)
                elif spec.name == "mask":
                    value += 1
                elif spec.name == "signal":
                    value = model.restored(value, np.zeros(rows))
                request.inputs[spec.name].CopyFrom(tf.make_tensor_proto(value))
            record = prediction_log_pb2.PredictionLog(
                predict_log=prediction_log_pb2.PredictLog(request=request)
            )
            writer.write(record.SerializeToString())
