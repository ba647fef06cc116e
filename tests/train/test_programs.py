"""The programs with their command lines; few processes, because each takes seconds to start."""

import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import abp_tf
from abp_tf import metrics, programs, runs
from export import saved_model
from tests import processes
from tests.digit_runs import WORDS
from train import demo, evaluate, generator

CHECKOUT = Path(__file__).resolve().parents[2]
TINY = {
    "--size": 8,
    "--width": 4,
    "--latent-dim": 4,
    "--kernel-size": 3,
    "--batch-size": 50,
    "--steps": 2,
    "--inference-steps": 5,
    "--inference-cool": 2,
    "--curve-every": 1,
}


def inside(module, *words):
    """Run a program in this process, as its own process would; return its exit code or message."""
    with pytest.raises(SystemExit) as ending:
        programs.run(module.main, [str(word) for word in words])
    return ending.value.code


def contents(directory):
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def finished(digit_run):
    return digit_run("generator").path


def test_a_run_has_its_files(digit_run):
    finished, said = digit_run("generator")
    assert "108 training and 12 test images of (8, 8, 1)" in said
    assert "Epoch 2/2" in said
    names = {path.name for path in finished.iterdir()}
    assert names == {"config.json", "model.keras", "history.json", "metrics.json", "pictures", "logs"}
    pictures = {path.name for path in (finished / "pictures").glob("*.png")}
    assert pictures >= {"reconstruction.png", "synthesis.png", "interpolation.png", "inpainting.png"}
    for path in (finished / "pictures").iterdir():
        with Image.open(path) as picture:
            assert min(picture.size) >= 64
    assert list((finished / "logs").rglob("events.out.tfevents.*"))

    config = json.loads((finished / "config.json").read_text())
    assert config["program"] == "generator"
    settings = config["settings"]
    assert (settings["latent_dim"], settings["epochs"], settings["mask"]) == (4, 2, "pepper:0.3")
    assert config["data"]["train"] == 108
    model = keras.models.load_model(finished / "model.keras")
    assert model.latents.shape == (108, 4)
    assert int(model.iteration.value) == 2 * 3

    history = json.loads((finished / "history.json").read_text())
    assert [entry["epoch"] for entry in history] == [1, 2]
    assert {"loss", "train_error", "test_error", "negative_error"} <= set(history[-1])
    found = json.loads((finished / "metrics.json").read_text())
    assert (found["train"]["images"], found["test"]["images"]) == (108, 12)
    np.testing.assert_allclose(found["learned_latent_norm"], (model.latents**2).mean(), rtol=1e-4)


def test_a_run_that_exists_is_never_touched(finished):
    before = contents(finished)
    message = inside(generator, "--run", finished, *WORDS["generator"].split())
    assert message.startswith("error: ")
    for part in (str(finished), "--resume", "Nothing was changed"):
        assert part in message
    assert contents(finished) == before


def test_other_settings_are_refused_by_resume(finished):
    before = contents(finished)
    for words, part in ((["--sigma", 0.5], "its sigma is 0.25, not 0.5"), (["--limit", 110], "limit")):
        message = inside(generator, "--run", finished, "--resume", *words)
        assert message.startswith("error: --resume continues with the run's settings")
        assert part in message
    assert contents(finished) == before


def test_evaluate_writes_errors_and_verdict(finished, capsys):
    assert inside(evaluate, "--run", finished, "--negative", "faces", "--count", 50) == 0
    out = capsys.readouterr().out
    found = json.loads((finished / "evaluation.json").read_text(), parse_constant=pytest.fail)
    counts = {name: row["images"] for name, row in found["errors"].items()}
    assert counts == {"train": 50, "test": 12, "negative": 50}
    means = [row["reconstruction_error"] for row in found["errors"].values()]
    expected = metrics.verdict(*means)
    assert found["verdict"]["text"] == expected.text
    # Two epochs are too few for a gap that means anything.
    assert found["verdict"]["gap"] == (None if np.isnan(expected.gap) else pytest.approx(expected.gap))
    assert f"verdict: {expected.text}" in out
    for mean in means:
        assert f"{mean:.4f}" in out
    with Image.open(finished / "pictures" / "errors.png") as picture:
        assert min(picture.size) > 100

    run_of = runs.Run.open(finished)
    model, images = run_of.load_model(), run_of.load_images()
    error = ((model.reconstruct(images.test) - images.test) ** 2).mean()
    np.testing.assert_allclose(means[1], error, rtol=1e-4)


def test_exports_are_numbered(finished, tmp_path, capsys, monkeypatch):
    models = tmp_path / "models" / "digits"
    words = ["--run", finished, "--to", models, "--samples", 4, "--chains", 2]
    assert inside(saved_model, *words) == 0
    assert f"exported {models / '1'}" in capsys.readouterr().out
    loaded = tf.saved_model.load(str(models / "1"))
    before = contents(models / "1")
    with monkeypatch.context() as patch:
        patch.setattr(abp_tf.Generator, "export", lambda _, path, **options: Path(path).mkdir())
        assert inside(saved_model, "--run", finished, "--to", models) == 0
    assert sorted(path.name for path in models.iterdir()) == ["1", "2"]
    assert contents(models / "1") == before
    assert set(loaded.signatures) == {
        "serving_default", "synthesize", "reconstruct", "inpaint", "inpaint_fast", "inpaint_best",
        "sample_posterior", "decode",
    }  # fmt: skip
    drawn = loaded.signatures["sample_posterior"].structured_outputs["samples"]
    assert drawn.shape[1] == 4

    file = tmp_path / "file"
    file.write_text("mine")
    message = inside(saved_model, "--run", finished, "--to", file)
    assert message.startswith("error: ")
    assert "is a file. Nothing was changed" in message
    assert file.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "models"]


