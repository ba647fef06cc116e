import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf
from abp_tf import signatures

# A process that knows TensorFlow and nothing of this package. It writes what the export answers,
# by `tf.saved_model.load` and through a TF1 session by tensor names, into an npz.
CALLER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("abp_tf", "train", "export"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Blocker())
try:
    import abp_tf
except ModuleNotFoundError:
    pass
else:
    sys.exit("abp_tf can be imported here")

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

directory, given, answers = sys.argv[1:]
given, found = dict(np.load(given)), {}
rows = {
    "synthesize": ["seed"],
    "serving_default": ["seed"],
    "reconstruct": ["signal", "seed"],
    "inpaint": ["damaged", "mask", "seed"],
    "decode": ["latent"],
}

def inputs(name, part=slice(None)):
    return {key.replace("damaged", "signal"): given[key][part] for key in rows[name]}

loaded = tf.saved_model.load(directory)

def call(name, values):
    tensors = {key: tf.constant(value) for key, value in values.items()}
    return {key: value.numpy() for key, value in loaded.signatures[name](**tensors).items()}

assert set(loaded.signatures) == set(rows), sorted(loaded.signatures)
for name in rows:
    for key, value in call(name, inputs(name)).items():
        found[f"v2/{name}/{key}"] = value
    for size in (1, 4, 8):
        parts = [call(name, inputs(name, slice(at, at + size))) for at in range(0, 8, size)]
        for key in parts[0]:
            found[f"batch {size}/{name}/{key}"] = np.concatenate([part[key] for part in parts])

with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    meta = tf.compat.v1.saved_model.loader.load(session, ["serve"], directory)
    for name in rows:
        definition = meta.signature_def[name]
        feed = {definition.inputs[key].name: value for key, value in inputs(name).items()}
        fetch = {key: value.name for key, value in definition.outputs.items()}
        for key, value in session.run(fetch, feed).items():
            found[f"v1/{name}/{key}"] = value

warmup = []
for record in tf.data.TFRecordDataset(directory + "/assets.extra/tf_serving_warmup_requests"):
    request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
    values = {key: tf.make_ndarray(proto) for key, proto in request.inputs.items()}
    answer = call(request.model_spec.signature_name, values)
    [count] = {len(value) for value in answer.values()}
    assert all(np.isfinite(value).all() for value in answer.values())
    warmup.append(f"{request.model_spec.name} {request.model_spec.signature_name} {count}")
