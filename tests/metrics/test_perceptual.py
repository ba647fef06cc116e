"""Distances of sounds: what they tell apart, and what they do not."""

import numpy as np
import pytest
from scipy import signal

from abp_tf.metrics import perceptual
from abp_tf.metrics.perceptual import level_between_events, spectrogram_distance, spectrum_noise

RATE = 8000


def clicks(seconds: float = 2.0, seed: int = 0) -> np.ndarray:
    """A decaying tone now and then."""
    random = np.random.default_rng(seed)
    time = np.arange(int(0.1 * RATE)) / RATE
    tone = np.exp(-40 * time) * np.sin(2 * np.pi * 900 * time)
    sound = np.zeros(int(seconds * RATE))
    for place in random.integers(0, len(sound) - len(tone), int(8 * seconds)):
        sound[place : place + len(tone)] += 0.3 * tone
    return sound + 0.001 * random.normal(size=len(sound))


def test_another_part_of_a_sound_is_nearer_than_noise_of_its_spectrum():
    another = spectrogram_distance(clicks(seed=1), clicks(), RATE)
    noise = spectrogram_distance(spectrum_noise(clicks()[:, None]), clicks(), RATE)
    assert spectrogram_distance(clicks(), clicks(), RATE) == 0
    silence = np.zeros_like(clicks())
    assert spectrogram_distance(silence, silence, RATE) == 0
    assert spectrogram_distance(silence, clicks(), RATE) > noise
    assert another < 0.3 * noise


def test_a_louder_sound_is_as_far_as_it_is_louder():
    # Levels differ by 6 dB, their changes by nothing: half of that.
    noise = np.random.default_rng(0).normal(size=2 * RATE) * 0.1
    assert spectrogram_distance(2 * noise, noise, RATE) == pytest.approx(3.01, abs=0.02)


def test_long_windows_hear_a_rhythm_and_short_ones_do_not():
    pieces = clicks().reshape(40, -1)  # of 50 ms
    regular = np.tile(np.concatenate([pieces[:1] * 0, clicks(0.1)[None, :400]]), (20, 1)).ravel()
    bursts = np.concatenate([np.zeros(8000), np.tile(clicks(0.1)[:400], 20)])
    by_window = [spectrogram_distance(regular, bursts, RATE, [window]) for window in (0.012, 0.186)]
    assert by_window[1] > 2 * by_window[0]
    assert spectrogram_distance(regular, bursts, RATE, [0.012, 0.186]) == pytest.approx(
        np.mean(by_window)
    )


def test_hiss_is_found_between_events():
    hiss = np.random.default_rng(3).normal(size=len(clicks()))
    levels = [level_between_events(clicks() + s * hiss, clicks(), RATE) for s in (0, 0.002, 0.01)]
    assert levels[0] == 0
    # The clicks have noise of .001 already, and are not quite silent between events.
    np.testing.assert_allclose(levels[1:], [7.0, 20.0], atol=1.5)
    assert abs(level_between_events(clicks(seed=1), clicks(), RATE)) < 1
    with pytest.raises(ValueError, match=r"0\.4"):
        level_between_events(np.zeros(1000), clicks(), RATE)


@pytest.mark.parametrize(("window", "count"), [(368, 16000), (507, 5070), (507, 8000)])
def test_the_spectrogram_is_that_of_scipy(window, count):
    sound = np.random.default_rng(2).normal(size=count).cumsum() * 0.01
    wanted, _, transform = signal.stft(sound, RATE, nperseg=window, boundary=None)
    frequencies, power = perceptual._spectrogram(sound, window, RATE)
    np.testing.assert_allclose(frequencies, wanted)
    np.testing.assert_allclose(power, np.abs(transform) ** 2, rtol=1e-9)


@pytest.mark.parametrize("shape", [(4000, 1), (32, 24, 3), (6, 8, 10, 3)])
def test_noise_keeps_spectrum_mean_and_correlations_of_channels(shape):
    random = np.random.default_rng(1)
    signal = random.normal(size=shape).cumsum(0) + 2
    noise = spectrum_noise(signal, seed=3)
    axes = tuple(range(len(shape) - 1))
    wanted, found = (np.abs(np.fft.fftn(x, axes=axes)) for x in (signal, noise))
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-2 * wanted.std())
    np.testing.assert_allclose(noise.mean(axes), signal.mean(axes), rtol=1e-4)
    flat, drawn = signal.reshape(-1, shape[-1]), noise.reshape(-1, shape[-1])
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(flat.T), rtol=1e-3)
    assert not np.allclose(noise, signal, atol=0.1)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"0\.4.*8000 Hz.*\(1000,\)"):
        spectrogram_distance(np.zeros(1000), clicks(), RATE)
