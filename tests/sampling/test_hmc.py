import numpy as np
import tensorflow as tf

from abp_tf.sampling import HMC, MALA, hmc
from abp_tf.sampling.metropolis import look_at


def test_one_leapfrog_step_is_one_step_of_mala():
    look = look_at(lambda u: tf.reduce_sum(u**4 + u, axis=-1))
    rng = np.random.default_rng(0)
    state, noise = (tf.constant(rng.normal(size=(20, 3)), tf.float32) for _ in range(2))
    here = look(state)
    first, ratio = MALA(1, 0.3).propose(look, here, noise=noise)
    other, same = HMC(1, 0.3, leapfrog=1).propose(look, here, momentum=noise, length=tf.fill([20], 0.3))
    np.testing.assert_allclose(other.state, first.state, atol=1e-5)
    np.testing.assert_allclose(same, ratio, rtol=1e-3, atol=1e-3)
    assert np.ptp(ratio) > 1


def test_energy_is_kept_to_the_second_order_of_the_step_size():
    look = look_at(lambda u: tf.reduce_sum(u**4 / 4, axis=-1))
    start, momentum = tf.constant([[0.5, -0.3]]), tf.constant([[1.0, 0.4]])
    errors, ends = [], []
    for leapfrog in (10, 20):
        length = tf.constant([2.0 / leapfrog])
        sampler = HMC(1, 1.0, leapfrog)
        end, log_ratio = sampler.propose(look, look(start), momentum=momentum, length=length)
        errors.append(float(log_ratio[0]))
        ends.append(end.state.numpy())
    assert 3 < errors[0] / errors[1] < 5
    np.testing.assert_allclose(ends[0], ends[1], atol=0.02)
    assert np.abs(ends[0] - start).max() > 0.5


def test_trajectories_as_long_as_a_period_do_not_come_back_to_their_start(run, gaussian, monkeypatch):
    # The leapfrog's own period: one step turns by the angle whose cosine is 1 − δ²/2.
    step_size = (2 - 2 * np.cos(2 * np.pi / 10)) ** 0.5
    sampler, start = HMC(30, step_size, leapfrog=10), np.full((500, 1), 3.0)
    found, _ = run(sampler, gaussian(0.0, np.eye(1)), start)
    assert abs(found.mean()) < 0.2
    assert abs(found.var() - 1) < 0.2
    monkeypatch.setattr(hmc, "SPREAD", 0.0)
    stuck, _ = run(sampler, gaussian(0.0, np.eye(1)), start)
    np.testing.assert_allclose(stuck, 3.0, atol=0.01)
