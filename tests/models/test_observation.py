"""Generators that see signals through an operator."""

import json
import os
import shutil
import subprocess
import sys

import grpc
import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf
from abp_tf import Blur, Coarser, Generator, Langevin, Projection
from tests.models.linear import factor_data, linear_model, log_likelihood, posterior, unadjusted


def test_posterior_of_a_linear_generator_seen_through_a_projection():
    model = linear_model(observation=Projection(7, seed=2), inference=Langevin(300, 0.2))
    y = np.repeat(model.observe(factor_data(1, seed=3)), 4000, axis=0)
    mean, precision = posterior(model, y[0])
    noisy = model.infer(y, batch_size=4000)
    np.testing.assert_allclose(noisy.mean(0), mean, atol=0.05)
    np.testing.assert_allclose(np.cov(noisy.T), unadjusted(precision, 0.2), atol=0.05)
    # Of y itself a part may be hidden.
    model.inference = Langevin(800, 0.2, temperature=0.0)
    seen = np.array([1, 0, 1, 1, 0, 1, 1], bool)
    damaged = np.where(seen, y[:2], np.nan)
    mean, _ = posterior(model, y[0], seen)
    found = model.infer(damaged, np.stack([seen, seen]))
    np.testing.assert_allclose(found, [mean, mean], atol=1e-4)
    np.testing.assert_allclose(model.reconstruct(damaged, [seen, seen]), model(found), atol=1e-5)


def test_an_orthogonal_projection_to_everything_is_complete_data():
    signals = factor_data(50, seed=4)
    options = {"inference": Langevin(60, 0.2, cool=30), "langevin": Langevin(5, 0.1)}
    whole, seen = linear_model(**options), linear_model(**options, observation=Projection(12))
    y = seen.observe(signals)
    assert np.abs(y - signals).max() > 1
    np.testing.assert_allclose(seen.infer(y), whole.infer(signals), atol=1e-4)
    np.testing.assert_allclose(seen.reconstruct(y), whole.reconstruct(signals), atol=1e-4)
    for model, data in ((whole, signals), (seen, y)):
        model.compile(optimizer=keras.optimizers.SGD(1e-3))
        model.fit(data, batch_size=25, epochs=3, verbose=0)
    np.testing.assert_allclose(seen.latents, whole.latents, atol=1e-3)
    for one, other in zip(seen.network.weights, whole.network.weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)


def test_what_is_seen_is_learned_as_factor_analysis_would():
    decomposition = pytest.importorskip("sklearn.decomposition")
    # Small steps, because the unadjusted chain inflates the posterior.
    model = linear_model(observation=Projection(8, seed=1), langevin=Langevin(20, 0.08))
    train, test = (model.observe(factor_data(2000, seed=seed)) for seed in (1, 2))
    reference = decomposition.PCA(3).fit(train).score(test)
    rate = keras.optimizers.schedules.CosineDecay(0.05, 20 * 30, alpha=0.01)
    model.compile(optimizer=keras.optimizers.Adam(rate, beta_1=0.5))
    model.fit(train, batch_size=100, epochs=30, verbose=0)
    assert abs(log_likelihood(model, test) - reference) / 8 < 0.01


def test_the_preconditioner_sees_what_the_model_sees():
    model = linear_model(observation=Projection(7, seed=2))
    model.table.allocate(20)
    model.precondition()
    _, precision = posterior(model, np.zeros(7))
    root = model.preconditioner(np.eye(3, dtype=np.float32)).numpy()
    np.testing.assert_allclose(np.linalg.inv(root @ root), precision, rtol=1e-3)


def indirect(make_model, digits, observation, **options):
    model = make_model(observation=observation, **options)
    return model, model.observe(digits)


@pytest.mark.parametrize(
    ("observation", "shape"), [(Projection(20), (20,)), (Blur(0.8), (8, 8, 1))], ids=str
)
def test_what_is_seen_teaches_whole_signals(make_model, digits, observation, shape):
    model, y = indirect(make_model, digits, observation)
    assert y.shape == (120, *shape) == (120, *model.observed_shape)
    history = model.fit(y, batch_size=40, epochs=6, verbose=0).history
    assert history["loss"][-1] < 0.7 * history["loss"][0]
    whole = model.reconstruct(y[:6])
    assert whole.shape == (6, 8, 8, 1)
    np.testing.assert_allclose(whole, model(model.infer(y[:6])), atol=1e-5)
    again = Generator.from_config(json.loads(json.dumps(model.get_config())))
    assert again.observation == observation


