import json

import numpy as np
import tensorflow as tf

from abp_tf import callbacks


def test_it_holds_the_logs_of_every_epoch(tmp_path):
    path = tmp_path / "history.json"
    history = callbacks.HistoryFile(path)
    history.on_epoch_end(0, {"loss": 2.5, "val_loss": np.float32(0.5)})
    history.on_epoch_end(1, {"loss": tf.constant(1.5)})
    history.on_epoch_end(2, {})  # one that was taken back
    assert json.loads(path.read_text()) == [
        {"epoch": 1, "loss": 2.5, "val_loss": 0.5},
        {"epoch": 2, "loss": 1.5},
        {"epoch": 3},
    ]
    assert [file.name for file in tmp_path.iterdir()] == ["history.json"]


def test_a_resumed_history_replaces_what_is_done_again(tmp_path):
    path = tmp_path / "history.json"
    first = callbacks.HistoryFile(path)
    for epoch in range(4):
        first.on_epoch_end(epoch, {"loss": np.float32(epoch)})
    second = callbacks.HistoryFile(path)
    for epoch in (2, 3, 4):  # what was interrupted had noted more than it had saved
        second.on_epoch_end(epoch, {"loss": 10.0 * epoch})
        assert [entry["epoch"] for entry in json.loads(path.read_text())] == list(range(1, epoch + 2))
    losses = [entry["loss"] for entry in json.loads(path.read_text())]
    assert losses == [0, 1, 20, 30, 40]
