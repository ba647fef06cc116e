"""Networks of other precisions: chains, energies and what methods return are float32 all the same."""

import keras
import numpy as np
import pytest

import abp_tf
from abp_tf import CoopNets, Descriptor, Generator, Langevin

SIGNALS = np.tanh(np.random.default_rng(0).normal(size=(20, 6))).astype(np.float32)
SEEN = np.tile(np.arange(6) % 3 > 0, (20, 1))
# The policy of layers, and `floatx`.
PRECISIONS = [
    ("mixed_bfloat16", "float32"),
    pytest.param(("bfloat16", "bfloat16"), marks=pytest.mark.slow, id="bfloat16-bfloat16"),
    ("float64", "float64"),
    pytest.param(("float32", "float64"), marks=pytest.mark.slow, id="float32-float64"),
]


@pytest.fixture
def precision(request):
    policy, floatx = keras.config.dtype_policy(), keras.config.floatx()
    keras.config.set_floatx(request.param[1])
    keras.config.set_dtype_policy(request.param[0])
    yield request.param[0]
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(policy)


def dense(inputs, outputs):
    # What ends in one number, f, is float32, as descriptors demand.
    dtype = "float32" if outputs == 1 else None
    layers = [keras.layers.Dense(5, activation="elu"), keras.layers.Dense(outputs, dtype=dtype)]
    return keras.Sequential([keras.Input((inputs,)), *layers])


@pytest.mark.parametrize("precision", PRECISIONS, indirect=True, ids="-".join)
def test_an_epoch_of_every_model(precision):
    keras.utils.set_random_seed(0)
    short = Langevin(2, 0.1)
    generator = Generator(dense(2, 6), langevin=short, inference=short)
    descriptor = Descriptor(dense(6, 1), langevin=short, reference_sigma=1.0, energy_penalty=0.1)
    single = Descriptor(dense(6, 1), langevin=short, chains="short-run")
    cooperating = CoopNets(Generator(dense(2, 6), langevin=short), single, latent_steps=1)
    masked = {"signal": SIGNALS, "mask": SEEN}
    for model, data in ((generator, masked), (descriptor, SIGNALS), (cooperating, masked)):
        network = model.generator.network if model is cooperating else model.network
        computed = keras.DTypePolicy(precision).compute_dtype
        assert network.layers[0].compute_dtype == computed
        # Not Adam, whose second decay is 1 in bfloat16, so that it makes no steps there.
        optimizers = 2 if model is cooperating else 1
        model.compile(*(keras.optimizers.SGD(0.01) for _ in range(optimizers)))
        before = [np.array(weight, np.float64) for weight in network.weights]
        history = model.fit(data, batch_size=10, verbose=0).history
        after = [np.array(weight, np.float64) for weight in network.weights]
        assert all(np.isfinite(values).all() for values in (*after, *history.values()))
        assert any((one != other).any() for one, other in zip(before, after, strict=True))
        for table in model.tables:
            assert table.states.dtype == "float32"
            assert np.isfinite(table.states).all()
    assert generator.inpaint(SIGNALS, SEEN).dtype == generator.synthesize(2).dtype == np.float32
    assert descriptor.score(SIGNALS).energy.dtype == np.float32


def test_a_global_policy_leaves_chains_in_float32():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = Generator(abp_tf.networks.image_generator((8, 8, 1), 4, 4))
        assert model.compute_dtype == model.prior.compute_dtype == "float32"
        assert model.network.get_layer("up1").compute_dtype == "bfloat16"
        keras.config.set_dtype_policy("mixed_float16")
        with pytest.raises(ValueError, match=r"float16.*mixed_bfloat16"):
            Generator(abp_tf.networks.image_generator((8, 8, 1), 4, 4))
    finally:
        keras.config.set_dtype_policy(before)


def test_a_network_of_mixed_precision_learns_digits(digits):
    network = abp_tf.networks.image_generator((8, 8, 1), 4, 4, dtype="mixed_bfloat16")
    model = Generator(network, langevin=Langevin(5, 0.1))
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    history = model.fit(digits, batch_size=50, epochs=6, verbose=0).history
    assert history["loss"][-1] < 0.7 * history["loss"][0]
    assert model.latents.dtype == model.synthesize(2).dtype == np.float32
