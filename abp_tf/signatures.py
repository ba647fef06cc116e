"""The functions that answer for a model, in Python and as SavedModel signatures.

There is one set of them: `model.infer` and its like run the very functions that are exported, so an
exported model answers as the model in Python does.
"""

from __future__ import annotations

import functools
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

from abp_tf import networks
from abp_tf._version import __version__
from abp_tf.sampling.random import PRIOR, row_seeds

# Batch sizes that a server has seen before its first client; export/deploy pads to these.
WARMUP_ROWS = (1, 4, 16)
# Signals of more entries are warmed up with one row: their inference takes seconds a row.
WARMUP_ENTRIES = 50_000
# The signature of requests that name none.
DEFAULT = "serving_default"
# These take samples, which may lie outside the range of the data.
UNBOUNDED = frozenset(("refine", "score"))
# What a SavedModel cannot say of a model, for whoever loads it; beside the warm-up records.
ABOUT = "abp_tf.json"


def functions(model, **options) -> dict:
    """Make the signatures of a model, as its `signatures` tells them.

    Args:
        model: a `Generator` or a `Descriptor`.
        **options: of `model.signatures`; none in an export.

    Returns:
        `tf.function`s by name, each with its input signature. Every input and output has the batch
        axis first; rows are answered independently of each other.
    """
    return {
        function.__name__: tf.function(function, signature, autograph=False, jit_compile=False)
        for function, signature in model.signatures(**options).items()
    }


def of_latents(model, langevin=None, exported=True) -> dict:
    """Return the signatures of a model with latents: functions, and the specs of their inputs.

    They are `synthesize(seed)`, `reconstruct(signal, seed)`, `inpaint(signal, mask, seed)` and
    `decode(latent)`, which takes grids of any size where the network is fully convolutional. A model
    with an observation does not inpaint: no entry of its signals is observed.

    Args:
        model: a `Generator`.
        langevin: infers latents; `model.inference` by default.
        exported: False for `infer(signal, mask, seed)`, which any model can do, and for
            `proceed(signal, mask, seed, latent)`, which goes on with its chains, in the place of
            `inpaint`.
    """
    seeds = tf.TensorSpec([None], tf.int64, name="seed")
    signals = tf.TensorSpec([None, *model.observed_shape], tf.float32, name="signal")
    masks = tf.TensorSpec([None, *model.observed_shape], tf.float32, name="mask")
    network, grid = model.network, model.latent_shape
    if networks.resizable(network):  # `decode` then takes a grid of any size
        loose = networks.free(network)
        grid = (
            *(None if free else side for side, free in zip(grid[:-1], loose, strict=True)),
            grid[-1],
        )
        network = networks.resized(network, grid)
    latents = tf.TensorSpec([None, *grid], tf.float32, name="latent")

    posterior = model.posterior
    if langevin is not None:
        posterior = functools.partial(posterior, langevin=langevin)

    def synthesize(seed):
        latent = model.prior.draw(row_seeds(seed, PRIOR))
        return {"signal": model.decode(latent), "latent": latent}

    def reconstruct(signal, seed):
        latent, decoded, error = posterior(signal, None, seed)
        return {"signal": decoded, "latent": latent, "error": error}

    def infer(signal, mask, seed):
        latent, _, error = posterior(signal, mask, seed)
        return {"latent": latent, "error": error}

    def proceed(signal, mask, seed, latent):
        latent, _, error = posterior(signal, mask, seed, start=latent)
        return {"latent": latent, "error": error}

    def inpaint(signal, mask, seed):
        mask = tf.cast(mask > 0.5, tf.float32)
        latent, decoded, error = posterior(signal, mask, seed)
        whole = tf.where(mask > 0.5, signal, decoded)
        return {"signal": whole, "latent": latent, "error": error}

    def decode(latent):
        decoded = network(model.prior(latent), training=False)
        return {"signal": tf.cast(decoded, tf.float32)}

    found = {synthesize: [seeds], reconstruct: [signals, seeds]}
    if not exported:
        found[infer] = [signals, masks, seeds]
        own = tf.TensorSpec([None, *model.latent_shape], tf.float32, name="latent")
        found[proceed] = [signals, masks, seeds, own]
    elif model.observation is None:
        found[inpaint] = [signals, masks, seeds]
    return {**found, decode: [latents]}


