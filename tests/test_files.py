"""Files that are written whole or not at all, and what killed writers leave."""

import os
import signal
import subprocess
import sys

import pytest

from abp_tf import files

KILLED = """
import os, pathlib, signal, sys
from abp_tf import files
with files.aside(sys.argv[1]) as path:
    path.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def left(tmp_path):
    """Return a directory in which a process was killed while it wrote the file a/b.json."""
    command = [sys.executable, "-c", KILLED, str(tmp_path / "a" / "b.json")]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    return tmp_path / "a"


def test_what_the_dead_left_does_not_count_and_is_removed(left):
    assert len(os.listdir(left)) == 1
    assert not files.taken(left)
    files.clean(left.parent)
    assert os.listdir(left) == []


def test_what_the_living_write_counts_and_is_kept(tmp_path):
    with files.aside(tmp_path / "b.json") as path, files.aside(tmp_path / "b.json") as other:
        assert path != other
        assert path.suffix == ".json"
        path.write_text("one")
        other.write_text("two")
        assert files.taken(tmp_path)
        files.clean(tmp_path)
        assert path.read_text() == "one"
    assert os.listdir(tmp_path) == ["b.json"]
    assert (tmp_path / "b.json").read_text() == "one"  # renamed last


def test_nothing_is_left_after_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), files.aside(tmp_path / "b.json") as path:
        path.unlink()
    assert os.listdir(tmp_path) == []


def test_files_of_others_are_kept(tmp_path):
    for name in (".hidden.json", "a.part.json", ".part"):
        (tmp_path / name).touch()
        assert files.taken(tmp_path)
        files.clean(tmp_path)
        (tmp_path / name).unlink()


def test_names_as_long_as_names_can_be(tmp_path):
    name = "n" * 251 + ".txt"
    files.replace(tmp_path / name, b"x")
    assert os.listdir(tmp_path) == [name]


def test_names_that_are_too_long_are_refused_before_anything_is_written():
    assert files.stems(["more/" + "n" * 248 + ".png"]) == ["more/" + "n" * 248]
    with pytest.raises(ValueError, match=r"248 bytes.*received 250: .üüü"):
        files.stems(["ü" * 125 + ".png"])
    with pytest.raises(ValueError, match="received 249"):  # for the number of the second
        files.stems(["n" * 247 + ".png", "n" * 247 + ".bmp"])
