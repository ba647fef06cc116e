"""What every model does, whatever its kind and its signals. A case is a function that makes a model."""

import json
import os
import subprocess
import sys
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf
from abp_tf import CoopNets, Descriptor, Generator, Langevin, qualities
from abp_tf.serving import saved_model

UNIT = Langevin(5, 2**0.5, temperature=0.01**2 / 2)  # x ← x + ∂f/∂x + 0.01 ε
# One for each case: no network makes these without cropping, and channels may be of any number.
SHAPES = {"generator": (13, 10, 5), "descriptor": (5, 7, 2), "coopnets": (7, 9, 3)}


def generator():
    network = abp_tf.networks.image_generator(SHAPES["generator"], latent_dim=4, width=4, kernel_size=3)
    inference = Langevin(20, 0.3, cool=5)
    model = Generator(
        network,
        sigma=0.5,
        langevin=Langevin(3, 0.3),
        inference=inference,
        expansion=1.0,
        preconditioning=True,
        encoder=True,
        seed=5,
    )
    model.compile(keras.optimizers.Adam(1e-2))
    return model


def descriptor():
    shape = SHAPES["descriptor"]
    network = abp_tf.networks.image_descriptor(shape, width=4, kernel_size=3, activation="elu")
    inference = Langevin(12, 2**0.5, temperature=0.01**2 / 2)
    model = Descriptor(network, langevin=UNIT, inference=inference, pool=60, restart=0.2, seed=5)
    model.compile(keras.optimizers.Adam(1e-3))
    return model


def coopnets():
    shape = SHAPES["coopnets"]
    top_down = abp_tf.networks.image_generator(shape, 4, width=4, kernel_size=3, batch_norm=True)
    bottom_up = abp_tf.networks.image_descriptor(shape, width=4, kernel_size=3, activation="elu")
    model = CoopNets(
        Generator(top_down, langevin=Langevin(3, 0.05), inference=Langevin(20, 0.05, cool=5)),
        Descriptor(bottom_up, langevin=UNIT, chains="short-run"),
        latent_steps=2,
        seed=5,
    )
    model.compile(keras.optimizers.Adam(1e-3), keras.optimizers.Adam(2e-3, beta_1=0.5))
    return model


CASES = {"generator": generator, "descriptor": descriptor, "coopnets": coopnets}


class Case(NamedTuple):
    """A model after three epochs, how often its step was traced, and what it is asked."""

    model: keras.Model
    traces: int
    given: dict


@pytest.fixture(scope="module")
def cases():
    """Return a function that makes the case of a name, once."""
    made = {}

    def get(name):
        if name not in made:
            keras.utils.set_random_seed(1)
            model = CASES[name]()
            rng = np.random.default_rng(0)
            signals = np.tanh(rng.normal(size=(110, *model.signal_shape))).astype(np.float32)
            step, traces = model.train_step, []
            model.train_step = lambda batch: (traces.append(1), step(batch))[1]
            for epochs in (2, 1):
                model.fit(signals, batch_size=40, epochs=epochs, verbose=0)
            made[name] = Case(model, len(traces), given(model, signals[:100]))
        return made[name]

    return get


@pytest.fixture(params=list(CASES))
def case(request, cases):
    return cases(request.param)


def given(model, signals):
    """Inputs of all signatures by name; `damaged` holds NaN where it is hidden."""
    count, shape = len(signals), model.signal_shape
    mask = np.random.default_rng(1).uniform(size=(count, *shape[:-1], 1)) < 0.6
    mask = np.broadcast_to(mask, signals.shape)
    found = {
        "seed": np.arange(count, dtype=np.int64) + 50,
        "signal": signals,
        "mask": mask.astype(np.float32),
        "damaged": np.where(mask, signals, np.float32(np.nan)),
    }
    if hasattr(model, "latent_shape"):
        latent = np.random.default_rng(2).normal(size=(count, *model.latent_shape))
        found["latent"] = latent.astype(np.float32)
    return found


