"""Scaling of data in their own units, learned from what is observed."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import abp_tf
from abp_tf import Scaling

RNG = np.random.default_rng(0)
# Two channels in units of their own, °C and Pa; one position and one whole frame are never observed.
SIGNALS = (RNG.normal(size=(50, 6, 5, 2)) * [4, 300] + [15, 101_300]).astype(np.float32)
SIGNALS += RNG.normal(size=(6, 5, 1)).astype(np.float32)
MASK = RNG.random(SIGNALS.shape) > 0.4
MASK[:, 2, 3, 0] = False
MASK[7] = False
OPTIONS = [
    {"by": by, "positions": positions} for by in ("deviation", "range") for positions in (False, True)
]


def observed(values, channel):
    return values[..., channel][MASK[..., channel]]


@pytest.mark.parametrize("positions", [False, True])
def test_channels_have_mean_zero_and_deviation_one(positions):
    scaled = Scaling.of(SIGNALS, MASK, positions=positions).scale(SIGNALS.astype(np.float64))
    for channel in range(2):
        values = observed(scaled, channel)
        np.testing.assert_allclose([values.mean(), values.std()], [0, 1], atol=2e-4)


@pytest.mark.parametrize("positions", [False, True])
def test_channels_have_the_range_from_minus_one_to_one(positions):
    scaled = Scaling.of(SIGNALS, MASK, by="range", positions=positions).scale(SIGNALS)
    for channel in range(2):
        values = observed(scaled, channel)
        np.testing.assert_allclose([values.min(), values.max()], [-1, 1], atol=1e-4)


def test_means_of_positions_are_those_of_what_is_observed():
    scaling = Scaling.of(SIGNALS, MASK, positions=True)
    assert scaling.centre.shape == SIGNALS.shape[1:]
    assert scaling.unit.shape == (2,)
    data = np.ma.array(SIGNALS, mask=~MASK, dtype=np.float64)
    means = data.mean(axis=0)
    # A position that is never observed has the mean of its channel.
    np.testing.assert_allclose(scaling.centre, np.ma.filled(means, data[..., 0].mean()), rtol=1e-6)
    assert means.mask[2, 3, 0]
    np.testing.assert_allclose(scaling.unit, (data - means).std(axis=(0, 1, 2)), rtol=1e-5)


@pytest.mark.parametrize("options", OPTIONS)
def test_what_is_hidden_has_no_influence(options):
    scalings = [
        Scaling.of(np.where(MASK, SIGNALS, np.float32(other)), MASK, **options)
        for other in (0, 1e30, np.nan, np.inf)
    ]
    assert all(scaling == scalings[0] for scaling in scalings)
    assert Scaling.of({"signal": SIGNALS, "mask": MASK}, **options) == scalings[0]
    assert Scaling.of(np.ma.array(SIGNALS, mask=~MASK), **options) == scalings[0]
    assert Scaling.of(SIGNALS + 1, MASK, **options) != scalings[0]


@pytest.mark.parametrize("options", OPTIONS)
def test_channels_without_variation_or_observation_have_the_unit_one(options):
    signals = np.stack([np.full((9, 4), 0.1), np.full((9, 4), np.nan)], axis=-1).astype(np.float32)
    scaling = Scaling.of(signals, np.isfinite(signals), **options)
    np.testing.assert_array_equal(scaling.unit, [1, 1])
    centre = np.broadcast_to(scaling.centre, (4, 2))
    np.testing.assert_array_equal(centre, np.tile(np.float32([0.1, 0]), (4, 1)))


@pytest.mark.parametrize("options", OPTIONS)
def test_scaling_is_inverted_to_rounding_and_alike_for_arrays_and_tensors(options):
    scaling = Scaling.of(SIGNALS, MASK, **options)
    scaled = scaling.scale(SIGNALS)
    assert scaled.dtype == np.float32
    error = np.abs(scaling.restore(scaled) - SIGNALS)
    assert (error <= 2e-7 * (np.abs(SIGNALS) + np.abs(scaling.centre))).all()
    compiled = tf.function(scaling.scale)(SIGNALS).numpy()
    np.testing.assert_array_equal(compiled, scaled)
    samples = np.repeat(scaled[:, None], 3, axis=1)
    np.testing.assert_array_equal(scaling.restore(samples)[:, 1], scaling.restore(scaled))
    np.testing.assert_array_equal(scaling.restore_deviation(0.5), 0.5 * scaling.unit)


@pytest.mark.parametrize("more", [{}, {"positions": True, "times": np.arange(50.0), "period": 12}])
def test_configuration_restores_the_same_numbers(more):
    scaling = Scaling.of(SIGNALS, MASK, **more)
    text = json.dumps(keras.saving.serialize_keras_object(scaling))
    again = keras.saving.deserialize_keras_object(json.loads(text))
    assert again == scaling
    assert again.unit.dtype == np.float32


def seasonal(times):
    """The mean of the season, and the signals around it, `[n, 3, 2, 1]`."""
    phase = 2 * np.pi * np.asarray(times)[:, None, None, None] / 365.25
    place = np.arange(6).reshape(3, 2, 1)
    mean = 10 + place + (5 + place) * np.cos(phase) - place * np.sin(phase)
    return mean, mean + np.random.default_rng(1).normal(size=mean.shape)


def test_seasonal_mean_is_subtracted_and_restored():
    times = np.arange(0, 3650, 5.0)
    mean, signals = seasonal(times)
    mask = RNG.random(signals.shape) > 0.3
    damaged = np.where(mask, signals, np.nan)
    scaling = Scaling.of(damaged, mask, positions=True, times=times, period=365.25)
    np.testing.assert_allclose(scaling.restore(np.zeros_like(mean), times), mean, atol=0.25)
    np.testing.assert_allclose(scaling.unit, 1, atol=0.05)
    scaled = scaling.scale(signals, times)
    np.testing.assert_allclose(scaling.restore(scaled, times), signals, atol=1e-5)
    samples = np.repeat(scaled[:, None], 2, axis=1)
    np.testing.assert_allclose(scaling.restore(samples, times)[:, 1], signals, atol=1e-5)
    later = times + 365.25 * 3
    np.testing.assert_allclose(scaling.scale(signals, later), scaled, atol=1e-5)


def test_season_of_a_position_with_one_observation_is_nearly_that_of_its_channel():
    times = np.arange(0, 730, 5.0)
    _, signals = seasonal(times)
    mask = np.ones(signals.shape, bool)
    mask[1:, 0, 0] = False  # one observation, in winter
    mask[:, 1, 0] = False  # none
    scaling = Scaling.of(signals, mask, positions=True, times=times, period=365.25)
    of_channel = Scaling.of(signals, mask, times=times, period=365.25)
    np.testing.assert_allclose(scaling.waves[:, 1, 0], of_channel.waves, rtol=1e-6)
    np.testing.assert_allclose(scaling.waves[:, 0, 0], of_channel.waves, atol=3)


def test_fields_bring_their_times():
    times = np.arange(0, 3650, 50.0)
    _, signals = seasonal(times)
    timed = {"signal": signals, "mask": np.ones(signals.shape, bool), "time": times}
    assert Scaling.of(timed, period=365.25) == Scaling.of(signals, times=times, period=365.25)
    field = abp_tf.data.load_field(np.where(MASK, SIGNALS, np.nan)[..., :1])
    assert Scaling.of(field) == Scaling.of(SIGNALS[..., :1], MASK[..., :1])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Scaling([0.0], [0.0]), ["positive", "0."]),
        (lambda: Scaling([np.nan], [1.0]), ["finite", "nan"]),
        (lambda: Scaling([0.0], [1.0], period=365), ["waves", "(2, 1)", "()"]),
        (lambda: Scaling([0.0], [1.0], [[1.0], [0.0]]), ["period", "None"]),
        (lambda: Scaling.of(SIGNALS, MASK, by="minmax"), ["by", "minmax", "range"]),
        (lambda: Scaling.of(np.where(MASK, SIGNALS, np.nan)), ["finite", "mask"]),
        (lambda: Scaling.of(SIGNALS, MASK[:, :5]), ["Mask", "(50, 5, 5, 2)"]),
        (lambda: Scaling.of(SIGNALS, period=365), ["times", "none"]),
        (lambda: Scaling.of(SIGNALS, times=[1.0], period=365), ["50", "(1,)"]),
        (lambda: Scaling.of(SIGNALS, times=np.arange(50), period=0), ["period", "0"]),
        (lambda: Scaling.of(SIGNALS).check((6, 5, 3)), ["centre", "(3,)", "(6, 5, 3)", "(2,)"]),
        (lambda: Scaling.of(SIGNALS, positions=True).check((5, 6, 2)), ["(5, 6, 2)", "(6, 5, 2)"]),
    ],
)
def test_errors(make, words):
    with pytest.raises(ValueError, match="expected") as error:
        make()
    assert all(word in str(error.value) for word in words), error.value
