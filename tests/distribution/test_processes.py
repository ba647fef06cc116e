"""Two processes learn together; one of them is killed, and others take up the backup."""

import contextlib
import json
import socket
import time

import keras
import numpy as np
import pytest

import abp_tf
from abp_tf.distribution import backup
from tests import processes, worker_runs
from train import gather

pytestmark = pytest.mark.slow


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("localhost", 0))
        return [one.getsockname()[1] for one in sockets]


def start(path, kill=None):
    """Start two processes, of which the second is killed after some iteration."""
    ports = free_ports(2)
    logs = [path.parent / f"log-{number}-{ports[0]}" for number in range(2)]
    given = [(number, ports, str(path), kill if number else None) for number in range(2)]
    started = [
        processes.Process(log, worker_runs.run, *arguments)
        for log, arguments in zip(logs, given, strict=True)
    ]
    return started, logs


class Stop(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.iteration.numpy()) == 11:
            raise InterruptedError


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training by two, one and two processes, each but the last interrupted; and one left alone."""
    alone = worker_runs.make_generator()
    logs = worker_runs.learn(alone, tmp_path_factory.mktemp("alone") / "model.keras")

    path = tmp_path_factory.mktemp("together") / "model.keras"
    started, files = start(path, kill=6)  # in the second epoch
    assert started[1].wait(300) == -9
    begin = time.monotonic()
    code = started[0].wait(120)
    lost = {"code": code, "seconds": time.monotonic() - begin, "log": files[0].read_text()}

    one = worker_runs.make_generator()
    with pytest.raises(InterruptedError):
        worker_runs.learn(one, path, Stop())
    done = backup.Directory(path.with_suffix(".shards"))._index()["epoch"]

    started, files = start(path)
    for process, log in zip(started, files, strict=True):
        assert process.wait(400) == 0, log.read_text()[-3000:]
    return {"alone": alone, "logs": logs, "path": path, "lost": lost, "epoch": done}


def arrays(path):
    with np.load(path) as file:
        return [file[name] for name in file.files]


def results(trained):
    path = trained["path"]
    found = []
    for number in range(2):
        parts = arrays(f"{path}-{number}.npz")
        with open(f"{path}-{number}.json") as file:
            found.append((parts, json.load(file)))
    return found


def test_a_lost_process_ends_the_other(trained):
    lost = trained["lost"]
    assert lost["code"] not in (0, None)
    assert lost["seconds"] < 30
    assert "ProcessLostError" in lost["log"]
    assert "Backup" in lost["log"]


def test_two_one_and_two_processes_learn_what_one_does(trained):
    assert trained["epoch"] == 2
    alone, energy = trained["alone"], worker_runs.make_descriptor()
    pool = worker_runs.learn_pool(energy)
    shared = worker_runs.variables(alone) + worker_runs.variables(energy)
    for number, (parts, logs) in enumerate(results(trained)):
        own = [alone.latents[number::2], energy.table.states.numpy()[number::2]]
        for one, other in zip([*shared, *own], parts, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
        for name, values in logs["logs"].items():
            np.testing.assert_allclose(values, trained["logs"][name][2:], rtol=1e-3, err_msg=name)
        assert logs["pool"] == pytest.approx(
            {name: pytest.approx(pool[name], rel=1e-3) for name in pool}
        )


def test_batch_norm_has_the_statistics_of_all_processes(trained):
    for tolerance, weights in worker_runs.learn_batch_normed().items():
        first, second = (arrays(f"{trained['path']}-{number}-{tolerance}.npz") for number in range(2))
        for one, other, alone in zip(first, second, weights, strict=True):
            np.testing.assert_array_equal(one, other)
            np.testing.assert_allclose(one, alone, rtol=tolerance, atol=tolerance)


def test_both_processes_report_the_same(trained):
    first, second = (logs for _, logs in results(trained))
    for name in ("logs", "pool", "error"):
        assert first[name] == second[name]
    own = trained["alone"].evaluate(worker_runs.data(), verbose=0, return_dict=True)
    assert first["error"] == pytest.approx(own, rel=1e-3)


def test_what_processes_refuse(trained):
    for _, logs in results(trained):
        found = logs["refused"]
        assert "2 processes, received shards=3" in found["shards"]
        assert "of 2 keeps" in found["index"]
        assert "abp_tf.callbacks.Backup" in found["save"]
        assert "(shard, shards)" in found["dataset"]
        assert "ModelCheckpoint in 2 processes" in found["checkpoint"]


def test_the_backup_is_gathered_into_one_file(trained, tmp_path, capsys):
    directory = trained["path"].with_suffix(".shards")
    kept = sorted(path.name for path in directory.iterdir())
    assert len(kept) == 4  # the index, the model, and two shards
    gather.main([str(directory), str(tmp_path / "model.keras")])
    assert "model.keras" in capsys.readouterr().out
    assert sorted(path.name for path in directory.iterdir()) == kept
    model, alone = keras.models.load_model(tmp_path / "model.keras"), trained["alone"]
    np.testing.assert_allclose(model.latents, alone.latents, atol=1e-4)
    with pytest.raises(FileNotFoundError, match=r"index\.json"):
        abp_tf.distribution.backup.gather(tmp_path, tmp_path / "none.keras")
    with pytest.raises(SystemExit):
        gather.main([str(directory), str(tmp_path / "model.keras")])
