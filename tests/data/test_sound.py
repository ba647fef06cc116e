import os
from pathlib import Path

import numpy as np
import pytest

from abp_tf import data
from abp_tf.data import load_sound

soundfile = pytest.importorskip("soundfile")

RATE = 8000


def tone(samples=4000, frequency=440.0, rate=RATE, level=0.5):
    return level * np.sin(2 * np.pi * frequency * np.arange(samples) / rate)


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a sound file and returns its specification."""

    def write(name, values, rate=RATE, **options):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, values, rate, **options)
        return f"wav:{path}"

    return write


@pytest.mark.parametrize(
    ("subtype", "step"),
    [("PCM_U8", 1 / 128), ("PCM_16", 2**-15), ("PCM_24", 2**-23), ("PCM_32", 1e-7), ("FLOAT", 1e-7)],
)
def test_wav_of_any_depth(write, subtype, step):
    values = tone()
    sounds = load_sound(write("a.wav", values, subtype=subtype))
    assert sounds.train.shape == (1, 4000, 1)
    assert sounds.train.dtype == np.float32
    assert sounds.test.shape == (0, 4000, 1)
    assert sounds.rate == RATE
    np.testing.assert_allclose(sounds.train[0, :, 0], values, atol=step)


@pytest.mark.parametrize("rate", [None, RATE // 2, RATE * 2])
def test_no_more_is_decoded_than_is_asked_for(write, monkeypatch, rate):
    spec = write("a/1.wav", tone(20 * RATE))
    write("a/2.wav", tone(20 * RATE))
    of_all = load_sound(spec, length=1000, hop=500, rate=rate, test_share=0).train[:3]
    decoded = []
    read = soundfile.SoundFile.read

    def counted(file, *arguments, **options):
        decoded.append(len(values := read(file, *arguments, **options)))
        return values

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    folder = spec.removesuffix("/1.wav")
    few = load_sound(folder, length=1000, hop=500, rate=rate, limit=3, test_share=0)
    np.testing.assert_allclose(few.train, of_all, atol=1e-6)
    assert len(decoded) == 1
    assert decoded[0] < 2 * RATE


def test_the_peak_of_a_whole_recording_scales_its_beginning(write):
    values = tone(200_000)
    values[:66_000] = np.nan
    values[-1] = -0.8
    options = {"length": 70_000, "test_share": 0, "peak": 1.0, "missing": True}
    spec = write("a.wav", values, subtype="FLOAT")
    few = load_sound(spec, limit=1, **options)
    np.testing.assert_allclose(few.train[0, :, 0], values[:70_000] / 0.8, atol=1e-6)
    np.testing.assert_array_equal(few.train, load_sound(spec, **options).train[:1])
    values[-1] = np.inf
    with pytest.raises(ValueError, match=r"a\.wav.*infinity"):
        load_sound(write("a.wav", values, subtype="FLOAT"), limit=1, **options)


@pytest.mark.parametrize(("name", "options"), [("a.flac", {}), ("a.ogg", {}), ("a.aiff", {})])
def test_other_formats(write, name, options):
    sounds = load_sound(write(name, tone(), **options))
    assert np.corrcoef(sounds.train[0, :4000, 0], tone())[0, 1] > 0.99


def test_the_extension_does_not_matter_for_one_file(write, tmp_path):
    spec = write("a.flac", tone())
    path = Path(spec.removeprefix("wav:")).rename(tmp_path / "really_flac.wav")
    np.testing.assert_allclose(load_sound(f"wav:{path}").train[0, :, 0], tone(), atol=1e-4)
    path = path.rename(tmp_path / "sound")
    assert load_sound(f"wav:{path}").train.shape == (1, 4000, 1)


def test_stereo_is_mixed(write):
    left, right = tone(frequency=300), tone(frequency=700)
    sounds = load_sound(write("a.wav", np.stack([left, right], axis=1), subtype="FLOAT"))
    np.testing.assert_allclose(sounds.train[0, :, 0], (left + right) / 2, atol=1e-6)


def test_windows(write):
    spec = write("a.wav", tone(), subtype="FLOAT")
    sounds = load_sound(spec, length=1500, hop=500, test_share=0.3)
    assert sounds.train.shape == (4, 1500, 1)
    assert sounds.test.shape == (2, 1500, 1)
    for place, window in enumerate([*sounds.train, *sounds.test]):
        np.testing.assert_allclose(window[:, 0], tone()[500 * place :][:1500], atol=1e-6)
    assert load_sound(spec, length=1500).train.shape == (2, 1500, 1)
    assert load_sound(spec, length=1000, limit=3, test_share=0).train.shape == (3, 1000, 1)


def test_samples_that_are_missing(write):
    holed = tone(level=0.2)
    holed[500:700] = np.nan
    spec = write("a.wav", holed, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"a\.wav'.* NaN.*missing=True"):
        load_sound(spec)
    found = load_sound(spec, missing=True).train[0, :, 0]
    np.testing.assert_allclose(found, holed, atol=1e-6)
    louder = load_sound(spec, missing=True, peak=0.8, rate=RATE).train[0, :, 0]
    np.testing.assert_allclose(np.nanmax(np.abs(louder)), 0.8, rtol=1e-6)
    assert np.isnan(louder).sum() == 200
    with pytest.raises(ValueError, match=r"a\.wav'.* NaN.* 8000 to 4000"):
        load_sound(spec, missing=True, rate=4000)
    holed[0] = np.inf
    for bad in (holed, np.full(1000, np.nan, np.float32)):
        with pytest.raises(ValueError, match=r"b\.wav'.*NaN or infinity"):
            load_sound(write("b.wav", bad, subtype="FLOAT"), missing=True)


@pytest.mark.parametrize("rate", [4000, 16_000, 11_025])
def test_resampling_keeps_the_tone(write, rate):
    spec = write("a.wav", tone(8000), subtype="FLOAT")
    sounds = load_sound(spec, rate=rate)
    assert sounds.rate == rate
    found = sounds.train[0, :, 0]
    assert len(found) == rate
    inner = slice(rate // 10, -rate // 10)  # resampling filters ring at the ends
    expected = tone(rate, rate=rate)
    np.testing.assert_allclose(found[inner], expected[inner], atol=2e-3)


def test_resampling_removes_what_the_rate_cannot_hold(write):
    spec = write("a.wav", tone(8000) + tone(8000, frequency=3000, level=0.4), subtype="FLOAT")
    found = load_sound(spec, rate=4000).train[0, :, 0]
    np.testing.assert_allclose(found[400:-400], tone(4000, rate=4000)[400:-400], atol=2e-3)


def test_peak(write):
    spec = write("a.wav", tone(level=0.01), subtype="FLOAT")
    assert np.abs(load_sound(spec, peak=0.8).train).max() == pytest.approx(0.8, abs=1e-6)
    loud = write("b.wav", tone(level=3.0), subtype="FLOAT")
    with pytest.raises(ValueError, match=r"received .*\b3\b.*b\.wav.*peak=1\.0"):
        load_sound(loud)
    assert np.abs(load_sound(loud, peak=1.0).train).max() == 1


def test_a_folder_in_natural_order_with_what_is_skipped(write, tmp_path):
    for name, frequency in [("b/10.wav", 900), ("b/2.flac", 600), ("a.wav", 300)]:
        write(f"sounds/{name}", tone(1000, frequency))
    write("sounds/c/silent.wav", np.zeros(1000))
    (tmp_path / "sounds/broken.wav").write_bytes(b"no sound at all")
    (tmp_path / "sounds/notes.txt").write_text("no sound either")
    write("sounds/short.wav", tone(10))
    with (
        pytest.warns(UserWarning, match=r"\b1 of 4\b.*short\.wav \(10") as short,
        pytest.warns(UserWarning, match=r"\b2 of .*sounds'.*broken.*silent") as caught,
    ):
        sounds = load_sound(f"wav:{tmp_path / 'sounds'}", length=1000, test_share=0)
    assert {one.filename for one in (*caught, *short)} == {__file__}
    assert sounds.skipped == ("broken.wav", "c/silent.wav", "short.wav")
    pitches = np.abs(np.fft.rfft(sounds.train[..., 0])).argmax(axis=1) * RATE / 1000
    np.testing.assert_allclose(pitches, [300, 600, 900], atol=8)


def test_rates_that_differ(write, tmp_path):
    write("s/a.wav", tone(8000))
    write("s/b.wav", tone(4000, rate=4000), rate=4000)
    with pytest.raises(ValueError, match=r"received 4000, 8000 .*rate="):
        load_sound(f"wav:{tmp_path / 's'}")
    sounds = load_sound(f"wav:{tmp_path / 's'}", rate=4000, test_share=0)
    assert sounds.train.shape == (2, 4000, 1)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (tone(100), {"length": 200}, r"\(100 samples.* 200\).*length"),
        (np.zeros(0), {}, "empty"),
        (np.zeros(100), {}, "silent"),
        (np.where(np.arange(100) == 7, np.nan, 0.1), {}, "NaN or infinity"),
        (np.stack([tone(100), -tone(100)], 1), {}, "silent.*channels"),
    ],
)
def test_sounds_that_cannot_be_used_are_refused_by_name(write, values, options, message):
    spec = write("odd.wav", values, subtype="FLOAT")
    with pytest.raises(ValueError, match=rf"(?s)odd\.wav.*{message}|{message}.*odd\.wav"):
        load_sound(spec, **options)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"this is text", bytes(4000)])
def test_files_that_hold_no_sound(tmp_path, content):
    for name in ("odd.wav", "odd.raw"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}'.*WAV"):
            load_sound(f"wav:{tmp_path / name}")


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.wav'"):
        load_sound(f"wav:{tmp_path / 'none.wav'}")
    with pytest.raises(FileNotFoundError, match=rf"\.wav.*{tmp_path}"):
        load_sound(f"wav:{tmp_path}")
    (tmp_path / "a.wav").touch()
    with pytest.raises(ValueError, match=rf"\b1\b.*{tmp_path}.*a\.wav"):
        load_sound(f"wav:{tmp_path}")
    with pytest.raises(ValueError, match=r"(?s)received 'mp3:x'.*wav:PATH"):
        load_sound("mp3:x")
    with pytest.raises(ValueError, match=r"sound.*received none"):
        load_sound("wav:")


@pytest.mark.parametrize(
    "bad",
    [{"rate": 0}, {"peak": 0}, {"peak": 1.5}, {"length": 0}, {"hop": -1}, {"limit": 0}, {"item": 0},
     {"test_share": 1.0}],
)  # fmt: skip
def test_numbers_out_of_range(write, bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        load_sound(write("a.wav", tone()), **bad)


class TestArrays:
    @pytest.fixture
    def save(self, tmp_path):
        def save(**arrays):
            np.savez(tmp_path / "s.npz", **arrays)
            return f"npz:{tmp_path / 's.npz'}"

        return save

    def test_sixteen_bits(self, save):
        values = np.random.default_rng(0).integers(-32768, 32768, (3, 500)).astype(np.int16)
        sounds = load_sound(save(audio=values, rate=np.full(3, 11_025)), test_share=0)
        np.testing.assert_array_equal(sounds.train[..., 0], values / np.float32(32768))
        assert sounds.rate == 11_025
        assert load_sound(save(audio=values)).rate is None

    def test_one_of_several_and_their_rates(self, save):
        values = np.stack([tone(400), tone(400, 1000)])
        spec = save(audio=values, rate=np.array([8000, 4000]), names=np.array(["a", "b"]))
        with pytest.raises(ValueError, match="received 4000, 8000"):
            load_sound(spec)
        one = load_sound(spec, item=1)
        assert one.rate == 4000
        np.testing.assert_allclose(one.train[0, :, 0], values[1], atol=1e-6)
        with pytest.raises(ValueError, match=r"item from 0 to 1 .*'audio'.*received 2"):
            load_sound(spec, item=2)
        assert load_sound(spec, rate=8000, length=300, test_share=0).train.shape == (3, 300, 1)

    def test_one_sound_alone(self, save):
        assert load_sound(save(audio=tone(500)), length=100).train.shape == (4, 100, 1)

    def test_a_rate_is_needed_to_change_it(self, save):
        with pytest.raises(ValueError, match=r"'audio'.* 4000.*`rate`"):
            load_sound(save(audio=tone(500)), rate=4000)

    def test_other_arrays(self, save):
        with pytest.raises(ValueError, match=r"received uint16 .*'audio'"):
            load_sound(save(audio=np.ones((2, 500), np.uint16)))
        with pytest.raises(
            ValueError, match=r"\[samples\] or \[n, samples\].*found 0.*images \(2, 100, 100\)"
        ):
            load_sound(save(images=np.zeros((2, 100, 100))))


def test_real_sounds():
    folder = os.environ.get("ABP_TF_DATA")
    path = Path(folder or ".", "seed_audio.npz")
    if not folder or not path.is_file():
        pytest.skip("needs seed_audio.npz in the folder ABP_TF_DATA names")
    sounds = data.load_sound(f"npz:{path}", item=7, rate=11_025, length=10_000)
    assert sounds.train.shape == (3, 10_000, 1)
    assert sounds.rate == 11_025
    assert 0.01 < sounds.train.std() < 1
