import numpy as np
import pytest

from abp_tf.results import PosteriorSamples


def test_intervals_are_quantiles_of_the_samples():
    samples = np.random.default_rng(0).normal(size=(3, 200, 4, 2)).astype(np.float32)
    drawn = PosteriorSamples(samples, samples.mean(axis=1), samples.std(axis=1))
    low, high = drawn.intervals(0.8)
    assert low.shape == high.shape == (3, 4, 2)
    assert low.dtype == high.dtype == np.float32
    inside = (samples >= low[:, None]) & (samples <= high[:, None])
    np.testing.assert_allclose(inside.mean(axis=1), 0.8, atol=0.011)
    assert ((samples < low[:, None]).mean(axis=1) > 0.08).all()
    exact = PosteriorSamples(np.arange(11.0)[None, :, None], np.zeros((1, 1)), np.zeros((1, 1)))
    np.testing.assert_allclose(exact.intervals(0.6), [[[2.0]], [[8.0]]])
    for level in (0, 1, 90, float("nan")):
        with pytest.raises(ValueError, match=f"`level`.*{level}"):
            drawn.intervals(level)
