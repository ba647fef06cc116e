"""Descriptor and CoopNets from program to program: learn, resume, evaluate, export, serve, ask."""

import json
import signal
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from export import saved_model
from tests import digit_runs, processes
from tests.digit_runs import WORDS
from train import coopnets, descriptor, evaluate


@pytest.fixture(params=["descriptor", "coopnets"])
def finished(request, digit_run):
    """A run of each program, and its name."""
    return request.param, digit_run(request.param).path


def test_a_run_has_its_files(finished):
    name, path = finished
    files = {found.name for found in path.iterdir()}
    assert files >= {"config.json", "model.keras", "history.json", "metrics.json", "pictures", "logs"}
    pictures = {picture.stem for picture in (path / "pictures").glob("*.png")}
    own = {"descriptor": {"from_noise"}, "coopnets": {"revision", "reconstruction"}}[name]
    assert pictures >= {"synthesis", "inpainting"} | own
    assert json.loads((path / "config.json").read_text())["program"] == name
    history = json.loads((path / "history.json").read_text())
    assert [entry["epoch"] for entry in history] == [1, 2]
    assert {"energy_gap", "drift", "sample_deviation", "saturation"} <= set(history[-1])
    assert "mean" in json.loads((path / "metrics.json").read_text())["test_score"]


def test_evaluate_tells_scores_and_distances(finished, capsys):
    name, path = finished
    assert evaluate.main(["--run", str(path), "--count", "60"]) == 0
    found = json.loads((path / "evaluation.json").read_text())
    assert set(found["scores"]) == {"train", "test", "negative"}
    for key in ("auc", "auc_of_energy"):
        assert 0 <= found["scores"]["test"][key] <= 1
    own = {"descriptor": "pool", "coopnets": "drafts"}[name]
    assert set(found["distances"]) == {"syntheses", "test images", own}
    assert ("errors" in found) == (name == "coopnets")
    assert "AUC" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["descriptor", pytest.param("coopnets", marks=pytest.mark.slow)])
def test_the_export_has_the_functions_of_the_model(name, digit_run, tmp_path, capsys):
    path = digit_run(name).path
    assert saved_model.main(["--run", str(path), "--to", str(tmp_path / name)]) == 0
    [directory] = (tmp_path / name).iterdir()
    functions = {"synthesize", "inpaint", "refine", "score", "serving_default"}
    own = {"descriptor": set(), "coopnets": {"reconstruct", "sample_posterior", "decode"}}[name]
    assert set(tf.saved_model.load(str(directory)).signatures) == functions | own
    named = capsys.readouterr().out.partition(f"exported {directory}: ")[2]
    assert set(named.strip().split(", ")) == (functions | own) - {"serving_default"}


@pytest.mark.slow
def test_a_run_killed_and_resumed_ends_as_one_left_alone(finished, tmp_path):
    name, path = finished
    run, log = tmp_path / "killed", tmp_path / "log"

    def start(*words):
        words = digit_runs.program(name).main, "--run", run, *words
        return processes.Process(log, processes.run_program, *words)

    child = start(*WORDS[name].split())
    end = time.monotonic() + 300
    while not (run / "history.json").exists() and time.monotonic() < end:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    assert child.wait(60) == -signal.SIGKILL, log.read_text()
    assert start("--resume").wait(300) == 0, log.read_text()
    first, second = (keras.models.load_model(each / "model.keras") for each in (path, run))
    for one, other in zip(first.weights, second.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(first.tables, second.tables, strict=True):
        np.testing.assert_array_equal(one.states, other.states)


def test_resume_wants_the_program_of_the_run(finished):
    name, path = finished
    other = coopnets if name == "descriptor" else descriptor
    with pytest.raises(ValueError, match=f"train.{name}"):
        other.main(["--run", str(path), "--resume"])


def test_roll_back_wants_a_constant_rate(tmp_path):
    with pytest.raises(ValueError, match="--schedule constant"):
        descriptor.main(["--run", str(tmp_path / "run"), "--roll-back"])
    assert not (tmp_path / "run").exists()