def test_every_method_takes_what_is_seen_and_gives_whole_signals(make_model, digits, tmp_path):
    observation = Coarser(2)
    model, y = indirect(make_model, digits, observation)
    assert y.shape == (120, 4, 4, 1) == (120, *model.observed_shape)
    history = model.fit(y, batch_size=40, epochs=6, validation_split=0.2, verbose=0).history
    assert history["loss"][-1] < 0.7 * history["loss"][0]
    assert history["val_reconstruction_error"][-1] < history["val_reconstruction_error"][0]
    assert model.latents.shape == (96, 4)
    latents = model.infer(y[:6])
    whole = model.reconstruct(y[:6])
    assert whole.shape == (6, 8, 8, 1)
    np.testing.assert_allclose(whole, model(latents), atol=1e-5)
    np.testing.assert_allclose(model.predict(y[:6], verbose=0), whole, atol=1e-4)
    mix = model.interpolate(y[:2], abp_tf.interpolation.line(3))
    np.testing.assert_allclose(mix[[0, 2]], model.reconstruct(y[:2]), atol=1e-5)
    reported = model.evaluate(y[:6], verbose=0, return_dict=True)
    error = np.mean((observation(whole).numpy() - y[:6]) ** 2)
    np.testing.assert_allclose(reported["reconstruction_error"], error, rtol=1e-3)
    energy = ((observation(whole) - y[:6]) ** 2).numpy().reshape(6, -1).sum(1) / 0.18
    energy += (latents**2).sum(1) / 2
    np.testing.assert_allclose(model.energy(latents, y[:6]).total, energy, rtol=1e-3)
    np.testing.assert_allclose(reported["loss"], energy.mean(), rtol=1e-3)

    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.observation == observation
    np.testing.assert_array_equal(loaded.reconstruct(y[:6]), whole)


def test_a_saved_model_keeps_no_projection(make_model, digits, tmp_path):
    sizes = {}
    for size in (2, 60):
        model = make_model(observation=Projection(size))
        model.save(tmp_path / "model.keras")
        sizes[size] = (tmp_path / "model.keras").stat().st_size
    assert abs(sizes[60] - sizes[2]) < 5000 < 60 * 64 * 4  # σ of each projection is kept


def test_resumed_training_goes_on_as_the_one_that_did_not_stop(
    make_model, digits, tmp_path, assert_same_state
):
    options = {"preconditioning": True, "expansion": 0.5, "langevin": Langevin(3, 0.5)}
    (through, y), (resumed, _) = (
        indirect(make_model, digits, Projection(20, seed=1), **options) for _ in range(2)
    )
    mask = abp_tf.masks.pepper(120, (20,), 0.3)
    data = {"signal": np.where(mask, y, np.nan), "mask": mask}
    backup, half = tmp_path / "model.keras", tmp_path / "half.keras"

    def keep(epoch, logs):
        if epoch == 1:
            shutil.copy(backup, half)

    keeper = keras.callbacks.LambdaCallback(on_epoch_end=keep)
    keeper.order = 2  # after the backup
    watchers = [abp_tf.callbacks.Backup(backup), keeper]
    through.fit(data, batch_size=50, epochs=4, verbose=0, callbacks=watchers)
    watchers = [abp_tf.callbacks.Backup(half)]
    assert resumed.fit(data, batch_size=50, epochs=4, verbose=0, callbacks=watchers).epoch == [2, 3]
    assert_same_state(resumed, through)


