"""The documentation builds without warnings, its links lead somewhere, and its notebooks run."""

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from nbclient import NotebookClient

DOCS = Path(__file__).parents[1] / "docs"
NOTEBOOKS = sorted((DOCS / "tutorials").glob("*.ipynb"))

pytestmark = pytest.mark.slow


class Links(HTMLParser):
    """The names that a page of HTML defines, where its links lead, and what it loads."""

    def __init__(self, page):
        super().__init__()
        self.names, self.links, self.loaded = set(), set(), set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.names.update(filter(None, (values.get("id"), values.get("name"))))
        if tag == "a" and values.get("href"):
            self.links.add(values["href"])
        elif tag != "a" and tag != "use":
            self.loaded.update(filter(None, (values.get("href"), values.get("src"))))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site as `make docs` does; warnings are errors."""
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-E", "-q", DOCS, target]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {page.resolve(): Links(page) for page in target.rglob("*.html")}


def test_links_lead_somewhere(site):
    missing = []
    for page, found in site.items():
        for link in found.links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            place = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            name = unquote(parts.fragment)
            if "_modules" in page.parts:
                name = ""  # code is linked to its documentation, where not all of it is
            if not place.exists() or (name and place in site and name not in site[place].names):
                missing.append(f"{page.name}: {link}")
    assert len(site) > 40
    assert not missing


def test_nothing_is_loaded_from_elsewhere(site):
    for page, found in site.items():
        for address in found.loaded:
            parts = urlsplit(address)
            assert parts.scheme in ("", "data"), (page.name, address)
            if not parts.scheme and parts.path:
                assert (page.parent / unquote(parts.path)).exists(), (page.name, address)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.setenv("ABP_TF_SMALL", "1")
    monkeypatch.delenv("ABP_TF_DATA", raising=False)  # the same on all machines
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()


def test_notebooks_keep_their_pictures():
    assert len(NOTEBOOKS) == 8
    for path in NOTEBOOKS:
        cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        assert all(cell.execution_count for cell in cells)
        assert any("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs)
