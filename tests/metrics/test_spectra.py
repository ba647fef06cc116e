"""Power by frequency."""

import numpy as np
import pytest

from abp_tf.metrics import power_ratio
from abp_tf.metrics.spectra import radial_power


@pytest.mark.parametrize("shape", [(300, 16, 16, 1), (200, 12, 20, 2), (300, 9, 9, 1)])
def test_white_noise_has_its_variance_at_all_frequencies(shape):
    noise = np.random.default_rng(0).normal(5, 2, shape)
    frequency, power = radial_power(noise)
    side = min(shape[1:3])
    np.testing.assert_allclose(frequency, np.arange(1, side // 2 + 1) / side)
    # The lowest ring has lost what the mean of the image has taken.
    np.testing.assert_allclose(power[1:], 4, rtol=0.12)


def test_a_wave_has_its_power_at_its_frequency_in_any_direction():
    down, right = np.mgrid[:64, :64]
    for direction in (0.0, 0.6, 2.0):
        phase = 2 * np.pi * 0.25 * (down * np.cos(direction) + right * np.sin(direction))
        frequency, power = radial_power(np.cos(phase)[None, ..., None])
        assert frequency[power.argmax()] == pytest.approx(0.25, abs=1 / 64)
        assert power[np.abs(frequency - 0.25) < 2.5 / 64].sum() > 0.99 * power.sum()


def test_a_gradient_is_no_fine_detail():
    ramp = np.broadcast_to(np.linspace(-1, 1, 32)[:, None], (32, 32))
    power = radial_power(ramp[None, ..., None])[1]
    assert power[-4:].max() < 1e-5 * power[0]


def test_blur_has_less_and_noise_more_of_the_finest_power():
    random = np.random.default_rng(0)
    real, other = random.normal(size=(2, 200, 20, 20, 1))
    blurred = (real + np.roll(real, 1, 1) + np.roll(real, 1, 2) + np.roll(real, (1, 1), (1, 2))) / 4
    assert 0.9 < power_ratio(real, other).finest < 1.1
    assert power_ratio(blurred, other).finest < 0.3
    assert power_ratio(real + random.normal(size=real.shape), other).finest > 1.3
    np.testing.assert_allclose(power_ratio(3 * real, real).ratio, 9)
    assert power_ratio(3 * real, real).finest == pytest.approx(9)


def test_bad_input_is_refused():
    images = np.zeros((2, 8, 8, 1))
    with pytest.raises(ValueError, match=r"one size.*\(2, 8, 8, 1\).*\(2, 8, 7, 1\)"):
        power_ratio(images, images[:, :, :7])
    for wrong in (images[0], images[:, :3], images[:0]):
        with pytest.raises(ValueError, match=r"4 or more"):
            radial_power(wrong)
    with pytest.raises(ValueError, match="NaN"):
        radial_power(images + np.inf)