def answers(model, given, rows=slice(20), batch_size=100):
    """What the methods of the model answer to some rows, by signature and output."""
    part = {key: value[rows] for key, value in given.items()}
    signal, mask, damaged = part["signal"], part["mask"] > 0, part["damaged"]
    asked = {"seed": part["seed"], "batch_size": batch_size}
    new = model.synthesize(len(signal), **asked)
    found = {
        "serving_default/signal": new,
        "synthesize/signal": new,
        "inpaint/signal": model.inpaint(damaged, mask, **asked),
    }
    if hasattr(model, "infer"):
        drawn = model.sample_posterior(damaged, mask, **asked)
        axes = tuple(range(1, signal.ndim))
        whole = model.reconstruct(signal, **asked)
        for quality in qualities.QUALITIES if isinstance(model, Generator) else ("balanced",):
            name = qualities.signature(quality)
            if isinstance(model, Generator):
                found[f"{name}/signal"] = model.inpaint(damaged, mask, quality=quality, **asked)
                inputs = [damaged, np.float32(mask), part["seed"]]
                filled = model.run("fill", inputs, batch_size, quality=quality)
                partial, decoded = filled["latent"], filled["signal"]
            else:
                partial = model.infer(damaged, mask, **asked)
                decoded = model(partial).numpy()
            square = np.where(mask, decoded - signal, 0) ** 2
            found[f"{name}/latent"] = partial
            found[f"{name}/error"] = square.sum(axes) / mask.sum(axes)
        found |= {
            "reconstruct/latent": model.infer(signal, **asked),
            "reconstruct/signal": whole,
            "reconstruct/error": ((whole - signal) ** 2).mean(axes),
            "decode/signal": model(part["latent"]).numpy(),
            "sample_posterior/samples": drawn.samples,
            "sample_posterior/mean": drawn.mean,
            "sample_posterior/deviation": drawn.deviation,
            "sample_posterior/sigma": drawn.sigma,
        }
    if hasattr(model, "score"):
        told = model.score(signal, batch_size=batch_size)
        found |= {"score/score": told.score, "score/energy": told.energy}
        found["refine/signal"] = model.refine(signal, **asked)
    return found


def same(found, expected, **tolerance):
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, **tolerance, err_msg=name)


def test_one_trace_over_full_and_short_batches(case):
    assert case.traces == 1
    assert int(case.model.iteration.value) == 9


def test_rows_are_answered_alike_in_any_batch(case):
    whole = answers(case.model, case.given, slice(100))
    for size in (1, 4, 8):
        some = answers(case.model, case.given, slice(8), size)
        same(some, {name: value[:8] for name, value in whole.items()}, atol=1e-4)
    order = np.random.default_rng(3).permutation(100)
    shuffled = answers(case.model, case.given, order)
    same(shuffled, {name: value[order] for name, value in whole.items()}, atol=1e-4)
    # Different rows have different answers, or the comparisons would say little.
    for value in whole.values():
        assert np.abs(value[0] - value[1]).max() > 1e-5


def test_round_trips(case, tmp_path, assert_same_state):
    def text(config):
        return json.dumps(config, sort_keys=True)  # tuples come back as lists

    model = case.model
    again = type(model).from_config(model.get_config())
    assert text(again.get_config()) == text(model.get_config())
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert text(loaded.get_config()) == text(model.get_config())
    assert_same_state(loaded, model)
    assert loaded.get_compile_config() == model.get_compile_config()
    damaged, mask = case.given["damaged"][:20], case.given["mask"][:20]
    np.testing.assert_array_equal(loaded.inpaint(damaged, mask), model.inpaint(damaged, mask))
    # One that is not compiled is saved too.
    again.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert not loaded.compiled
    assert_same_state(loaded, again)


# A process that knows TensorFlow and nothing of this package. It writes what exports answer, by
# `tf.saved_model.load` and through a TF1 session by tensor names, into an npz beside each.
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

def ask(directory, given):
    found, warmup = {}, []
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.loader.load(session, ["serve"], directory)
        inputs = {}
        for name, definition in meta.signature_def.items():
            if not definition.inputs:  # run by the loader
                continue
            inputs[name] = {key: given[key] for key in definition.inputs}
            if name.startswith(("inpaint", "sample_posterior")):
                inputs[name]["signal"] = given["damaged"]
            feed = {definition.inputs[key].name: value for key, value in inputs[name].items()}
            fetch = {key: value.name for key, value in definition.outputs.items()}
            for key, value in session.run(fetch, feed).items():
                found[f"v1/{name}/{key}"] = value
    loaded = tf.saved_model.load(directory)

    def call(name, values):
        tensors = {key: tf.constant(value) for key, value in values.items()}
        return {key: value.numpy() for key, value in loaded.signatures[name](**tensors).items()}

    assert set(loaded.signatures) == set(inputs), (sorted(loaded.signatures), sorted(inputs))
    for name, values in inputs.items():
        for key, value in call(name, values).items():
            found[f"v2/{name}/{key}"] = value
    records = directory + "/assets.extra/tf_serving_warmup_requests"
    for record in tf.data.TFRecordDataset(records):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        values = {key: tf.make_ndarray(proto) for key, proto in request.inputs.items()}
        answer = call(request.model_spec.signature_name, values)
        [count] = {len(value) for value in answer.values()}
        assert all(np.isfinite(value).all() for value in answer.values())
        warmup.append(f"{request.model_spec.name} {request.model_spec.signature_name} {count}")
    return {"warmup": warmup, **found}