def test_hidden_entries_of_what_is_seen_have_no_influence(make_model, digits, start_of):
    mask = abp_tf.masks.pepper(120, (4, 4), 0.4, seed=3)
    model, y = indirect(make_model, digits, Coarser(2))
    start, found = start_of(model), []
    for filling in (0.0, np.nan):
        start.restore()
        damaged = np.where(mask[..., None], y, np.float32(filling))
        model.fit({"signal": damaged, "mask": mask}, batch_size=60, epochs=2, verbose=0)
        found.append((model.latents, model.reconstruct(damaged, mask)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


# A process that knows TensorFlow and nothing of this package, not its operators either.
CALLER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("abp_tf", "train", "export"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Blocker())
import numpy as np
import tensorflow as tf

for folder in sys.argv[1:]:
    given = dict(np.load(f"{folder}/given.npz"))
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.loader.load(session, ["serve"], f"{folder}/1")
        definition = meta.signature_def["reconstruct"]
        feed = {definition.inputs[key].name: value for key, value in given.items()}
        fetch = {key: value.name for key, value in definition.outputs.items()}
        found = session.run(fetch, feed)
    np.savez(f"{folder}/found.npz", names=sorted(meta.signature_def), **found)
"""


@pytest.fixture(scope="module")
def exports(digits, tmp_path_factory):
    """Models seen through two operators, and the directories of their versions."""
    root, found = tmp_path_factory.mktemp("exports"), {}
    for name, observation in (("projected", Projection(20)), ("coarse", Coarser(2))):
        keras.utils.set_random_seed(1)
        network = abp_tf.networks.image_generator((8, 8, 1), latent_dim=4, width=4, kernel_size=3)
        model = Generator(
            network,
            langevin=Langevin(3, 0.1),
            inference=Langevin(8, 0.1, cool=4),
            observation=observation,
        )
        model.compile(optimizer=keras.optimizers.Adam(1e-2))
        model.fit(model.observe(digits), batch_size=60, epochs=1, verbose=0)
        model.export(root / name / "1")
        found[name] = model, root / name
    return found


@pytest.mark.slow
def test_exports_carry_their_operators(exports, digits):
    for model, folder in exports.values():
        np.savez(folder / "given.npz", signal=model.observe(digits[:8]), seed=np.arange(8))
    subprocess.run(
        [sys.executable, "-c", CALLER, *(folder for _, folder in exports.values())],
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        cwd=next(iter(exports.values()))[1],
        check=True,
    )
    for model, folder in exports.values():
        y, found = model.observe(digits[:8]), np.load(folder / "found.npz")
        names = {"synthesize", "reconstruct", "sample_posterior", "decode", "serving_default"}
        assert set(found["names"]) - {"__saved_model_init_op"} == names
        np.testing.assert_allclose(found["signal"], model.reconstruct(y), atol=1e-4)
        np.testing.assert_allclose(found["latent"], model.infer(y), atol=1e-4)
        error = np.mean((model.observe(model.reconstruct(y)) - y).reshape(8, -1) ** 2, axis=1)
        np.testing.assert_allclose(found["error"], error, atol=1e-4)


@pytest.mark.slow
def test_the_server_checks_what_is_seen_by_its_own_range(exports, digits, start_server):
    options = [word for name, (_, path) in exports.items() for word in ("--model", f"{name}={path}")]
    server = start_server(*options)
    for name, (model, _) in exports.items():
        y = model.observe(digits[:5])
        with abp_tf.Client(server.address, name, value_range=None) as client:
            found = client.reconstruct(y, seed=7)
            np.testing.assert_allclose(found, model.reconstruct(y, seed=7), atol=1e-4)
            new = client.synthesize(3, seed=2)
            np.testing.assert_allclose(new, model.synthesize(3, seed=2), atol=1e-4)
            with pytest.raises(ValueError, match=r"inpaint"):
                client.inpaint(y, np.ones_like(y))
            if name == "projected":
                assert np.abs(y).max() > 1.5
                assert np.isfinite(client.reconstruct(y * 3)).all()
            else:
                with pytest.raises(abp_tf.ServingError, match=r"received values from") as refused:
                    client.reconstruct(y * 3)
                assert refused.value.code == grpc.StatusCode.INVALID_ARGUMENT


class TestBadInput:
    def test_whole_signals_in_the_place_of_what_is_seen(self, make_model, digits):
        model = make_model(observation=Projection(20))
        for method in (model.fit, model.evaluate, model.infer, model.reconstruct):
            with pytest.raises(ValueError, match=r"\('n', 20\), .*\(120, 8, 8, 1\).*model\.observe"):
                method(digits)
        with pytest.raises(ValueError, match=r"\('n', 20\), received \(None, 8, 8, 1\)"):
            model.evaluate(tf.data.Dataset.from_tensor_slices(digits).batch(40))
        with pytest.raises(ValueError, match=r"\('n', 8, 8, 1\), received \(120, 20\)"):
            model.observe(model.observe(digits))

    def test_what_is_seen_out_of_its_range(self, make_model, digits):
        model, y = indirect(make_model, digits, Coarser(2))
        with pytest.raises(ValueError, match=r"\[-1\.00002, 1\.00002\]"):
            model.fit(y * 3)
        model, y = indirect(make_model, digits, Projection(20))
        assert np.isfinite(model.infer(y * 3)).all()

    def test_inpainting(self, make_model, digits):
        model, y = indirect(make_model, digits, Projection(20))
        with pytest.raises(ValueError, match=r"Projection\(size=20, seed=0\)\. Use `reconstruct"):
            model.inpaint(y, np.ones_like(y))

    def test_coopnets(self, make_model):
        model = make_model(observation=Projection(20))
        network = abp_tf.networks.image_descriptor((8, 8, 1), width=4)
        descriptor = abp_tf.Descriptor(network, chains="short-run")
        with pytest.raises(ValueError, match="observation=None"):
            abp_tf.CoopNets(model, descriptor)
