import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from abp_tf.sampling import HMC, MALA, Descent, Info, Langevin, Sampler

ALL = [Langevin(20, 0.3, 0.5, cool=10), MALA(5, 0.2), HMC(5, 0.2, leapfrog=3), Descent(7, 0.1, 2)]


@pytest.mark.parametrize("sampler", ALL)
def test_config_round_trip(sampler):
    assert type(sampler).from_config(sampler.get_config()) == sampler
    serialized = keras.saving.serialize_keras_object(sampler)
    assert serialized["registered_name"] == f"abp_tf>{type(sampler).__name__}"
    assert keras.saving.deserialize_keras_object(serialized) == sampler


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (Langevin, {"steps": -1, "step_size": 0.1}, "Langevin.*`steps`.* 0 .*-1"),
        (Langevin, {"steps": 2.5, "step_size": 0.1}, "Langevin.*`steps`.*2.5"),
        (Langevin, {"steps": 1, "step_size": 0.0}, "Langevin.*`step_size`.*0.0.*steps=0"),
        (Langevin, {"steps": 1, "step_size": float("nan")}, "Langevin.*`step_size`.*nan"),
        (Langevin, {"steps": 1, "step_size": "0.1"}, "Langevin.*`step_size`.*'0.1'"),
        (Langevin, {"steps": 1, "step_size": 0.1, "temperature": -1}, "Langevin.*`temperature`.*-1"),
        (Langevin, {"steps": 1, "step_size": 0.1, "cool": -2}, "Langevin.*`cool`.*-2"),
        (MALA, {"steps": True, "step_size": 0.1}, "MALA.*`steps`.*True"),
        (MALA, {"steps": 1, "step_size": -0.1}, "MALA.*`step_size`.*-0.1"),
        (MALA, {"steps": 1, "step_size": float("inf")}, "MALA.*`step_size`.*inf"),
        (HMC, {"steps": 1, "step_size": 0.0}, "HMC.*`step_size`.*0.0"),
        (HMC, {"steps": 1, "step_size": 0.1, "leapfrog": 0}, "HMC.*`leapfrog`.* 1 .*0"),
        (Descent, {"steps": -1}, "Descent.*`steps`.*-1"),
        (Descent, {"learning_rate": 0}, "Descent.*`learning_rate`.*0"),
        (Descent, {"restarts": 0}, "Descent.*`restarts`.* 1 .*0"),
    ],
)
def test_impossible_settings_are_refused(kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        kind(**arguments)


def test_numbers_of_numpy_are_welcome():
    sampler = Langevin(np.int64(3), np.float32(0.5), np.float64(1), cool=np.int32(2))
    assert sampler == Langevin(3, 0.5, 1.0, 2)
    assert {type(value) for value in sampler.get_config().values()} == {int, float}


def test_what_a_sampler_can_be_asked():
    langevin, mala, hmc, descent = ALL
    assert [sampler.total_steps for sampler in ALL] == [30, 5, 15, 7]
    assert [sampler.rejects for sampler in ALL] == [False, True, True, False]
    assert [sampler.draws_samples for sampler in ALL] == [True, True, True, False]
    assert not mala.with_steps(0).draws_samples
    assert langevin.with_steps(4) == Langevin(4, 0.3, 0.5)
    assert hmc.with_steps(4) == HMC(4, 0.2, leapfrog=3)
    assert descent.with_steps(4) == Descent(4, 0.1, 2)
    assert langevin.for_draws() == Langevin(20, 0.3)
    assert mala.for_draws() is mala
    with pytest.raises(ValueError, match=r"Descent\(steps=7.*Langevin\(200"):
        descent.for_draws()
    for sampler in (langevin, mala, hmc):
        with pytest.raises(ValueError, match=r"1 or more, received 0 in .*steps=0.*Langevin\(200"):
            sampler.with_steps(0).for_draws()


def test_stability_is_that_of_the_longest_step(gaussian):
    energy, state = gaussian(0.0, np.diag([1.0, 4.0])), tf.zeros([3, 2])
    for sampler, expected in ((ALL[0], 0.09), (ALL[1], 0.04), (ALL[2], 0.24**2), (ALL[3], 0.0)):
        np.testing.assert_allclose(sampler.stability(energy, state), 3 * [expected], rtol=1e-4)


def test_a_descent_reports_where_it_went(run, gaussian):
    start = np.array([[3.0, 4.0], [0.0, 1.0]])
    state, info = run(Descent(300, 0.1), gaussian(0.0, np.eye(2)), start)
    np.testing.assert_allclose(state, 0.0, atol=1e-3)
    np.testing.assert_allclose(info.initial_energy, [12.5, 0.5], rtol=1e-6)
    np.testing.assert_allclose(info.final_energy, 0.0, atol=1e-5)
    np.testing.assert_array_equal(info.acceptance, 1.0)
    one, info = run(Descent(1, 0.1), gaussian(0.0, np.eye(2)), start)
    np.testing.assert_allclose(one, start - 0.1 * (start > 0), atol=1e-6)
    np.testing.assert_allclose(info.gradient_norm, [5.0, 1.0], rtol=1e-6)


def test_a_sampler_of_ones_own_needs_its_sample_alone():
    @dataclasses.dataclass(frozen=True)
    class Walk(Sampler):
        width: float = 1.0

        def sample(self, energy, state, seeds):
            value = energy(state)
            return state + self.width, Info(value, value, 0 * value, 0 * value)

    walk = Walk(3, width=2.0)
    assert walk.with_steps(5) == Walk(5, 2.0)
    assert Walk.from_config(walk.get_config()) == walk
    with pytest.raises(ValueError, match=r"Walk.*`steps`.*-1"):
        Walk(-1)
    with pytest.raises(TypeError, match="abstract"):
        Sampler(3)
