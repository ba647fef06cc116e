"""Clips of video and photographs of textures, from files and arrays."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from abp_tf.data import load_texture, load_video
from abp_tf.display import media


def clip(frames=12, height=32, width=48, seed=0):
    """Smooth colours that change from frame to frame, uint8 `[frames, h, w, 3]`."""
    t, y, x = np.meshgrid(*map(np.arange, (frames, height, width)), indexing="ij")
    phase = seed + np.stack([t / 5 + x / 20, t / 3 - y / 15, x / 25 + y / 25 - t / 4], axis=-1)
    return np.rint(127.5 + 100 * np.sin(phase)).astype(np.uint8)


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a clip as .mp4 or .gif and returns its specification."""

    def write(name, frames, fps=20):
        save = media.save_mp4 if name.endswith(".mp4") else media.save_gif
        save(tmp_path / name, frames, fps)
        return f"video:{tmp_path / name}"

    return write


class TestFiles:
    @pytest.mark.parametrize(("name", "error"), [("a.mp4", 6), ("a.gif", 8)])
    def test_frames_and_rate_come_back(self, write, name, error):
        found = load_video(write(name, clip()))
        assert found.train.shape == (1, 12, 32, 48, 3)
        assert found.train.dtype == np.float32
        assert found.test.shape == (0, 12, 32, 48, 3)
        assert found.rate == 20
        pixels = (found.train[0] + 1) * 127.5
        differences = [[np.abs(one - other).mean() for other in clip().astype(float)] for one in pixels]
        assert np.argmin(differences, axis=1).tolist() == list(range(12))
        assert np.diagonal(differences).max() < error

    def test_clips_of_a_long_recording(self, write):
        spec = write("a.mp4", clip(23))
        found = load_video(spec, length=6, hop=5, test_share=0.3)
        assert found.train.shape == (3, 6, 32, 48, 3)
        assert found.test.shape == (1, 6, 32, 48, 3)
        np.testing.assert_array_equal(found.train[0, 5], found.train[1, 0])
        np.testing.assert_array_equal(load_video(spec, length=6, limit=1).train[0], found.train[0])

    def test_size_and_colour(self, write):
        spec = write("a.mp4", clip())
        assert load_video(spec, size=16, grey=True).train.shape == (1, 12, 16, 16, 1)
        assert load_video(spec, size=(8, 20), crop=False).train.shape == (1, 12, 8, 20, 3)

    @pytest.mark.parametrize(("fps", "frames"), [(10, range(0, 12, 2)), (40, range(24))])
    def test_another_rate(self, write, fps, frames):
        spec = write("a.mp4", clip())
        found = load_video(spec, fps=fps)
        assert found.rate == fps
        native = load_video(spec).train[0]
        assert abs(found.train.shape[1] - len(frames)) <= 1
        for place, frame in enumerate(found.train[0]):
            nearest = np.abs(native - frame).mean(axis=(1, 2, 3)).argmin()
            assert abs(nearest - place * 20 / fps) <= 1

    def test_a_relative_name_with_a_colon(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        media.save_mp4("12:30.mp4", clip())
        assert load_video("video:12:30.mp4").train.shape == (1, 12, 32, 48, 3)

    def test_frames_without_times(self, tmp_path):
        """As those of a bare stream, whose rate no header tells either: readers assume 25."""
        av = pytest.importorskip("av")
        with av.open(str(tmp_path / "a.h264"), "w", format="h264") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
            for frame in clip():
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
        with av.open(str(tmp_path / "a.h264")) as container:
            assert next(container.decode(video=0)).time is None
        spec = f"video:{tmp_path / 'a.h264'}"
        whole = load_video(spec)
        assert whole.train.shape == (1, 12, 32, 48, 3)
        assert whole.rate == 25
        half = load_video(spec, fps=12.5)
        np.testing.assert_array_equal(half.train[0], whole.train[0, ::2])

    def test_a_folder_with_what_is_skipped(self, write, tmp_path):
        write("clips/2.gif", clip(seed=1))
        write("clips/10.mp4", clip(seed=2))
        write("clips/short.gif", clip(2))
        (tmp_path / "clips/broken.mp4").write_bytes(b"no video")
        (tmp_path / "clips/readme.txt").touch()
        with (
            pytest.warns(UserWarning, match=r"\b1 of 3\b.*short\.gif \(2 fr") as short,
            pytest.warns(UserWarning, match=r"\b1 of .*broken\.mp4") as caught,
        ):
            found = load_video(f"video:{tmp_path / 'clips'}", length=10, test_share=0)
        assert {one.filename for one in (*caught, *short)} == {__file__}
        assert found.train.shape == (2, 10, 32, 48, 3)
        assert found.skipped == ("broken.mp4", "short.gif")
        first = clip(seed=1)[:10] / 127.5 - 1
        assert np.abs(found.train[0] - first).mean() < np.abs(found.train[1] - first).mean()

    def test_frames_of_several_sizes(self, write, tmp_path):
        write("s/a.gif", clip())
        write("s/b.gif", clip(height=40))
        with pytest.raises(ValueError, match=r"\(32, 48, 3\) \(a\.gif\), \(40, 48, 3\).*size="):
            load_video(f"video:{tmp_path / 's'}")
        assert load_video(f"video:{tmp_path / 's'}", size=16, test_share=0).train.shape[0] == 2

    def test_rates_that_differ(self, write, tmp_path):
        write("s/a.gif", clip(), fps=10)
        write("s/b.gif", clip(), fps=20)
        with pytest.raises(ValueError, match=r"received 10\.0, 20\.0.*fps="):
            load_video(f"video:{tmp_path / 's'}")

    def test_the_extension_does_not_matter_for_one_file(self, write, tmp_path):
        path = Path(write("a.gif", clip()).removeprefix("video:")).rename(tmp_path / "b.mp4")
        assert load_video(f"video:{path}").train.shape == (1, 12, 32, 48, 3)

    @pytest.mark.parametrize("content", [b"", b"this is text", bytes(5000)])
    def test_files_without_frames(self, tmp_path, content):
        (tmp_path / "odd.mp4").write_bytes(content)
        with pytest.raises(ValueError, match=r"odd\.mp4'.*video"):
            load_video(f"video:{tmp_path / 'odd.mp4'}")

    def test_a_sound_is_no_video(self, tmp_path):
        media.save_wav(tmp_path / "a.wav", np.sin(np.arange(8000)), 8000)
        with pytest.raises(ValueError, match=r"a\.wav'.*video"):
            load_video(f"video:{tmp_path / 'a.wav'}")

    def test_too_short(self, write):
        with pytest.raises(ValueError, match=r"13 frames.*a\.gif \(12 frames"):
            load_video(write("a.gif", clip()), length=13)

    def test_nothing_there(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"a\.mp4'"):
            load_video(f"video:{tmp_path / 'a.mp4'}")
        with pytest.raises(FileNotFoundError, match=rf"\.mp4.*{tmp_path}"):
            load_video(f"video:{tmp_path}")

    @pytest.mark.parametrize(
        "bad", [{"fps": 0}, {"size": 0}, {"length": 0}, {"hop": 0}, {"limit": 0}, {"item": 0}]
    )
    def test_numbers_out_of_range(self, write, bad):
        with pytest.raises(ValueError, match=next(iter(bad))):
            load_video(write("a.gif", clip()), **bad)


class TestArrays:
    @pytest.fixture
    def save(self, tmp_path):
        def save(**arrays):
            np.savez(tmp_path / "v.npz", **arrays)
            return f"npz:{tmp_path / 'v.npz'}"

        return save

    def test_one_recording(self, save):
        found = load_video(save(frames=clip(), fps=np.float64(25)), length=5)
        assert found.train.shape == (2, 5, 32, 48, 3)
        assert found.rate == 25
        np.testing.assert_allclose(found.train[1, 0], clip()[5] / 127.5 - 1, atol=1e-6)

    def test_several_recordings(self, save):
        spec = save(frames=np.stack([clip(), clip(seed=1)]))
        assert load_video(spec, test_share=0).train.shape == (2, 12, 32, 48, 3)
        one = load_video(spec, item=1)
        np.testing.assert_allclose(one.train[0], clip(seed=1) / 127.5 - 1, atol=1e-6)
        assert one.rate is None

    def test_grey_frames(self, save):
        assert load_video(save(frames=clip()[..., 0])).train.shape == (1, 12, 32, 48, 1)

    def test_another_rate(self, save):
        spec = save(frames=clip(), fps=np.float64(20))
        half = load_video(spec, fps=10).train[0]
        np.testing.assert_allclose(half, clip()[::2] / 127.5 - 1, atol=1e-6)
        double = load_video(spec, fps=40).train[0]
        np.testing.assert_allclose(double, clip().repeat(2, axis=0) / 127.5 - 1, atol=1e-6)
        with pytest.raises(ValueError, match=r"'frames'.* 10\b"):
            load_video(save(frames=clip()), fps=10)

    def test_entries_that_are_missing(self, save):
        frames = clip() / np.float32(127.5) - 1
        frames[3:5, 4:9] = np.nan
        spec = save(frames=frames, fps=np.float64(20))
        with pytest.raises(ValueError, match=r"received NaN .*'frames'"):
            load_video(spec)
        found = load_video(spec, missing=True, length=6)
        np.testing.assert_array_equal(found.train[0], frames[:6])
        every_second = load_video(spec, missing=True, fps=10)
        np.testing.assert_array_equal(every_second.train[0], frames[::2])

    def test_other_arrays(self, save):
        with pytest.raises(ValueError, match=r"\[t, h, w\].*found 0.*audio \(2, 500\)"):
            load_video(save(audio=np.zeros((2, 500))))
        with pytest.raises(ValueError, match=r"x / 127\.5 - 1"):
            load_video(save(frames=clip().astype(np.float32)))


class TestTextures:
    @pytest.mark.parametrize("name", ["brick", "grass", "gravel"])
    def test_embedded(self, name):
        found = load_texture(name)
        assert found.train.shape == (1, 512, 512, 1)
        assert found.test.shape == (0, 512, 512, 1)
        assert found.train.std() > 0.1
        assert load_texture(name, size=(48, 64)).train.shape == (1, 48, 64, 1)

    def test_crops_are_pieces_of_the_photograph(self):
        whole = load_texture("brick", size=40).train[0]
        crops = load_texture("brick", size=40, crop=(24, 16), count=30).train
        assert crops.shape == (30, 24, 16, 1)
        places = np.lib.stride_tricks.sliding_window_view(whole[..., 0], (24, 16))
        found = set()
        for crop in crops[..., 0]:
            (place,) = np.argwhere((places == crop).all(axis=(2, 3)))
            found.add(tuple(place))
        assert len(found) > 20
        again = load_texture("brick", size=40, crop=(24, 16), count=30).train
        np.testing.assert_array_equal(again, crops)
        other = load_texture("brick", size=40, crop=(24, 16), count=30, seed=1).train
        assert (other != crops).any()

    def test_a_photograph(self, tmp_path):
        pixels = clip(1)[0]
        Image.fromarray(pixels).save(tmp_path / "wall.png")
        found = load_texture(f"texture:{tmp_path / 'wall.png'}")
        np.testing.assert_allclose(found.train[0], pixels / 127.5 - 1, atol=1e-6)
        assert load_texture(found.name, grey=True, crop=8, count=3).train.shape == (3, 8, 8, 1)

    def test_one_of_an_array(self, tmp_path):
        array = clip(3)
        np.savez(tmp_path / "t.npz", images=array, names=np.array(["a", "b", "c"]))
        spec = f"npz:{tmp_path / 't.npz'}"
        assert load_texture(spec).train.shape == (3, 32, 48, 3)
        one = load_texture(spec, item=2).train
        np.testing.assert_allclose(one[0], array[2] / 127.5 - 1, atol=1e-6)

    def test_pixels_that_are_missing(self, tmp_path):
        photo = clip(1)[0] / np.float32(127.5) - 1
        photo[3:9] = np.nan
        np.savez(tmp_path / "t.npz", images=photo[None])
        spec = f"npz:{tmp_path / 't.npz'}"
        with pytest.raises(ValueError, match=r"received NaN .*'images'"):
            load_texture(spec)
        np.testing.assert_array_equal(load_texture(spec, missing=True).train[0], photo)

    def test_refusals(self, tmp_path):
        (tmp_path / "odd.png").write_bytes(b"no image")
        (tmp_path / "empty.png").touch()
        for spec, options, message in [
            (f"texture:{tmp_path / 'odd.png'}", {}, r"odd\.png'.*image"),
            (f"texture:{tmp_path / 'empty.png'}", {}, r"empty\.png'.*image"),
            ("brick", {"size": 32, "crop": 40}, r"40x40 .*received 32x32"),
            ("brick", {"count": 0}, "`count` .*received 0"),
            ("brick", {"item": 0}, "item.*received item=0"),
            ("brick:2", {}, "'brick'.*received 'brick:2'"),
            ("moss", {}, "(?s)received 'moss'.*gravel"),
        ]:
            with pytest.raises(ValueError, match=message):
                load_texture(spec, **options)
        with pytest.raises(FileNotFoundError, match=r"none\.png'"):
            load_texture(f"texture:{tmp_path / 'none.png'}")


def test_real_clips():
    folder = os.environ.get("ABP_TF_DATA")
    path = Path(folder or ".", "video_fire_pot_64.npz")
    if not folder or not path.is_file():
        pytest.skip("needs video_fire_pot_64.npz in the folder ABP_TF_DATA names")
    found = load_video(f"npz:{path}", length=32)
    assert found.train.shape == (3, 32, 64, 64, 3)
    assert found.rate == 25
