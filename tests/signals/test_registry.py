"""Kinds of signals: names, shapes, files, pictures, masks."""

import wave

import numpy as np
import pytest
from PIL import Image, ImageSequence

from abp_tf import data, mask_files, runs, signals


def test_kinds_by_name():
    assert signals.names() == ("image", "texture", "sound", "video", "volume", "field")
    for name in signals.names():
        kind = signals.get(name)
        assert kind.name == name
        assert signals.get(kind) is kind
    with pytest.raises(ValueError, match="'smell'"):
        signals.get("smell")
    with pytest.raises(ValueError, match="'sound'"):
        signals.register(signals.get("sound"))


@pytest.mark.parametrize(
    ("shape", "name"),
    [
        ((50, 1), "sound"),
        ((8, 9, 1), "image"),
        ((8, 9, 3), "image"),
        ((3, 8, 9, 1), "video"),
        ((), None),
        ((5,), None),
        ((5, 2), None),
        ((5, 5, 2), None),
        ((5, 5, 5, 4), None),
        ((2, 2, 2, 2, 1), None),
    ],
)
def test_a_shape_without_a_kind(shape, name):
    found = signals.guess(shape)
    assert (found and found.name) == name
    if name is None:
        with pytest.raises(ValueError, match="received"):
            signals.of(shape)
        with pytest.raises(ValueError, match="received"):
            signals.get("image").save("a", np.zeros(shape))
        with pytest.raises(ValueError, match="received"):
            signals.get("image").tiles(np.zeros((1, *shape)))
    else:
        assert signals.of(shape) is found


def test_a_kind_that_is_named_is_taken():
    assert signals.of((3, 8, 9, 1), "volume").name == "volume"
    assert signals.of((8, 9, 3), "texture").name == "texture"
    assert signals.of((8, 9, 2), "field").name == "field"
    with pytest.raises(ValueError, match=r"a field, received \(3, 9, 2\)"):
        signals.of((3, 9, 2), "field")
    with pytest.raises(ValueError, match=r"a sound, received \(8, 9, 3\)"):
        signals.of((8, 9, 3), "sound")


def test_images_are_their_own_tiles():
    images = np.random.default_rng(0).uniform(-1, 1, (2, 5, 4, 3)).astype(np.float32)
    np.testing.assert_array_equal(signals.get("image").tiles(images), images)
    assert signals.get("image").picture(images, 2).shape[2] == 3


@pytest.mark.parametrize(
    ("shape", "kind", "name"),
    [
        ((50, 1), "sound", "a.b.wav"),
        ((8, 9, 1), "image", "a.b.png"),
        ((8, 9, 3), "texture", "a.b.png"),
        ((3, 8, 9, 1), "video", "a.b.gif"),
    ],
)
def test_a_signal_is_saved_under_the_suffix_of_its_kind(tmp_path, shape, kind, name):
    signal = np.random.default_rng(0).uniform(-1, 1, shape)
    signal[0] = np.nan  # hidden
    written = signals.get(kind).save(tmp_path / "new" / "a.b", signal, {"rate": 20})
    assert written == tmp_path / "new" / name
    whole = np.where(np.isnan(signal), 0, signal)
    if kind == "sound":
        with wave.open(str(written)) as file:
            assert file.getframerate() == 20
            found = np.frombuffer(file.readframes(50), "<i2")
        np.testing.assert_allclose(found / 32768, whole[:, 0], atol=1 / 32768)
        return
    with Image.open(written) as picture:
        if kind == "video":
            assert picture.info["duration"] == 50
            frames = [np.asarray(frame.convert("L")) for frame in ImageSequence.Iterator(picture)]
            found = np.stack(frames)[..., None] / 127.5 - 1
        else:
            found = np.asarray(picture).reshape(shape) / 127.5 - 1
    np.testing.assert_allclose(found, whole, atol=0.05)


def test_a_clip_is_saved_as_mp4_too_on_request(tmp_path):
    clip = np.zeros((4, 8, 8, 1))
    saved = signals.get("video").save(tmp_path / "a", clip, every_format=True)
    assert saved == tmp_path / "a.gif"
    assert {path.name for path in tmp_path.iterdir()} == {"a.gif", "a.mp4"}


@pytest.mark.parametrize(
    ("kind", "spec"), [("sound", "block:3"), ("image", "frames:0.5"), ("volume", "squares:0.5:2")]
)
def test_masks_that_make_no_sense_are_refused(kind, spec):
    shape = {"sound": (90, 1), "image": (8, 8, 1), "volume": (8, 8, 8, 1)}[kind]
    with pytest.raises(ValueError, match=f"--mask: expected one of .*received '{spec}'"):
        signals.get(kind).draw_masks(spec, 2, shape, 0)
    default = signals.get(kind).default_mask(shape)
    drawn = signals.get(kind).draw_masks(default, 2, shape, 0)
    assert drawn.shape == (2, *shape[:-1])


def test_folders_of_masks_are_of_images():
    sounds = np.zeros((2, 90, 1))
    loaded = data.Signals(sounds, sounds[:0], "x", names=("a", "b"), kind="sound")
    with pytest.raises(ValueError, match=r"FILE.npz\[:KEY\]"):
        runs.attach_masks(loaded, "folder:masks", {})
    with pytest.raises(FileNotFoundError):
        mask_files.by_name("nowhere", ["a"], (8, 8))