def ask(function, inputs: list, batch_size: int = 100, verbose: int = 0, outputs=None) -> dict:
    """Run a function over rows of arrays, some at a time.

    Args:
        function: a `tf.function` with an input signature that returns a dict of tensors; all inputs
            and outputs have the batch axis first.
        inputs: one array per input, of `n` rows each; or of `n / k`, each of which stands for k rows.
        batch_size: rows at a time.
        verbose: 1 shows a progress bar.
        outputs: names of those to return, all by default.

    Returns:
        NumPy arrays of `n` rows by name.
    """
    dtypes = [spec.dtype.as_numpy_dtype for spec in function.input_signature]
    count = max(len(part) for part in inputs)
    progress = keras.utils.Progbar(count, verbose=verbose, unit_name="row")
    answers = []
    for start in range(0, count, batch_size):
        rows = np.arange(start, min(start + batch_size, count))
        batch = [
            part[rows * len(part) // count].astype(dtype)
            for part, dtype in zip(inputs, dtypes, strict=True)
        ]
        found = function(*batch)
        answers.append({key: found[key].numpy() for key in outputs or found})
        progress.update(int(rows[-1]) + 1)
    return {key: np.concatenate([part[key] for part in answers]) for key in answers[0]}


def export(model, path: str | os.PathLike) -> Path:
    """Write a SavedModel with the signatures of `functions` and warm-up records.

    The directory appears whole or not at all: it is written beside its place and renamed, because
    servers poll the directory above. It holds the network and the prior, no chains, no optimizer.

    Args:
        model: a `Generator`.
        path: the version directory, `…/<name>/<number>`; it must not exist.

    Returns:
        The path.

    Raises:
        FileExistsError: something is there already.
    """
    path = Path(path)
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
    # A name that is no number: TensorFlow Serving does not take it for a version.
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        archive = keras.export.ExportArchive()
        for part in model.exported_layers:
            archive.track(part)
        for name, function in functions(model).items():
            archive.add_endpoint(name, function)
        archive.write_out(str(aside), verbose=False)
        _write_extra(model, aside / "assets.extra", path.parent.name)
        aside.chmod(0o755)
        aside.rename(path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return path


def _write_extra(model, directory: Path, name: str) -> None:
    """Write what stands beside a SavedModel: range and shapes of data, and the warm-up records.

    The records are one request per signature and batch size, which a server replays as it loads. The
    default signature, which is another's under a second name, has one of one row.
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
    recorded = functions(model)
    small = math.prod(model.signal_shape) <= WARMUP_ENTRIES
    requests = itertools.product(WARMUP_ROWS if small else WARMUP_ROWS[:1], recorded.items())
    # Keras exports the first function once more, under the default name.
    default = (WARMUP_ROWS[0], (DEFAULT, next(iter(recorded.values()))))
    with tf.io.TFRecordWriter(str(directory / "tf_serving_warmup_requests")) as writer:
        for rows, (signature, function) in (default, *requests):
            request = predict_pb2.PredictRequest()
            request.model_spec.name = name
            request.model_spec.signature_name = signature
            for spec in function.input_signature:
                # Latents may be of any size: those of a signal of the trained size.
                shape = model.latent_shape if spec.name == "latent" else spec.shape[1:]
                value = np.zeros((rows, *shape), spec.dtype.as_numpy_dtype)
                if spec.name == "seed":
                    value += np.arange(rows)
                elif spec.name == "mask":
                    value += 1
                request.inputs[spec.name].CopyFrom(tf.make_tensor_proto(value))
            record = prediction_log_pb2.PredictionLog(
                predict_log=prediction_log_pb2.PredictLog(request=request)
            )
            writer.write(record.SerializeToString())
