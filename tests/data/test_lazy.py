"""Images of a folder that are read when they are needed, and learning from them."""

import json
import shutil
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from abp_tf import data, masks, programs, runs
from abp_tf.data import LazyRows, folder, folder_rows
from train import evaluate, generator, recover


@pytest.fixture
def photos(tmp_path, digits):
    """Return a folder of 40 digits."""
    path = tmp_path / "photos"
    path.mkdir()
    for number, image in enumerate(data.to_uint8(digits[:40, ..., 0])):
        Image.fromarray(image).save(path / f"{number}.png")
    return path


def inside(main, *words):
    with pytest.raises(SystemExit) as ending:
        programs.run(main, [str(word) for word in words])
    return ending.value.code


@pytest.fixture
def opened(monkeypatch):
    """Return the list of the names of files whose pixels are read."""
    names, read = [], folder_rows._pixels

    def noted(path, request):
        names.append(path.name)
        return read(path, request)

    monkeypatch.setattr(folder_rows, "_pixels", noted)
    return names


def test_rows_are_those_of_arrays_and_are_read_when_they_are_indexed(photos, opened):
    now = data.load(f"folder:{photos}", test_share=0.25)
    later = data.load(f"folder:{photos}", test_share=0.25, lazy=True)
    assert opened == ["0.png"]  # whose form all have
    assert isinstance(later.train, LazyRows)
    assert (later.train.shape, later.names) == (now.train.shape, now.names)
    for part in ("train", "test"):
        rows, array = getattr(later, part), getattr(now, part)
        for key in (3, -1, slice(2, 7), slice(0, 0), [5, 1, 5], array[:, 0, 0, 0] > 0):
            np.testing.assert_array_equal(rows[key], array[key])
        np.testing.assert_array_equal(rows.take(slice(2, 9)).take([1, 3]), array[[3, 5]])
        np.testing.assert_array_equal(np.asarray(rows), array)
        assert rows[0].dtype == np.float32
    opened.clear()
    later.train[[0, 1]]
    assert len(opened) == 2


def test_many_images_are_read_lazily_unless_one_says_otherwise(photos, monkeypatch):
    def lazy(**options):
        return isinstance(data.load(f"folder:{photos}", **options).train, LazyRows)

    assert not lazy(lazy=None)
    assert not lazy()
    with monkeypatch.context() as patch:
        patch.setattr(folder_rows, "FILES", 39)
        assert lazy(lazy=None)
        assert not lazy(lazy=None, limit=39)
        assert not lazy(lazy=False)
    monkeypatch.setattr(folder_rows, "BYTES", 40 * 16 * 16 * 4 - 1)
    assert lazy(lazy=None, size=16)
    assert not lazy(lazy=None, size=15)
    with pytest.raises(ValueError, match="received 'digits'"):
        data.load("digits", lazy=True)


def test_broken_and_odd_images_are_named(photos):
    (photos / "7.png").write_bytes(b"broken")
    (photos / "9.png").write_bytes((photos / "9.png").read_bytes()[:60])
    Image.new("L", (9, 8)).save(photos / "11.png")
    Image.new("RGB", (8, 8)).save(photos / "12.png")
    images = data.load(f"folder:{photos}", test_share=0, lazy=True)
    with pytest.raises(data.UnreadableError, match=r"7\.png.*9\.png.*unreadable") as caught:
        images.train.take(slice(5, None))[[0, 2, 4, 4]]
    assert caught.value.places.tolist() == [2, 4, 4]
    assert caught.value.names == ["7.png", "9.png"] or caught.value.numbers == [7, 9]
    with pytest.raises(ValueError, match=r"8x8 .*0\.png.* and 8x9 .*11\.png.*--size"):
        images.train[11]
    with pytest.raises(ValueError, match=r"in colour, .*12\.png.*--grey"):
        images.train[12]
    assert [name for name, _ in data.unreadable(f"folder:{photos}")] == ["7.png", "9.png"]
    grey = data.load(f"folder:{photos}", lazy=True, grey=False, size=8, test_share=0).train
    assert grey[[11, 12]].shape == (2, 8, 8, 3)


@pytest.mark.parametrize("masked", [False, True])
def test_fit_learns_the_same_from_rows_as_from_arrays(
    photos, make_model, assert_same_state, opened, masked
):
    images = [data.load(f"folder:{photos}", lazy=lazy).train for lazy in (False, True)]
    seen = masks.pepper(len(images[0]), (8, 8), 0.3, seed=4)
    drawn = LazyRows(lambda numbers: masks.pepper(numbers, (8, 8), 0.3, 4), len(seen), (8, 8), bool)
    np.testing.assert_array_equal(drawn, seen)
    models = []
    for signal, mask in zip(images, (seen, drawn), strict=True):
        model = make_model()
        given = {"signal": signal, "mask": mask} if masked else signal
        model.fit(given, batch_size=8, epochs=1, verbose=0)
        errors = model.evaluate(given, batch_size=10, verbose=0, return_dict=True)
        models.append((model, errors))
    assert_same_state(models[0][0], models[1][0])
    assert models[0][1] == models[1][1]
    # Each once to learn and once to evaluate, and a few to look at them.
    assert len(opened) < 2 * len(seen) + 64 + 10


