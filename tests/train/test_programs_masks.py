"""Programs that learn from what is known of incomplete images."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from abp_tf import data, masks, programs, runs
from train import coopnets, evaluate, generator

TINY = "--size 8 --width 4 --latent-dim 4 --kernel-size 3 --inference-steps 5 --inference-cool 2"
WORDS = {
    generator: [*TINY.split(), *"--steps 2 --epochs 2 --curve-every 1".split()],
    coopnets: [
        *TINY.split(),
        *"--descriptor-width 4 --steps 3 --latent-steps 2 --epochs 2 --curve-every 2".split(),
        *"--chain-steps 3".split(),
    ],
}


def inside(module, *words):
    """Run a program in this process, as its own process would; return its exit code or message."""
    with pytest.raises(SystemExit) as ending:
        programs.run(module.main, [str(word) for word in words])
    return ending.value.code


@pytest.fixture(scope="module")
def truth():
    return data.to_uint8(data.load("digits", size=8, limit=40, test_share=0.0).train[..., 0])


def write(folder, arrays):
    folder.mkdir()
    for number, array in enumerate(arrays):
        Image.fromarray(array).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def seen():
    return masks.pepper(40, (8, 8), 0.5, seed=1)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory, truth, seen):
    """Folders of digits with noise where nothing is observed, with other noise, and of their masks."""
    place, rng = tmp_path_factory.mktemp("damaged"), np.random.default_rng(0)
    for name in ("one", "other"):
        noise = rng.integers(0, 255, truth.shape, np.uint8)
        write(place / name, np.where(seen, truth, noise))
    write(place / "masks", seen.astype(np.uint8) * 255)
    return place


@pytest.fixture(scope="module")
def finished(damaged, tmp_path_factory):
    """A run on damaged images, which a test resumes."""
    path = tmp_path_factory.mktemp("runs") / "run"
    source = ["--data", f"folder:{damaged / 'one'}", "--mask", f"folder:{damaged / 'masks'}"]
    assert inside(generator, "--run", path, *source, *WORDS[generator]) == 0
    return path


def test_what_is_hidden_takes_no_part(finished, damaged, tmp_path, seen):
    path = tmp_path / "other"
    source = ["--data", f"folder:{damaged / 'other'}", "--mask", f"folder:{damaged / 'masks'}"]
    assert inside(generator, "--run", path, *source, *WORDS[generator]) == 0
    one, other = (keras.models.load_model(each / "model.keras") for each in (finished, path))
    for weight, same in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(weight, same)
    np.testing.assert_array_equal(one.latents, other.latents)
    for name in ("metrics.json", "history.json"):
        found, same = (json.loads((each / name).read_text()) for each in (finished, path))
        for entry in (found, same) if name == "metrics.json" else ():
            entry.pop("seconds")
        assert found == same

    run = runs.Run.open(path)
    images, model = run.load_images(), run.load_model()
    places = [int(Path(images.names[place]).stem) for place in images.places[1]]
    error = (model.reconstruct(images.test, seen[places]) - images.test)[seen[places]] ** 2
    figures = json.loads((path / "metrics.json").read_text())
    np.testing.assert_allclose(figures["test"]["reconstruction_error"], error.mean(), rtol=1e-4)
    assert inside(evaluate, "--run", path) == 0
    found = json.loads((path / "evaluation.json").read_text())["errors"]["test"]
    assert found == figures["test"]


def test_other_masks_are_noticed_and_the_same_resumed(finished, damaged, capsys):
    mask = damaged / "masks" / "3.png"
    kept, before = mask.read_bytes(), (finished / "model.keras").read_bytes()
    config = json.loads((finished / "config.json").read_text())
    assert config["settings"]["mask"] == f"folder:{damaged / 'masks'}"
    Image.fromarray(np.full((8, 8), 255, np.uint8)).save(mask)
    try:
        for program, words in ((generator, ["--resume"]), (evaluate, [])):
            message = inside(program, "--run", finished, *words)
            assert message.startswith(f"error: The data of the run {finished} have changed")
            assert config["data"]["masks"] in message
    finally:
        mask.write_bytes(kept)
    assert (finished / "model.keras").read_bytes() == before
    words = ["--run", finished, "--resume", "--epochs", 3]
    assert "its mask is" in inside(generator, *words, "--mask", "pepper:0.5")
    assert inside(generator, *words) == 0
    assert "Epoch 3/3" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("program", [generator, coopnets])
def test_masks_of_an_array(tmp_path, program, seen):
    path = tmp_path / "masks.npz"
    np.savez(path, seen[:36])
    source = ["--data", "digits", "--limit", 40, "--mask", f"npz:{path}"]
    assert inside(program, "--run", tmp_path / "run", *source, *WORDS[program]) == 0
    run = runs.Run.open(tmp_path / "run")
    np.testing.assert_array_equal(run.load_images().train_mask, seen[:36])
    found = json.loads((run.path / "metrics.json").read_text())
    assert (found["train"]["images"], found["test"]["images"]) == (36, 4)
    assert (run.pictures / "inpainting.png").exists()
    if program is coopnets:
        assert run.config["settings"]["batch_norm"] is False
        [_, last] = json.loads((run.path / "history.json").read_text())
        assert {"revision_error", "reconstruction_error", "stability"} <= set(last)
    assert run.load_model().latents.shape == (36, 4)


def test_what_cannot_be_is_told_and_nothing_is_written(damaged, tmp_path, seen):
    source = ["--data", f"folder:{damaged / 'one'}", "--size", 8]
    few = write(tmp_path / "few", seen[:39].astype(np.uint8) * 255)
    black = write(
        tmp_path / "black", np.where(np.arange(40)[:, None, None] == 7, 0, 255 * np.uint8(seen))
    )
    for words, parts in (
        ([*source, "--mask", f"folder:{few}"], ["none for 1: '39.png'"]),
        ([*source, "--mask", f"folder:{black}"], ["'7.png'", "White is observed", "1 (or True)"]),
        ([*source, "--mask", "npz:nowhere.npz"], ["there is no file 'nowhere.npz'"]),
        (["--data", "digits", "--mask", f"folder:{few}"], ["Give the masks as npz:PATH"]),
    ):
        for program in (generator, coopnets):
            message = inside(program, "--run", tmp_path / "run", *words)
            assert message.startswith("error: ")
            for part in parts:
                assert part in message
    assert not (tmp_path / "run").exists()


def test_the_help_and_the_refusal_tell_the_forms_and_the_polarity(tmp_path, capsys):
    for program in (generator, coopnets):
        assert inside(program, "--help") == 0
        help_text = " ".join(capsys.readouterr().out.split())
        assert "npz:PATH[:KEY] reads an array, 1 = observed, 0 = hidden" in help_text
        assert inside(program, "--run", tmp_path / "run", "--mask", "stripes:0.5") == 2
        assert "'folder:PATH' or 'npz:PATH[:KEY]'" in capsys.readouterr().err


def test_masks_that_hide_nearly_all_are_pointed_out(tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(keras.Model, "fit", interrupted)
    words = ["--data", "digits", "--limit", 20, "--mask", "pepper:0.97", *WORDS[generator]]
    with pytest.warns(UserWarning, match=r"hidden.*observed"):
        assert inside(generator, "--run", tmp_path / "run", *words) == 130
