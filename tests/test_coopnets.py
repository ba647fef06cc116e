import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf
from abp_tf import CoopNets, Descriptor, Generator, Langevin

UNIT = Langevin(5, 2**0.5, temperature=0.01**2 / 2)


def make(langevin=UNIT, generator_rate=1e-3, descriptor_rate=1e-3, seed=3, **options):
    keras.utils.set_random_seed(1)
    generator = Generator(
        abp_tf.networks.image_generator((8, 8, 1), latent_dim=4, width=4, kernel_size=3),
        inference=Langevin(8, 0.1, cool=4),
    )
    network = abp_tf.networks.image_descriptor((8, 8, 1), width=4, kernel_size=3, activation="elu")
    descriptor = Descriptor(network, langevin=langevin, chains="short-run")
    model = CoopNets(generator, descriptor, seed=seed, **options)
    model.compile(
        keras.optimizers.Adam(generator_rate), keras.optimizers.Adam(descriptor_rate, beta_1=0.5)
    )
    return model


@pytest.fixture(scope="module")
def learned(digits):
    model = make()
    model.fit(digits, batch_size=40, epochs=2, verbose=0)
    return model


def all_of(model):
    parts = [model.weights, model.optimizer.variables, model.generator_optimizer.variables]
    return [np.asarray(variable) for part in parts for variable in part]


def same_state(first, second):
    for one, other in zip(all_of(first), all_of(second), strict=True):
        np.testing.assert_array_equal(one, other)


def test_one_trace_over_epochs_with_a_smaller_last_batch_and_batch_norm(digits):
    traces = []

    class Counted(CoopNets):
        def train_step(self, batch):
            traces.append(batch["signal"].shape)
            return super().train_step(batch)

    top_down = abp_tf.networks.image_generator((8, 8, 1), 4, 4, kernel_size=3, batch_norm=True)
    bottom_up = abp_tf.networks.image_descriptor((8, 8, 1), 4)
    model = Counted(Generator(top_down), Descriptor(bottom_up, langevin=UNIT, chains="short-run"))
    model.compile("adam", "adam")
    moving = top_down.get_layer("norm_up1").moving_mean.numpy()
    model.fit(digits[:110], batch_size=25, epochs=2, verbose=0)
    assert len(traces) == 1
    assert np.abs(top_down.get_layer("norm_up1").moving_mean.numpy() - moving).max() > 0
    # In answers nothing depends on the batch.
    drafts = model.synthesize(6, revised=False)
    np.testing.assert_allclose(model.synthesize(1, seed=5, revised=False)[0], drafts[5], atol=1e-4)


def test_answers_do_not_depend_on_the_batch(digits, learned):
    mask = abp_tf.masks.block(40, (8, 8), 3, seed=0)
    for ask in (
        lambda rows, size: learned.synthesize(len(rows), seed=rows, batch_size=size),
        lambda rows, size: learned.reconstruct(digits[rows], seed=rows, batch_size=size),
        lambda rows, size: learned.inpaint(digits[rows], mask[rows], seed=rows, batch_size=size),
        lambda rows, size: learned.refine(digits[rows], seed=rows, batch_size=size),
        lambda rows, size: learned.score(digits[rows], batch_size=size).score,
    ):
        whole = ask(np.arange(40), 40)
        for size in (1, 4, 8):
            np.testing.assert_allclose(ask(np.arange(3, 11), size), whole[3:11], atol=1e-4)


def test_a_model_that_is_not_compiled_is_saved_too(tmp_path):
    made = make()
    model = CoopNets(made.generator, made.descriptor)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert not again.compiled
    np.testing.assert_allclose(again.synthesize(2), model.synthesize(2), atol=1e-5)