np.savez(answers, warmup=warmup, **found)
"""


@pytest.fixture(scope="module")
def model(learned, tmp_path_factory):
    """A copy of `learned` whose prior and preconditioner are not where they started."""
    path = tmp_path_factory.mktemp("copy") / "model.keras"
    learned.save(path)
    copy = keras.models.load_model(path)
    copy.inference = abp_tf.Langevin(20, 0.3, cool=5)
    copy.precondition()
    assert np.abs(copy.prior.scale.numpy() - np.eye(4)).max() > 0.05
    assert copy.preconditioner.values.numpy().max() > 0.05
    return copy


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    return model.export(tmp_path_factory.mktemp("models") / "digits" / "3")


@pytest.fixture(scope="module")
def given(digits):
    """Inputs of all signatures by name; `damaged` holds NaN where it is hidden."""
    mask = abp_tf.masks.squares(20, (8, 8), 0.4, 2, seed=4)[..., None]
    return {
        "seed": np.arange(20, dtype=np.int64) + 50,
        "signal": digits[:20],
        "mask": mask.astype(np.float32),
        "damaged": np.where(mask, digits[:20], np.float32(np.nan)),
        "latent": np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32),
    }


@pytest.fixture(scope="module")
def answers(exported, given, tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere")
    np.savez(folder / "given.npz", **given)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    child = subprocess.run(
        [sys.executable, "-c", CALLER, str(exported), "given.npz", "answers.npz"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr[-3000:]
    return dict(np.load(folder / "answers.npz"))


@pytest.fixture(scope="module")
def expected(model, given):
    """What the model in Python answers, by signature and output."""
    signals, seed, mask = given["signal"], given["seed"], given["mask"]
    learned, partial = model.infer(signals, seed=seed), model.infer(given["damaged"], mask, seed=seed)
    decoded = model.decode(tf.constant(learned)).numpy()
    whole = model.inpaint(given["damaged"], mask, seed=seed)
    residual = np.where(mask > 0, model(partial).numpy() - signals, 0) ** 2
    new = model.synthesize(20, seed=50)
    found = {
        "synthesize/signal": new,
        "reconstruct/signal": model.reconstruct(signals, seed=seed),
        "reconstruct/latent": learned,
        "reconstruct/error": ((decoded - signals) ** 2).mean(axis=(1, 2, 3)),
        "inpaint/signal": whole,
        "inpaint/latent": partial,
        "inpaint/error": residual.sum(axis=(1, 2, 3)) / mask.sum(axis=(1, 2, 3)),
        "decode/signal": model(given["latent"]).numpy(),
    }
    return {**found, "serving_default/signal": new}


@pytest.mark.parametrize("loader", ["v1", "v2"])
def test_the_export_answers_row_by_row_as_the_model_does(answers, expected, loader):
    for name, value in expected.items():
        found = answers[f"{loader}/{name}"]
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, value, atol=1e-4, err_msg=name)
    # Different rows have different answers, or the comparison above would say little.
    assert np.abs(np.diff(expected["reconstruct/latent"], axis=0)).max(axis=1).min() > 1e-2


@pytest.mark.parametrize("loader", ["v1", "v2"])
def test_synthesized_latents_decode_to_the_signals(answers, model, loader):
    latent = answers[f"{loader}/synthesize/latent"]
    decoded = model(latent).numpy()
    np.testing.assert_allclose(answers[f"{loader}/synthesize/signal"], decoded, atol=1e-4)
    np.testing.assert_array_equal(answers[f"{loader}/serving_default/latent"], latent)


def test_a_row_is_answered_alike_in_any_batch(answers):
    names = [name.removeprefix("v2/") for name in answers if name.startswith("v2/")]
    assert len(names) == 11
    for name in names:
        for size in (1, 4, 8):
            found = answers[f"batch {size}/{name}"]
            np.testing.assert_allclose(found, answers[f"v2/{name}"][:8], atol=1e-4, err_msg=name)


@pytest.mark.parametrize("loader", ["v1", "v2"])
def test_observed_entries_come_back_bit_for_bit(answers, given, loader):
    whole, seen = answers[f"{loader}/inpaint/signal"], given["mask"] > 0
    np.testing.assert_array_equal(whole[seen], given["signal"][seen])
    assert np.isfinite(whole).all()


def test_a_mask_above_one_half_is_observed(exported, given):
    inpaint = tf.saved_model.load(str(exported)).signatures["inpaint"]
    inputs = {"signal": tf.constant(given["damaged"]), "seed": tf.constant(given["seed"])}
    sharp = inpaint(mask=tf.constant(given["mask"]), **inputs)
    soft = inpaint(mask=tf.constant(np.where(given["mask"] > 0, 0.51, 0.5).astype("f")), **inputs)
    for key, value in sharp.items():
        np.testing.assert_array_equal(soft[key], value)


def test_the_export_holds_no_chains_and_no_optimizer(exported, model):
    listed = tf.train.list_variables(str(exported / "variables" / "variables"))
    shapes = {}
    for name, shape in listed:
        if "OBJECT_GRAPH" not in name:
            shapes.setdefault(name.split("/")[0], []).append(shape)
    # Keras lists every variable under two names.
    assert set(shapes) == {"variables", "_all_variables"}
    parts = [*model.network.weights, *model.prior.weights, *model.preconditioner.weights]
    for found in shapes.values():
        assert sorted(found) == sorted(list(part.shape) for part in parts)
    assert model.latents.shape == (120, 4)
    assert len(model.optimizer.variables) > len(model.network.weights)


def test_warm_up_records_replay(answers):
    names = ("synthesize", "reconstruct", "inpaint", "decode", signatures.DEFAULT)
    assert sorted(answers["warmup"]) == sorted(
        f"digits {name} {n}" for name in names for n in signatures.WARMUP_ROWS
    )


def test_an_export_is_a_directory_others_may_read(exported):
    assert exported.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in exported.parent.iterdir()] == ["3"]


def test_a_directory_that_exists_is_left_alone(learned, tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "note").write_text("mine")
    with pytest.raises(FileExistsError, match="nothing was changed"):
        learned.export(tmp_path / "1")
    assert [path.name for path in tmp_path.rglob("*")] == ["1", "note"]


def test_a_parent_that_is_a_file_is_left_alone(learned, tmp_path):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file" / "1", tmp_path / "file" / "more" / "1"):
        with pytest.raises(NotADirectoryError, match="is a file"):
            learned.export(path)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_failed_export_leaves_nothing(learned, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(signatures, "_write_extra", fail)
    with pytest.raises(OSError, match="no space"):
        learned.export(tmp_path / "digits" / "1")
    assert [path.name for path in tmp_path.rglob("*")] in (["digits"], [])


def test_arguments_of_keras_are_refused(learned, tmp_path):
    with pytest.raises(ValueError, match=r"takes a path alone, received \['format'\]"):
        learned.export(tmp_path / "1", format="onnx")
    assert not list(tmp_path.iterdir())
