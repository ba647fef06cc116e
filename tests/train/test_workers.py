"""Two processes learn by a training program, from data with masks and from a folder."""

import json
import shutil
import time

import keras
import numpy as np
import psutil
import pytest
from PIL import Image

from abp_tf import data
from abp_tf.distribution import backup
from tests import digit_runs, processes
from train import evaluate, generator

pytestmark = pytest.mark.slow
WORDS = [*digit_runs.WORDS["generator"].split(), "--epochs", "4"]


def started(path, *words):
    """Start the program in a process of its own."""
    log = path.with_suffix(".log")
    return processes.Process(log, processes.run_program, generator.main, "--run", path, *words), log


def worker(program, number):
    """Return one of the processes that a program has started, once it is there."""
    while True:
        for child in psutil.Process(program.pid).children():
            config = child.environ().get("TF_CONFIG", "{}")
            if json.loads(config).get("task", {}).get("index") == number:
                return child
        assert program.poll() is None
        time.sleep(0.1)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run by two processes, of which one is killed, that one process and two continue; one of one."""
    path = tmp_path_factory.mktemp("runs")
    directory = backup.Directory(path / "two" / "model.shards")
    program, log = started(path / "two", *WORDS, "--workers", 2)
    while (
        not directory.exists() or json.loads((directory.path / "index.json").read_text())["epoch"] < 1
    ):
        assert program.poll() is None, log.read_text()
        time.sleep(0.05)
    children = [worker(program, number) for number in range(2)]
    children[1].kill()
    begin = time.monotonic()
    code = program.wait(60)
    lost = {
        "code": code,
        "seconds": time.monotonic() - begin,
        "log": log.read_text(),
        "left": [child.pid for child in children if child.is_running()],
        "epoch": json.loads((directory.path / "index.json").read_text())["epoch"],
    }
    found = {"lost": lost}
    assert generator.main(["--run", str(path / "two"), "--resume", "--strategy", "none"]) == 0
    assert generator.main(["--run", str(path / "one"), *WORDS, "--shards", "2"]) == 0
    for name in ("one", "two"):
        shutil.copytree(path / name, path / f"{name}-at-4")
    more = ["--resume", "--epochs", "6"]
    program, log = started(path / "two", *more, "--workers", 2)
    assert generator.main(["--run", str(path / "one"), *more]) == 0
    assert program.wait(300) == 0, log.read_text()
    return found | {"path": path}


def test_a_process_that_is_lost_ends_the_program(runs):
    lost = runs["lost"]
    assert lost["code"] == 1
    assert lost["seconds"] < 30
    assert lost["left"] == []
    assert "error: Of 2 processes process 1 was killed by SIGKILL" in lost["log"]
    assert 1 <= lost["epoch"] < 4


@pytest.mark.parametrize("suffix", ["-at-4", ""])
def test_two_and_one_processes_learn_what_one_does(runs, suffix):
    models = []
    for name in ("one", "two"):
        run = runs["path"] / f"{name}{suffix}"
        assert not list(run.rglob("*.part*"))
        models.append((run, keras.models.load_model(run / "model.keras")))
    (one, first), (two, second) = models
    assert int(first.iteration.value) == int(second.iteration.value) == (6 if suffix == "" else 4) * 3
    assert second.latents.shape == (108, 4)
    for left, right in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-4)
    rows = []
    for run in (one, two):
        metrics = json.loads((run / "metrics.json").read_text())
        rows.append(
            [*json.loads((run / "history.json").read_text()), metrics["train"], metrics["test"]]
        )
    for left, right in zip(*rows, strict=True):
        assert right == {key: pytest.approx(value, rel=1e-3) for key, value in left.items()}


def test_the_run_of_two_has_the_files_of_the_run_of_one(runs):
    files = []
    for name in ("one", "two"):
        path = runs["path"] / name
        found = {str(file.relative_to(path)) for file in path.rglob("*")}
        files.append({name for name in found if "events.out" not in name and "shards/" not in name})
    assert files[0] == files[1]
    numbers = (runs["path"] / "two" / "logs" / "pictures" / "examples.tsv").read_text().split()
    assert numbers == [str(number) for number in range(0, 108, 2)]


def test_evaluate_takes_the_run(runs, capsys):
    assert evaluate.main(["--run", str(runs["path"] / "two"), "--count", "20"]) == 0
    assert "verdict" in capsys.readouterr().out


def test_a_broken_image_that_one_process_reads_is_named(tmp_path, digits):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, image in enumerate(data.to_uint8(np.tile(digits[:100, ..., 0], (2, 1, 1)))):
        Image.fromarray(image).save(photos / f"{number:03}.png")
    images = data.load(f"folder:{photos}", lazy=True, test_share=0.0)
    # One of the second process's, which is not among those that the first one looks at.
    looked_at = set(np.linspace(0, 199, 64).astype(int)) | set(range(64))
    number = next(number for number in range(101, 200, 2) if number not in looked_at)
    (photos / images.names[number]).write_bytes(b"broken")
    words = "--lazy --test-share 0 --size 8 --width 4 --kernel-size 3 --latent-dim 4 --epochs 1"
    words = [*words.split(), "--data", f"folder:{photos}", "--batch-size", 50, "--workers", 2]
    program, log = started(tmp_path / "run", *words)
    assert program.wait(200) == 1
    said = log.read_text()
    assert f"{images.names[number]}" in said
    assert "process 1: error: " in said
    assert "process 1 ended with exit code 1" in said