def test_programs_want_a_run(tmp_path):
    for program, words in ((evaluate, []), (saved_model, ["--to", tmp_path / "models"])):
        message = inside(program, "--run", tmp_path / "none", *words)
        assert message.startswith("error: Expected a run directory")
    assert inside(generator, "--run", tmp_path / "none", "--resume").startswith("error: Expected a run")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def folder(tmp_path):
    """A folder of 40 images."""
    place = tmp_path / "images"
    place.mkdir()
    rng = np.random.default_rng(0)
    for number in range(40):
        Image.fromarray(rng.integers(0, 255, (8, 8), np.uint8)).save(place / f"{number}.png")
    return place


def test_an_interrupted_run_is_evaluated_and_resumed(folder, tmp_path):
    path = tmp_path / "run"
    words = [
        "--data",
        f"folder:{folder}",
        "--epochs",
        4000,
        *(w for pair in TINY.items() for w in pair),
    ]
    words += ["--run", path, "--curve-every", 5000, "--picture-every", 5000]
    child = processes.Process(tmp_path / "log", processes.run_program, generator.main, *words)
    end = time.monotonic() + 200
    history = path / "history.json"
    # When the second epoch is noted, the first one has been saved.
    while child.poll() is None and time.monotonic() < end:
        if history.exists() and len(json.loads(history.read_text())) > 1:
            break
        time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    code, said = child.wait(100), (tmp_path / "log").read_text()
    assert code == 130, said
    assert f"Continue with --run {path} --resume" in said
    assert "Traceback" not in said
    done = int(keras.models.load_model(path / "model.keras").iteration.value)
    assert 1 <= done < 4000
    assert not (path / "metrics.json").exists()

    assert inside(evaluate, "--run", path) == 0
    found = json.loads((path / "evaluation.json").read_text())
    assert set(found["errors"]) == {"train", "test"}
    assert "verdict" not in found

    # Other data are refused, and the run stays as it is.
    before, image = contents(path), folder / "7.png"
    kept = image.read_bytes()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(image)
    for program in (generator, evaluate):
        words = ["--resume"] if program is generator else []
        message = inside(program, "--run", path, *words)
        assert message.startswith(f"error: The data of the run {path} have changed")
    assert contents(path) == before

    image.write_bytes(kept)
    epochs = done + 2
    assert inside(generator, "--run", path, "--resume", "--epochs", epochs) == 0
    assert int(keras.models.load_model(path / "model.keras").iteration.value) == epochs
    entries = json.loads(history.read_text())
    assert [entry["epoch"] for entry in entries] == list(range(1, epochs + 1))
    assert (path / "metrics.json").exists()
    assert (path / "pictures" / "synthesis.png").exists()


def test_a_wrong_option_ends_a_process_with_one_line(tmp_path):
    words = ["--run", tmp_path / "run", "--data", "folder:nowhere"]
    child = subprocess.run(
        [sys.executable, "-m", "train.generator", *words],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert child.returncode == 1
    assert "Traceback" not in child.stderr
    last = child.stderr.strip().splitlines()[-1]  # after TensorFlow's own chatter
    assert last.startswith("error: ")
    assert "there is no 'nowhere'" in last
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--data", "dogs"], "received 'dogs'"),
        (["--data", "npz:nowhere.npz"], "nowhere.npz"),
        (["--data", "folder:EMPTY"], "found none"),
        (["--size", "3"], "sides of 4 or more"),
        (["--test-share", "1"], "test_share"),
        (["--negative", "dogs"], "received 'dogs'"),
        (["--mask", "block:16"], "block"),
    ],
)
def test_what_cannot_be_is_told_and_nothing_is_written(tmp_path, words, part):
    (tmp_path / "empty").mkdir()
    words = [word.replace("EMPTY", str(tmp_path / "empty")) for word in words]
    message = inside(generator, "--run", tmp_path / "run", "--limit", 20, *words)
    assert message.startswith("error: ")
    assert part in message
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--mask", "stripes:0.5"], "--mask"),
        (["--mask", "pepper:1.5"], "--mask"),
        (["--sigma", "0"], "--sigma: expected a positive float, received 0"),
        (["--sigma", "inf"], "--sigma"),
        (["--step-size", "-0.1"], "--step-size"),
        (["--steps", "-1"], "--steps"),
        (["--steps", "1.5"], "--steps"),
        (["--epochs", "0"], "--epochs"),
        (["--latent-dim", "0"], "--latent-dim"),
        (["--temperature", "nan"], "--temperature"),
        (["--expansion", "1.1"], "--expansion: expected a share in [0, 1], received 1.1"),
        (["--chains", "warm"], "--chains"),
        (["--precision", "mixed_float16"], "--precision"),
        (["--activation", "relu"], "--activation"),
        (["--size", "16x"], "--size"),
        (["--limit", "0"], "--limit"),
        (["--widht", "3"], "--widht"),
    ],
)
def test_impossible_values_are_refused_by_name(tmp_path, capsys, words, part):
    assert inside(generator, "--run", tmp_path / "run", *words) == 2
    assert part in capsys.readouterr().err.strip().splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_options_that_exclude_each_other_are_refused(tmp_path):
    message = inside(generator, "--run", tmp_path / "run", "--chains", "fresh", "--expansion", "0.5")
    assert message.startswith("error: `expansion` expected chains='persistent'")
    assert not list(tmp_path.iterdir())


def test_the_help_of_the_demo_is_its_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert inside(demo, "--help") == 0
    said = capsys.readouterr().out
    assert said.startswith("The demo learns digits")
    assert "--epochs N" in said
    assert "1. Learning" not in said