def test_a_broken_image_stops_fit_by_its_name(photos, make_model):
    rows = data.load(f"folder:{photos}", lazy=True, test_share=0).train.take(slice(0, 20))
    model = make_model()
    (photos / "13.png").write_bytes(b"broken")
    fingerprint = rows[[0, 1]]
    assert fingerprint.shape == (2, 8, 8, 1)
    with pytest.raises(ValueError, match=r"13\.png.*cannot be read"):
        model.fit(rows, batch_size=5, epochs=1, verbose=0)


def test_memory_does_not_grow_with_the_number_of_images(tmp_path, digits):
    first = tmp_path / "0.png"
    Image.fromarray(data.to_uint8(digits[0, ..., 0])).resize((64, 64)).save(first)
    for number in range(1, 2000):
        (tmp_path / f"{number}.png").hardlink_to(first)
    tracemalloc.start()
    try:
        rows = data.load(f"folder:{tmp_path}", lazy=True).train
        for start in range(0, len(rows), 100):
            rows[start : start + 100]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2000 * 64 * 64 * 4 / 4  # of all images 32 MiB


def test_a_folder_is_listed_without_what_is_hidden_or_linked(tmp_path):
    for name in ("b/2.png", "b/10.PNG", "a.jpg", ".h/1.png", "b/.2.png", "c.txt", "d.png/e.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "in" / "b", target_is_directory=True)
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "in" / "b", target_is_directory=True)
    (tmp_path / "in" / "f.png").symlink_to(tmp_path / "in" / "a.jpg")
    assert folder.image_names(tmp_path / "in") == [
        "a.jpg", "b/2.png", "b/10.PNG", "d.png/e.png", "f.png",
    ]  # fmt: skip


WORDS = (
    "--batch-size 16 --kernel-size 3 --width 4 --epochs 1 --latent-dim 4 --inference-steps 3 "
    "--inference-cool 1 --steps 2 --curve-every 1 --mask pepper:0.3"
).split()


def test_programs_learn_and_recover_from_a_folder_read_lazily(
    photos, tmp_path, capsys, assert_same_state, monkeypatch
):
    source = ["--data", f"folder:{photos}"]
    for name in ("lazy", "no-lazy"):
        assert inside(generator.main, "--run", tmp_path / name, *source, *WORDS, f"--{name}") == 0
        assert ("read when they are needed" in capsys.readouterr().out) == (name == "lazy")
    found = [runs.Run.open(tmp_path / name) for name in ("lazy", "no-lazy")]
    assert [run.config["settings"]["lazy"] for run in found] == [True, False]
    assert_same_state(*(run.load_model() for run in found))
    metrics = [json.loads((run.path / "metrics.json").read_text()) for run in found]
    assert metrics[0]["test"] == metrics[1]["test"]
    again = ["--run", tmp_path / "lazy", "--resume", "--epochs", 2]
    assert inside(generator.main, *again) == 0
    assert inside(evaluate.main, "--run", tmp_path / "lazy", "--count", 4) == 0

    # An archive of which some images are broken, read lazily and at once.
    monkeypatch.setattr(folder_rows, "FILES", 3)
    monkeypatch.setattr(recover, "_ROWS", 4)
    archive = tmp_path / "archive"
    archive.mkdir()
    for number in range(7, 14):
        shutil.copy(photos / f"{number}.png", archive / f"{number}.png")
    (archive / "9.png").write_bytes(b"broken")
    for number in (11, 12, 13):
        (archive / f"{number}.png").write_bytes(b"broken")
    words = ["--run", tmp_path / "lazy", "--data", f"folder:{archive}", "--mask", "block:3"]
    with pytest.warns(UserWarning, match=r"Skipped .* signals"):
        assert inside(recover.main, *words, "--out", tmp_path / "out") == 0
    told = json.loads((tmp_path / "out" / "recovery.json").read_text())
    assert told["skipped"] == ["9", "11", "12", "13"]
    with np.load(tmp_path / "out" / "recovery.npz") as arrays:
        assert arrays["name"].tolist() == ["7", "8", "10"]
        np.testing.assert_array_equal(arrays["mask"], masks.block([0, 1, 3], (8, 8), 3, seed=0))
    run = found[0]
    (photos / "3.png").rename(photos / "3b.png")
    with pytest.raises(ValueError, match="have changed"):
        run.load_images()
