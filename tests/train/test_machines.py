"""Processes on one machine, and the strategies of the training programs."""

import contextlib
import json
import os
import signal
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from abp_tf import programs
from abp_tf.errors import ProcessLostError
from tests import digit_runs, processes
from train import descriptor, generator, learning, machines, parsing

CLUSTER = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}


def start(path, what):
    machines.start("tests.plain_worker", [what, str(path), "more"], 2)


def started(path):
    return [json.loads((path / str(number)).read_text()) for number in range(2)]


def wait_until(true, seconds=20):
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.02)


def lives(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def test_each_process_finds_the_others(tmp_path, capfd):
    start(tmp_path, "end")
    first, second = started(tmp_path)
    assert [one["config"]["task"] for one in (first, second)] == [
        {"type": "worker", "index": 0},
        {"type": "worker", "index": 1},
    ]
    assert first["config"]["cluster"] == second["config"]["cluster"]
    assert len(set(first["config"]["cluster"]["worker"])) == 2
    assert first["words"] == ["more"]
    cores = len(os.sched_getaffinity(0))
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, cores // 2)))
    assert first["threads"][1] == threads
    out, error = capfd.readouterr()
    assert "2 processes" in out
    assert "words of process 0" in out
    assert "words of process 1" not in out + error


def test_a_process_that_fails_ends_all_and_is_shown(tmp_path, capfd):
    begin = time.monotonic()
    with pytest.raises(ProcessLostError, match=r"processes process 1 ended with exit code 1.*--resume"):
        start(tmp_path, "fail")
    assert time.monotonic() - begin < 20
    error = capfd.readouterr().err
    assert "process 1: words of process 1\n" in error
    assert "process 1: a broken \\x1b file\n" in error
    assert not any(lives(one["pid"]) for one in started(tmp_path))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_all(tmp_path, number):
    program = processes.Process(tmp_path / "log", start, tmp_path, "wait")
    wait_until(lambda: all((tmp_path / str(number)).exists() for number in range(2)))
    program.send_signal(number)
    assert program.wait(20) != 0
    wait_until(lambda: not any(lives(one["pid"]) for one in started(tmp_path)))
    if number == signal.SIGINT:
        assert "KeyboardInterrupt" in (tmp_path / "log").read_text()


def test_a_process_that_is_killed_is_named(tmp_path):
    program = processes.Process(tmp_path / "log", programs_start, tmp_path)
    wait_until(lambda: all((tmp_path / str(number)).exists() for number in range(2)))
    os.kill(started(tmp_path)[1]["pid"], signal.SIGKILL)
    assert program.wait(20) == 1
    assert "error: Of 2 processes process 1 was killed by SIGKILL" in (tmp_path / "log").read_text()
    assert not any(lives(one["pid"]) for one in started(tmp_path))


def programs_start(path):
    programs.run(lambda argv: start(path, "wait"))


def test_what_processes_cannot_share():
    def divided(processes, **given):
        return learning.divided({"shards": None, "batch_size": 25, **given}, given, processes)

    assert divided(1) == {"shards": 1, "batch_size": 25}
    assert divided(2) == {"shards": 2, "batch_size": 26}
    assert divided(3, shards=6, batch_size=12) == {"shards": 6, "batch_size": 12}
    with pytest.raises(ValueError, match=r"--shards.* multiple of the 2 processes, received 3"):
        divided(2, shards=3)
    with pytest.raises(ValueError, match=r"--batch-size.* multiple of the 5 shards.*received 12"):
        divided(5, batch_size=12)


@pytest.mark.parametrize(
    ("config", "words", "message"),
    [
        (CLUSTER, ["--workers", "2"], r"--workers.*received 2 and a TF_CONFIG"),
        (CLUSTER, ["--strategy", "none"], r"--strategy: expected one process"),
        (CLUSTER, ["--shards", "3"], r"--shards.*2 processes, received 3"),
        ({"cluster": ["a"]}, [], r"TF_CONFIG: expected JSON.*host1:2222"),
        (None, ["--workers", "2", "--strategy", "none"], r"--strategy: expected one process"),
        (None, ["--workers", "2", "--shards", "3"], r"--shards.*2 processes, received 3"),
        (None, ["--workers", "3", "--batch-size", "50"], r"--batch-size.*3 shards.*received 50"),
    ],
)
def test_refusals_before_anything_starts(tmp_path, monkeypatch, config, words, message):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config:
        monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    with pytest.raises(ValueError, match=message):
        generator.main(["--run", str(tmp_path / "run"), "--data", "digits", *words])
    assert not list(tmp_path.iterdir())


def test_a_run_keeps_its_shards(digit_run):
    run = digit_run("generator").path
    with pytest.raises(ValueError, match=r"--shards.*2 processes, received 1\. A run keeps"):
        generator.main(["--run", str(run), "--resume", "--workers", "2"])


def test_resume_auto_begins_and_continues(digit_run, tmp_path):
    def parsed(path):
        words = ["--run", str(path), "--resume", "auto"]
        return parsing.parse("generator", "", generator.table, words).get("resume", False)

    assert parsed(digit_run("generator").path)
    assert not parsed(tmp_path / "new")


def learn_on_all(words):
    """Learn on two devices, in a process that has no other strategy."""
    [cpu] = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    return descriptor.main([*words, "--strategy", "mirrored"])


@pytest.mark.slow
def test_all_devices_learn_what_one_does(tmp_path):
    words = [*digit_runs.WORDS["descriptor"].split(), "--epochs", "1", "--shards", "2", "--run"]
    one, two, log = tmp_path / "one", tmp_path / "two", tmp_path / "log"
    assert descriptor.main([*words, str(one), "--strategy", "none"]) == 0
    child = processes.Process(log, learn_on_all, [*words, str(two)])
    assert child.wait(300) == 0, log.read_text()
    for path in (one, two):
        assert {each.name for each in path.iterdir()} >= {"model.keras", "model.shards", "metrics.json"}
    weights = (keras.models.load_model(path / "model.keras").get_weights() for path in (one, two))
    for first, second in zip(*weights, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-4)