def test_without_revision_the_generator_stays_where_it_is(digits):
    model = make(langevin=Langevin(0, 1.0))
    before = [weights.copy() for weights in model.generator.network.get_weights()]
    descriptor = model.descriptor.network.get_weights()[0]
    model.fit(digits, batch_size=40, epochs=2, verbose=0)
    for one, other in zip(before, model.generator.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.abs(descriptor - model.descriptor.network.get_weights()[0]).max() > 1e-4


@pytest.mark.parametrize("latent_steps", [0, 3])
def test_both_learn_and_report(digits, latent_steps):
    model = make(latent_steps=latent_steps)
    before = [network.get_weights()[0] for network in (model.generator.network, model.network)]
    history = model.fit(digits, batch_size=40, epochs=2, verbose=0).history
    assert set(history) == {
        "loss", "energy_gap", "energy_gap_spread", "drift", "data_deviation", "sample_deviation",
        "saturation", "reconstruction_error",
    }  # fmt: skip
    for weights, network in zip(before, (model.generator.network, model.network), strict=True):
        assert np.abs(weights - network.get_weights()[0]).max() > 1e-4
    assert int(model.iteration.value) == 6


def test_a_linear_generator_and_a_quadratic_descriptor_find_the_gaussian_of_the_data():
    rng = np.random.default_rng(0)
    mixing = np.array([[1.0, 0.0], [0.6, 0.7]])
    data = (rng.normal(size=(4000, 2)) @ mixing.T + [0.8, -0.4]).astype(np.float32)
    keras.utils.set_random_seed(0)
    network = abp_tf.networks.linear((2,), 2)
    generator = Generator(network, sigma=0.3, langevin=Langevin(1, 0.2), value_range=None)
    x = keras.Input((2,))
    square = keras.layers.Dot(1)([x, keras.layers.Dense(2, use_bias=False, name="product")(x)])
    network = keras.Model(x, keras.layers.Add()([square, keras.layers.Dense(1)(x)]))
    network.get_layer("product").set_weights([-0.5 * np.eye(2)])
    descriptor = Descriptor(
        network,
        langevin=Langevin(15, 0.4),
        chains="short-run",
        start_sigma=1.0,
        data_noise=0.0,
        value_range=None,
    )
    # Without latent steps the regression on mixing chains has one fixed point: the mean alone.
    model = CoopNets(generator, descriptor, latent_steps=15)
    model.compile(keras.optimizers.SGD(0.02), keras.optimizers.SGD(0.1))
    model.fit(data, batch_size=200, epochs=15, verbose=0)
    # The generator explains all but σ² of the variance.
    for revised, missing in ((True, 0.0), (False, 0.09)):
        found = model.synthesize(4000, revised=revised, batch_size=4000)
        np.testing.assert_allclose(found.mean(0), data.mean(0), atol=0.15)
        exact = np.cov(data.T) - missing * np.eye(2)
        np.testing.assert_allclose(np.cov(found.T), exact, atol=0.2)


def test_revisions_begin_with_drafts(digits, learned):
    drafts = learned.synthesize(6, seed=9, revised=False)
    np.testing.assert_allclose(learned.synthesize(6, seed=9, steps=0), drafts, atol=1e-6)
    revised = learned.synthesize(6, seed=9)
    np.testing.assert_allclose(revised, learned.refine(drafts, seed=9), atol=1e-5)
    assert np.abs(revised - drafts).max() > 1e-3
    np.testing.assert_array_equal(
        learned.reconstruct(digits[:5]), learned.generator.reconstruct(digits[:5])
    )
    assert learned.score(digits[:5]).energy.shape == (5,)
    assert learned.infer(digits[:5]).shape == (5, 4)


def test_inpaint_revises_what_the_generator_fills_in(digits, learned):
    mask = abp_tf.masks.block(30, (8, 8), 4, seed=0)
    damaged = np.where(mask[..., None], digits[:30], np.float32(np.nan))
    found = learned.inpaint(damaged, mask, seed=2)
    np.testing.assert_array_equal(found[mask], digits[:30][mask])
    filled = learned.generator.inpaint(damaged, mask, seed=2)
    np.testing.assert_allclose(learned.inpaint(damaged, mask, seed=2, steps=0), filled, atol=1e-5)
    assert np.abs(found[~mask] - filled[~mask]).max() > 1e-3
    for size in (1, 8):
        part = learned.inpaint(damaged[:8], mask[:8], seed=2, batch_size=size)
        np.testing.assert_allclose(part, found[:8], atol=1e-4)


def test_keras_round_trips_with_both_optimizers(digits, learned, tmp_path):
    def text(config):
        return json.dumps(config, sort_keys=True)

    learned.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert text(loaded.get_config()) == text(learned.get_config())
    assert loaded.generator_optimizer.get_config() == learned.generator_optimizer.get_config()
    same_state(loaded, learned)
    np.testing.assert_array_equal(loaded.synthesize(3), learned.synthesize(3))


def test_the_export_answers_as_the_model_does(digits, learned, tmp_path):
    path = learned.export(tmp_path / "digits" / "1")
    signatures = tf.saved_model.load(str(path)).signatures
    names = {"synthesize", "reconstruct", "inpaint", "decode", "refine", "score", "serving_default"}
    assert set(signatures) == names
    seed = tf.range(50, 54, dtype=tf.int64)
    new = learned.synthesize(4, seed=50)
    for name in ("synthesize", "serving_default"):
        answer = signatures[name](seed=seed)
        np.testing.assert_allclose(answer["signal"], new, atol=1e-4)
        np.testing.assert_allclose(
            learned(answer["latent"]), learned.synthesize(4, seed=50, revised=False), atol=1e-4
        )
    mask = abp_tf.masks.block(4, (8, 8), 4, seed=0)[..., None]
    damaged = np.where(mask, digits[:4], np.float32(np.nan))
    full = tf.constant(np.broadcast_to(mask, damaged.shape).astype(np.float32))
    answer = signatures["inpaint"](signal=tf.constant(damaged), mask=full, seed=seed)
    whole = learned.inpaint(damaged, mask[..., 0], seed=50)
    np.testing.assert_allclose(answer["signal"], whole, atol=1e-4)
    score = signatures["score"](signal=tf.constant(digits[:4]))["score"]
    np.testing.assert_allclose(score, learned.score(digits[:4]).score, atol=1e-4)
    variables = tf.train.list_variables(str(path / "variables" / "variables"))
    # Each is listed under two names: both networks, and the generator's prior and preconditioner.
    layers = learned.exported_layers
    count = sum(len(layer.weights) for layer in layers)
    assert len([name for name, _ in variables if "OBJECT_GRAPH" not in name]) in (count, 2 * count)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"generator": None}, "expected a Generator and a Descriptor, received NoneType"),
        ({"latent_steps": -1}, "`latent_steps` expected an integer of 0 or more, received -1"),
        ({"chains": "persistent"}, "expected a Descriptor with chains='short-run', received"),
        ({"size": 16}, r"a generator of \(8, 8, 1\) and a descriptor of \(16, 16, 1\)"),
    ],
)
def test_models_that_do_not_fit_are_refused(change, message):
    network = abp_tf.networks.image_generator((8, 8, 1), latent_dim=4, width=4)
    generator = change.pop("generator", Generator(network))
    size, chains = change.pop("size", 8), change.pop("chains", "short-run")
    network = abp_tf.networks.image_descriptor((size, size, 1), 4)
    with pytest.raises(ValueError, match=message):
        CoopNets(generator, Descriptor(network, chains=chains, pool=2), **change)


# Run as a program this file is a training that kills itself: the test starts it as a child.


class Killer(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.iteration.value) == 8:
            os.kill(os.getpid(), signal.SIGKILL)


def train(path=None, callbacks=()):
    model = make(latent_steps=2)
    backup = [] if path is None else [abp_tf.callbacks.Backup(path)]
    data = abp_tf.data.load("digits", size=8, limit=120, test_share=0.0).train
    model.fit(data, batch_size=40, epochs=4, verbose=0, callbacks=[*backup, *callbacks])
    return model


def test_a_killed_training_ends_as_one_left_alone(tmp_path):
    path = tmp_path / "model.keras"
    child = subprocess.run(
        [sys.executable, __file__, str(path)],
        env={**os.environ, "PYTHONPATH": str(Path(abp_tf.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert int(keras.models.load_model(path).iteration.value) == 6
    same_state(train(path), train())


if __name__ == "__main__":
    train(sys.argv[1], [Killer()])
