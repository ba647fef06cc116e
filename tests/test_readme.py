"""What the README shows runs as written."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from tests.processes import Server
from train import parsing

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def smaller(block):
    """Return the block with less of everything that takes long: enough to run."""
    block = block.replace('load("digits")', 'load("digits", limit=200)')
    for name, value in {"epochs": 1, "steps": 4, "cool": 2}.items():
        block = re.sub(rf"\b{name}=\d+", f"{name}={value}", block)
    return block


def test_python_blocks_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    local = [smaller(block) for block in blocks("python") if "Client(" not in block]
    (remote,) = [block for block in blocks("python") if "Client(" in block]
    names = {}
    exec(compile("\n".join(local), "README.md", "exec"), names)
    # One block asks a server, started by the command above it; here on a port that is free.
    assert "--model digits=models/digits" in TEXT
    with Server(tmp_path / "log", "--model", f"digits={tmp_path / 'models/digits'}") as server:
        remote = remote.replace("localhost:8500", server.address)
        exec(compile(remote, "README.md", "exec"), names)
    assert names["drawn"].shape == (64, 16, 16, 1)
    assert (tmp_path / "models" / "digits" / "1" / "saved_model.pb").exists()


COMMANDS = [
    line
    for block in blocks("sh")
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith(("python -m", "make", "abp-tf"))
]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood(command):
    words = shlex.split(command, comments=True)
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif words[0] == "abp-tf":
        command = importlib.import_module("train.command")
        assert command.find(words[1:])
    else:
        module = importlib.import_module(words[2])
        if hasattr(module, "RECIPE") and "--resume" not in words:
            recipe = module.RECIPE
            assert parsing.parse(recipe.name, recipe.description, recipe.table, words[3:])
        elif hasattr(module, "parser"):
            module.parser().parse_args(words[3:])


def test_what_it_names_is_there():
    for name in re.findall(r"\b(?:abp_tf|train|export|benchmarks|tests|docs)/[\w./-]+", TEXT):
        assert (ROOT / name.rstrip(".")).exists(), name
