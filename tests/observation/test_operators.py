import dataclasses
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

import abp_tf
from abp_tf import Blur, Coarser, Observation, Projection
from abp_tf.observation import operators

SHAPES = [(12, 2), (8, 12, 1), (4, 8, 12, 3)]  # a sound, an image, a video
OPERATORS = [Projection(20, seed=3), Coarser(4), Blur(0.9)]


def signals(shape, count=3, seed=0):
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)


def matrix(operator, shape):
    """The operator as NumPy's matrix, from what it does to unit vectors."""
    size = int(np.prod(shape))
    units = tf.reshape(tf.eye(size), [-1, *shape])
    return operator(units).numpy().reshape(size, -1).T


@keras.saving.register_keras_serializable("tests")
@dataclasses.dataclass(frozen=True)
class Every(Observation):
    """Every `step`-th entry of the first axis."""

    step: int

    def __call__(self, signal):
        return signal[:, :: self.step]


@pytest.mark.parametrize("shape", SHAPES)
def test_coarser_is_the_mean_over_cells(shape):
    x = signals(shape)
    expected = np.zeros((3, *(side // 4 for side in shape[:-1]), shape[-1]))
    for place in np.ndindex(*shape[:-1]):
        cell = tuple(at // 4 for at in place)
        expected[(slice(None), *cell)] += x[(slice(None), *place)] / 4 ** (len(shape) - 1)
    found = Coarser(4)(x).numpy()
    assert found.shape[1:] == Coarser(4).observed_shape(shape)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sigma", [0.3, 0.9])
def test_blur_is_that_of_scipy(shape, sigma):
    x = signals(shape)
    widths = (0, *[sigma] * (len(shape) - 1), 0)
    expected = ndimage.gaussian_filter(x.astype(np.float64), widths)
    np.testing.assert_allclose(Blur(sigma)(x), expected, atol=1e-6)
    assert Blur(sigma).observed_shape(shape) == shape


def test_blur_reaches_as_far_as_the_signal():
    x = signals((5, 3, 1))
    found = Blur(0.6)(x[:, :, :2])
    expected = ndimage.gaussian_filter(x[:, :, :2].astype(np.float64), (0, 0.6, 0.6, 0))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    with pytest.raises(ValueError, match=r"sigma .*0\.623.*\[5, 2\].*received 0\.7"):
        Blur(0.7).observed_shape((5, 2, 1))


@pytest.mark.parametrize("shape", [*SHAPES, (24,)])
def test_projections_are_orthonormal_and_belong_to_their_seed(shape):
    rows = matrix(Projection(20, seed=3), shape)
    np.testing.assert_allclose(rows @ rows.T, np.eye(20), atol=1e-6)
    x = signals(shape)
    np.testing.assert_allclose(Projection(20, 3)(x), x.reshape(3, -1) @ rows.T, atol=1e-5)
    np.testing.assert_allclose(matrix(Projection(5, seed=3), shape), rows[:5], atol=1e-6)
    assert np.abs(matrix(Projection(20, seed=4), shape) - rows).max() > 0.1


def test_projections_are_uniform_over_directions():
    rows = np.concatenate([matrix(Projection(3, seed=seed), (4,)) for seed in range(300)])
    assert np.abs(rows.mean(axis=0)).max() < 0.06
    np.testing.assert_allclose(rows.T @ rows / len(rows), np.eye(4) / 4, atol=0.03)


def test_projections_are_made_again_alike_anywhere():
    # What a model was trained through ten years ago: these numbers must never change.
    expected = [[0.938874, -0.258769, 0.018227, 0.226324]]
    np.testing.assert_allclose(matrix(Projection(1, seed=7), (4,)), expected, atol=1e-5)
    code = (
        "import abp_tf, numpy as np, sys;"
        "print(abp_tf.Projection(6, seed=11)(np.eye(9, dtype='f')).numpy().tobytes().hex())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = Projection(6, seed=11)(np.eye(9, dtype="f")).numpy()
    there = np.frombuffer(bytes.fromhex(other.stdout.strip()), np.float32).reshape(9, 6)
    np.testing.assert_array_equal(here, there)


@pytest.mark.parametrize("operator", [*OPERATORS, Every(2)], ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradient_is_the_adjoint(operator, shape):
    x = tf.constant(signals(shape))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = operator(x)
    other = tf.constant(signals(y.shape[1:], seed=1))
    with tf.GradientTape() as second:
        second.watch(x)
        y = operator(x)
    back = second.gradient(y, x, output_gradients=other)
    np.testing.assert_allclose(tf.reduce_sum(y * other), tf.reduce_sum(x * back), rtol=1e-4)
    np.testing.assert_allclose(
        back, (other.numpy().reshape(3, -1) @ matrix(operator, shape)).reshape(x.shape), atol=1e-5
    )


@pytest.mark.parametrize("operator", OPERATORS, ids=str)
def test_operators_are_linear_and_their_ranges_hold(operator):
    x, y = signals((8, 12, 1)), signals((8, 12, 1), seed=1)
    np.testing.assert_allclose(operator(2 * x - y), 2 * operator(x) - operator(y), atol=1e-5)
    found = operator.observed_range((-1.0, 1.0))
    if isinstance(operator, Projection):
        assert found is None
        return
    assert -1.001 < found[0] <= -1 < 1 <= found[1] < 1.001
    for value in (-1.0, 1.0):
        seen = operator(np.full((2, 8, 12, 1), value, np.float32)).numpy()
        assert found[0] <= seen.min() <= seen.max() <= found[1]


@pytest.mark.parametrize("operator", [*OPERATORS, Every(3)], ids=str)
def test_round_trip_through_the_config(operator):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(operator))
    assert again == operator
    assert type(again) is type(operator)
    # Of a projection no number but size and seed is kept.
    assert all(isinstance(value, int | float) for value in operator.get_config().values())


def test_rows_are_seen_independently_of_each_other():
    x = signals((8, 12, 1), count=9)
    for operator in OPERATORS:
        whole = tf.function(operator)(x).numpy()
        for row in range(9):
            np.testing.assert_allclose(operator(x[row : row + 1])[0], whole[row], atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Projection(0), "`size` .*received 0"),
        (lambda: Projection(2.5), r"`size` .*received 2\.5"),
        (lambda: Projection(5, seed=-1), "`seed` .*received -1"),
        (lambda: Projection(5, seed=2**32), "`seed` .*received 4294967296"),
        (lambda: Coarser(0), "`factor` .*received 0"),
        (lambda: Coarser(True), "`factor` .*received True"),
        (lambda: Blur(0.0), r"`sigma`, received 0\.0"),
        (lambda: Blur(float("nan")), "`sigma`, received nan"),
    ],
)
def test_arguments_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@keras.saving.register_keras_serializable("tests")
@dataclasses.dataclass(frozen=True)
class Rounded(Observation):
    """Has no gradient."""

    def __call__(self, signal):
        return tf.cast(tf.cast(signal, tf.int32), tf.float32)


@keras.saving.register_keras_serializable("tests")
@dataclasses.dataclass(frozen=True)
class Promising(Every):
    """Says another shape than it gives."""

    def observed_shape(self, signal_shape):
        return signal_shape


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (Projection(97), r"size .*96.*\(8, 12, 1\), received 97"),
        (
            Coarser(3),
            r"\[8, 12\].*received 3\b.*\[1, 2, 4\].*\[6, 12\]",
        ),
        (Coarser(24), r"received 24\b.*\[1, 2, 4\]\.$"),
        (Blur(3.0), r"sigma .*2\.12.*received 3\.0"),
        ("projection:20", "`observation` .*received 'projection:20'"),
        (Rounded(), r"Rounded\(\).*gradient"),
        (Promising(2), r"Promising.*\[n, 8, 12, 1\].*\(2, 4, 12, 1\)"),
    ],
    ids=str,
)
def test_operators_that_do_not_go_with_the_signals(operator, message):
    network = abp_tf.networks.linear((8, 12, 1), latent_dim=2)
    with pytest.raises(ValueError, match=message):
        abp_tf.Generator(network, observation=operator)


@pytest.mark.parametrize("operator", [Coarser(2), Blur(0.5)])
def test_signals_without_a_channel_axis_are_refused(operator):
    with pytest.raises(ValueError, match=rf"{type(operator).__name__}.*\(24,\)"):
        operators.check(operator, (24,))


def test_operators_applied_by_themselves_refuse_what_they_cannot_take():
    with pytest.raises(ValueError, match=r"size .*64.*received 100"):
        Projection(100)(np.zeros((2, 8, 8, 1), np.float32))
    with pytest.raises(ValueError, match="Coarser"):
        Coarser(3)(np.zeros((2, 8, 8, 1), np.float32))
