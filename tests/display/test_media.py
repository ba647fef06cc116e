"""Files and pictures of sounds and clips."""

import io
import re
import wave

import numpy as np
import pytest
from PIL import Image, ImageSequence

from abp_tf import signals
from abp_tf.display import media

SOUND, VIDEO = signals.get("sound"), signals.get("video")

RATE = 8000


def tone(frequency, samples=4000, level=1.0):
    return level * np.sin(2 * np.pi * frequency * np.arange(samples) / RATE)


def squares(frames=6, height=24, width=16):
    """A white square that moves down, one step a frame, on black; in [-1, 1]."""
    clip = np.full((frames, height, width, 1), -1.0, np.float32)
    for place, frame in enumerate(clip):
        frame[4 * place : 4 * place + 4, 4:12] = 1
    return clip


class TestSounds:
    def test_wav_holds_the_sound(self, tmp_path):
        values = np.random.default_rng(0).uniform(-1, 1, 500)
        path = tmp_path / "new" / "a.wav"
        media.save_wav(path, values[:, None], RATE)
        with wave.open(str(path)) as file:
            assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE)
            written = np.frombuffer(file.readframes(500), "<i2")
        np.testing.assert_allclose(written / 32768, values, atol=1 / 32768)
        assert list(path.parent.iterdir()) == [path]

    def test_what_is_out_of_range_is_clipped(self, tmp_path):
        media.save_wav(tmp_path / "a.wav", np.array([-3.0, 0.0, 3.0]), RATE)
        with wave.open(str(tmp_path / "a.wav")) as file:
            assert np.frombuffer(file.readframes(3), "<i2").tolist() == [-32768, 0, 32767]

    @pytest.mark.parametrize("shape", [(2, 50, 1), (50, 2), (0,)])
    def test_one_sound_only(self, tmp_path, shape):
        with pytest.raises(ValueError, match=rf"\[samples\].*{re.escape(str(shape))}"):
            media.save_wav(tmp_path / "a.wav", np.zeros(shape), RATE)
        with pytest.raises(ValueError, match="1 NaN"):
            media.spectrogram([0.0, np.nan])
        with pytest.raises(ValueError, match=r"rate.*received 0"):
            media.save_wav(tmp_path / "a.wav", np.zeros(5), 0)
        assert not any(tmp_path.iterdir())

    @pytest.mark.parametrize("frequency", [500, 1500, 3000])
    def test_a_tile_shows_a_tone_at_its_frequency(self, frequency):
        (tile,) = SOUND.tiles(tone(frequency)[None, :, None])
        assert tile.shape[0] == 128
        # Row 0 is the highest frequency, half of the rate.
        rows = tile[:, :, 0].argmax(axis=0)
        np.testing.assert_allclose((127 - rows + 1) * RATE / 256, frequency, atol=RATE / 256)
        assert tile.max() == pytest.approx(1, abs=0.05)  # 0 dB: a tone of full scale
        far = np.abs(np.arange(128) - rows[0]) > 20
        assert tile[far].max() < -0.4

    def test_decibels(self):
        loud = SOUND.tiles(tone(1000)[None, :, None]).max()
        quiet = SOUND.tiles(tone(1000, level=0.01)[None, :, None]).max()
        # 40 dB of 80, on a scale of 2.
        assert loud - quiet == pytest.approx(1, abs=0.01)
        assert (SOUND.tiles(np.zeros((1, 4000, 1))) == -1).all()

    def test_short_sounds_and_hidden_samples(self):
        assert SOUND.tiles(np.ones((2, 10, 1))).shape == (2, 128, 1, 1)
        hidden = np.full((1, 600, 1), np.nan)
        assert (SOUND.tiles(hidden) == -1).all()

    def test_spectrogram_is_a_picture(self):
        picture = media.spectrogram(tone(1000), RATE, title="tone")
        assert picture.dtype == np.uint8
        assert picture.shape == (350, 800, 3)
        assert (media.spectrogram(tone(3000), RATE, title="tone") != picture).any()
        assert (media.spectrogram(tone(1000), title="tone") != picture).any()


class TestClips:
    def test_gif_holds_the_frames(self, tmp_path):
        clip = squares()
        media.save_gif(tmp_path / "a.gif", clip, fps=20)
        with Image.open(tmp_path / "a.gif") as image:
            assert image.info["duration"] == 50
            assert image.info["loop"] == 0
            found = [np.asarray(frame.convert("L")) for frame in ImageSequence.Iterator(image)]
        np.testing.assert_array_equal(found, [np.where(frame[..., 0] > 0, 255, 0) for frame in clip])

    def test_mp4_holds_the_frames(self, tmp_path):
        av = pytest.importorskip("av")
        clip = squares(5, 25, 15)  # odd sides, which the format cannot have
        media.save_mp4(tmp_path / "new" / "a.mp4", clip, fps=12)
        with av.open(str(tmp_path / "new" / "a.mp4")) as container:
            assert container.streams.video[0].average_rate == 12
            found = np.array([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])
        assert found.shape == (5, 26, 16, 3)
        wanted = np.where(clip > 0, 255, 0)
        assert np.abs(found[:, :25, :15].astype(int) - wanted).mean() < 12
        assert len(list((tmp_path / "new").iterdir())) == 1

    def test_a_strip_shows_frames_side_by_side(self):
        clip = squares(16, 64, 16)
        (strip,) = VIDEO.tiles(clip[None])
        assert strip.shape == (64, 8 * 16, 1)
        np.testing.assert_array_equal(strip[:, :16], clip[0])
        np.testing.assert_array_equal(strip[:, -16:], clip[-1])
        (short,) = VIDEO.tiles(clip[None, :3])
        np.testing.assert_array_equal(short, np.concatenate(list(clip[:3]), axis=1))

    def test_clips_that_play_together(self):
        first, second = squares(4), -squares(4)
        played = media.frames(np.stack([first, second]), columns=2, scale=1)
        assert played.shape == (4, 24, 16 + 2 + 16, 3)
        np.testing.assert_array_equal(played[:, :, :16, 0], (first[..., 0] + 1) * 127.5)
        np.testing.assert_array_equal(played[:, :, 18:, 2], (second[..., 0] + 1) * 127.5)

    def test_refusals(self, tmp_path):
        with pytest.raises(ValueError, match=r"\[frames, h, w, c\].*\(1, 6, 24, 16, 1\)"):
            media.save_gif(tmp_path / "a.gif", squares()[None])
        with pytest.raises(ValueError, match="received NaN"):
            media.save_gif(tmp_path / "a.gif", squares() * np.nan)
        with pytest.raises(ValueError, match="`fps`, received 0"):
            media.save_gif(tmp_path / "a.gif", squares(), fps=0)
        with pytest.raises(ValueError, match=r"\.mp4.*a\.gif"):
            media.save_mp4(tmp_path / "a.gif", squares())
        with pytest.raises(ValueError, match=r"\[n, frames, h, w, c\].*\(6, 24, 16, 1\)"):
            media.frames(squares())
        assert not any(tmp_path.iterdir())


def test_a_gif_in_memory_is_that_of_the_file(tmp_path):
    media.save_gif(tmp_path / "a.gif", squares(), fps=10)
    assert (tmp_path / "a.gif").read_bytes() == media.gif(squares(), 10)
    assert Image.open(io.BytesIO(media.gif(squares()))).info["duration"] == 100
