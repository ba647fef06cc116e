"""What a program says when it cannot go on: one line, whatever was raised."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from abp_tf import data, programs
from abp_tf.printing import printable
from export import client, signal_files


def message(error):
    def main(argv):
        raise error

    with pytest.raises(SystemExit) as exited:
        programs.call(main, [])
    return exited.value.code


def test_memory():
    assert re.match("error: .*memory.* 9 GiB$", message(MemoryError("9 GiB")))


def test_files_that_tensorflow_cannot_write():
    denied = tf.errors.PermissionDeniedError(
        None, None, "{{node x}} logs; Read-only file system\nmore [Op:x]"
    )
    assert message(denied) == "error: logs; Read-only file system"


def test_faults_of_the_program_keep_their_traceback():
    with pytest.raises(tf.errors.FailedPreconditionError):
        message(tf.errors.FailedPreconditionError(None, None, "uninitialized"))
    with pytest.raises(KeyError):
        message(KeyError("x"))


def test_nothing_controls_the_terminal(tmp_path):
    assert message(ValueError("a\x1b[31m\udc80\n\x9bé")) == "error: a\\x1b[31m\\udc80\n\\x9bé"
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "b\x1b[2J.png").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"b\\x1b\[2J\.png"):
        data.load(f"folder:{tmp_path}", test_share=0)
    assert printable("plain ü\n") == "plain ü\n"


def test_scores_are_printed_with_names_that_cannot_control_the_terminal(monkeypatch, capsys):
    given = SimpleNamespace(names=["a\x1b[2J.png"], train=[0.0])
    monkeypatch.setattr(signal_files, "times", lambda *arguments: None)
    monkeypatch.setattr(signal_files, "read", lambda *arguments: given)
    client.score(SimpleNamespace(score=lambda images: ([1.0], [2.0])), SimpleNamespace(json=None))
    assert r"a\x1b[2J.png" in capsys.readouterr().out
