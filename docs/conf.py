"""Settings of the documentation: `make docs` builds it with Sphinx into docs/_build/html."""

import inspect
import os
import re
import sys
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # importing abp_tf is part of building

project = "abp_tf"
author = "The abp_tf authors"
copyright = author
release = re.search(
    r'__version__ = "(.+)"', (ROOT / "abp_tf" / "_version.py").read_text(encoding="utf-8")
)[1]

extensions = [
    "myst_nb",  # pages in Markdown, and notebooks
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",  # docstrings in Google style
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]

# Pages whose text is that of a file outside this folder.
ELSEWHERE = {
    "changes": "CHANGELOG.md",
    "contributing": "CONTRIBUTING.md",
    "benchmarks": "benchmarks/README.md",
    "deploy": "export/deploy/README.md",
    "deploy_training": "train/deploy/README.md",
}

# Pages.
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 4  # links such as page.md#a-heading
myst_links_external_new_tab = False
nb_execution_mode = "off"  # notebooks are shown with the outputs they were stored with

# API.
default_role = "py:obj"  # `Name` in docstrings links to what it names, if that is documented
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings describe each argument
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True  # attributes stand with their class
autodoc_default_options = {"exclude-members": "get_config, from_config, compute_output_shape"}
add_module_names = False

# Appearance. Nothing is loaded from the internet.
html_theme = "furo"
html_title = f"abp_tf {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
copybutton_exclude = ".linenos, .gp, .go"


def mathml(display: str):
    """Return a visitor that writes a formula as MathML, which browsers draw without scripts."""

    def visit(translator, node):
        translator.body.append(convert(node.astext(), display=display))
        raise nodes.SkipNode

    return visit


def read_page(app, page: str, source: list[str]) -> None:
    """Read the pages of `ELSEWHERE`, and let links between files lead to the pages of the site."""
    path = ELSEWHERE.get(page, f"docs/{page}")
    if page in ELSEWHERE:
        source[0] = (ROOT / path).read_text(encoding="utf-8")
        app.env.note_dependency(str(ROOT / path))
    elif Path(app.env.doc2path(page)).suffix != ".md":
        return
    pages = {file: f"docs/{name}.md" for name, file in ELSEWHERE.items()}

    def link(match) -> str:
        place = os.path.normpath(f"{os.path.dirname(path)}/{match[1]}".lstrip("/"))
        place = pages.get(place, place)
        return f"](/{place.removeprefix('docs/')}" if place.startswith("docs/") else match[0]

    source[0] = re.sub(r"\]\((?![a-z]+:|[#/])([^)#\s]+)", link, source[0])


def skip(app, what, name: str, found, skipped: bool, options) -> bool | None:
    """Skip what Keras defines, and fields of named tuples, which their classes describe."""
    source = getattr(getattr(found, "fget", None) or found, "__module__", None) or ""
    foreign = source.startswith(("keras.", "tensorflow."))
    return True if foreign or type(found).__name__ == "_tuplegetter" else None


def signature(app, what, name: str, found, options, arguments, returned) -> tuple | None:
    """Return the arguments of a class of Keras, whose `__new__` hides those of `__init__`."""
    if what == "class" and arguments and arguments.startswith("(*args, **kwargs"):
        _, *others = inspect.signature(found.__init__).parameters.values()
        others = [one.replace(annotation=inspect.Parameter.empty) for one in others]
        return str(inspect.Signature(others)), returned
    return None


def setup(app) -> None:
    """Connect the functions of this file."""
    app.connect("source-read", read_page)
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-signature", signature)
    app.add_html_math_renderer("mathml", (mathml("inline"), None), (mathml("block"), None))
