"""What README and docs/ show runs as written."""

import importlib
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from tests.processes import Server
from train import parsing

ROOT = Path(__file__).parents[1]

PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "benchmarks/README.md",
    "export/deploy/README.md",
    "train/deploy/README.md",
]
PAGES += [
    str(path.relative_to(ROOT))
    for path in sorted((ROOT / "docs").rglob("*.md"))
    if "_build" not in path.parts
]
TEXTS = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
WITH_CODE = [page for page in PAGES if page.startswith("docs/") and "```python\n" in TEXTS[page]]


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", TEXTS[page], re.DOTALL)


def run(page, limit=None):
    """Run the Python blocks of a page in turn; one that calls a server comes last, and has one."""
    local = [block for block in blocks(page, "python") if "Client(" not in block]
    remote = [block for block in blocks(page, "python") if "Client(" in block]
    if limit:  # enough to run
        local[0] = local[0].replace('load("digits")', f'load("digits", limit={limit})')
    names = {}
    exec(compile("\n".join(local), page, "exec"), names)
    if remote:  # the page has the command that starts the server; here on a port that is free
        assert "--model digits=models/digits" in TEXTS[page]
        models = Path("models/digits").resolve()
        with Server(Path("log").resolve(), "--model", f"digits={models}") as server:
            code = "\n".join(remote).replace("localhost:8500", server.address)
            exec(compile(code, page, "exec"), names)
    return names


def test_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run("README.md", limit=500)
    assert names["served"].shape == (64, 16, 16, 1)
    np.testing.assert_allclose(names["served"], names["new"], atol=1e-4)
    assert (tmp_path / "models" / "digits" / "1" / "saved_model.pb").exists()


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_CODE)
def test_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(page)


def test_pages_with_code_are_run():
    assert [page for page in PAGES if blocks(page, "python")] == ["README.md", *WITH_CODE]


COMMANDS = {
    line
    for page in PAGES
    for block in blocks(page, "sh")
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith(("python -m", "make", "abp-tf"))
}


@pytest.mark.parametrize("command", sorted(COMMANDS))
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


@pytest.mark.parametrize("page", PAGES)
def test_files_and_links_are_there(page):
    folders = "abp_tf|train|export|benchmarks|tests|docs(?!/_build)"  # which `make docs` builds
    named = re.findall(rf"\b(?:{folders})/[\w./-]+", TEXTS[page])
    linked = re.findall(r"\]\(([^)#:\s]+)\)", TEXTS[page])
    named = [name.rstrip(".") for name in named if "NAME" not in name]  # files to be written
    for place in [ROOT / name for name in named] + [(ROOT / page).parent / name for name in linked]:
        assert place.exists(), place


def test_readme_is_short():
    assert len(TEXTS["README.md"].splitlines()) <= 200


# The changelog has names that are gone, `abp_tf.json` is a file.
NAMES = {
    name
    for page in PAGES
    if page != "CHANGELOG.md"
    for name in re.findall(r"\babp_tf(?:\.\w+)+", TEXTS[page])
} - {"abp_tf.json"}


@pytest.mark.parametrize("name", sorted(NAMES))
def test_names_of_the_package_are_there(name):
    found = importlib.import_module("abp_tf")
    parts = name.split(".")
    for length, part in enumerate(parts[1:], 2):
        if not hasattr(found, part):
            importlib.import_module(".".join(parts[:length]))
        found = getattr(found, part)