for name in sys.argv[1:]:
    np.savez(f"{name}/answers.npz", **ask(f"{name}/1", dict(np.load(f"{name}/given.npz"))))
"""


@pytest.fixture(scope="module")
def exports(cases, tmp_path_factory):
    """The directories of versions by name, with what the process above was answered."""
    folder = tmp_path_factory.mktemp("models")
    for name in CASES:
        case = cases(name)
        case.model.export(folder / name / "1")
        np.savez(folder / name / "given.npz", **{key: part[:20] for key, part in case.given.items()})
    child = subprocess.run(
        [sys.executable, "-c", CALLER, *CASES],
        cwd=folder,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr[-3000:]
    return {name: folder / name for name in CASES}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("loader", ["v1", "v2"])
def test_the_export_answers_row_by_row_as_the_model_does(cases, exports, name, loader):
    case = cases(name)
    found = dict(np.load(exports[name] / "answers.npz"))
    found = {key[3:]: value for key, value in found.items() if key.startswith(loader)}
    expected = answers(case.model, case.given)
    same(found, expected, atol=1e-4)
    assert {value.dtype for value in found.values()} == {np.dtype(np.float32)}
    # Besides these there are the latents of drafts.
    assert set(found) - set(expected) <= {"synthesize/latent", "serving_default/latent"}
    mask = case.given["mask"][:20] > 0
    np.testing.assert_array_equal(found["inpaint/signal"][mask], case.given["signal"][:20][mask])
    if "synthesize/latent" in found:
        drafts = getattr(case.model, "generator", case.model).synthesize(20, seed=50)
        np.testing.assert_allclose(case.model(found["synthesize/latent"]), drafts, atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_warm_up_records_replay(exports, name):
    found = np.load(exports[name] / "answers.npz")
    names = {key.split("/")[1] for key in found if key.startswith("v1/")}
    named = names - {saved_model.DEFAULT}
    rows = {one: saved_model.WARMUP_ROWS[: 1 if one in saved_model.ONE_ROW else None] for one in named}
    expected = [f"{name} {one} {count}" for one in named for count in rows[one]]
    expected.append(f"{name} {saved_model.DEFAULT} 1")
    assert sorted(found["warmup"]) == sorted(expected)


@pytest.mark.parametrize("name", CASES)
def test_the_export_holds_the_networks_alone(cases, exports, name):
    listed = tf.train.list_variables(str(exports[name] / "1" / "variables" / "variables"))
    shapes = {}
    for variable, shape in listed:
        if "OBJECT_GRAPH" not in variable:
            shapes.setdefault(variable.split("/")[0], []).append(shape)
    layers = cases(name).model.exported_layers
    expected = sorted(list(weight.shape) for layer in layers for weight in layer.weights)
    assert shapes  # Keras lists every variable under two names
    for found in shapes.values():
        assert sorted(found) == expected


@pytest.fixture(scope="module")
def server(start_server, exports):
    result = start_server(
        *(word for name, path in exports.items() for word in ("--model", f"{name}={path}"))
    )
    assert result.address
    return result


@pytest.mark.parametrize("name", CASES)
def test_served_rows_are_those_of_the_model(cases, server, name):
    case = cases(name)
    part = {key: value[:6] for key, value in case.given.items()}
    expected = answers(case.model, case.given, slice(6))
    with abp_tf.Client(server.address, model=name, batch_size=4) as client:
        found = {}
        for signature, definition in client.signatures().items():
            asked = {key: part[key] for key in definition.inputs}
            if signature.startswith(("inpaint", "sample_posterior")):
                asked["signal"] = part["damaged"]
            for key, value in client.ask(signature, **asked).items():
                found[f"{signature}/{key}"] = value
    same(found, expected, atol=1e-4)
