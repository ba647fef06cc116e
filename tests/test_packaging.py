import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import abp_tf
from abp_tf import errors
from abp_tf._version import __version__
from abp_tf.serving import async_client, client
from train import command

CHECKOUT = Path(__file__).resolve().parent.parent
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]

# What an installed package says about itself.
REPORT = """
import importlib, importlib.metadata, json, keras
import abp_tf, abp_tf.export, abp_tf.train
from abp_tf.train import command

[script] = importlib.metadata.distribution("abp_tf").entry_points.select(name="abp-tf")
programs = {}
for words, program in command.PROGRAMS.items():
    try:
        programs[words] = callable(importlib.import_module("abp_tf." + program.module).main)
    except ModuleNotFoundError as error:
        programs[words] = str(error)
print(json.dumps({
    "files": [module.__file__ for module in (abp_tf, abp_tf.train, abp_tf.export)],
    "version": abp_tf.__version__,
    "exit code": script.load()(["--version"]),
    "programs": programs,
}))
"""

# What `import abp_tf` does without, though Keras and TensorFlow load some of it where it is there.
LATER = "PIL arviz_stats grpc matplotlib scipy tensorboard".split()
LATER += ["pandas", "tensorflow_datasets", "tensorflow_serving", "xarray"]

# A process in which the packages named in REFUSED cannot be imported.
REFUSAL = """
import importlib, json, os, pkgutil, sys

class Refusal:
    names = set(json.loads(os.environ["REFUSED"]))

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refusal())
"""

# Every module with what its import says, and the uses for which no extra is asked.
PLAIN = (
    REFUSAL
    + """
import abp_tf, keras, numpy as np

said = {}
for module in pkgutil.walk_packages(abp_tf.__path__, "abp_tf.", onerror=lambda name: None):
    try:
        importlib.import_module(module.name)
        said[module.name] = ""
    except ImportError as error:
        said[module.name] = str(error)

network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(16), keras.layers.Reshape((4, 4, 1))])
model = abp_tf.Generator(network, langevin=abp_tf.Langevin(1, 0.1), value_range=None)
model.compile(optimizer="sgd")
model.fit(np.zeros((4, 4, 4, 1), np.float32), epochs=1, verbose=0)
abp_tf.display.pictures.save_png("a.png", abp_tf.display.pictures.grid(model.synthesize(2), columns=2))
model.export("models/1")
abp_tf.Client("localhost:1", model="models").close()
print(json.dumps(said))
"""
)


def run_python(code, path, folder, **environment):
    kept = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(path), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel, built from a copy so that the checkout stays as it is."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("abp_tf", "train", "export"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(CHECKOUT / name, source / name, ignore=ignored)
    for pattern in ("setup.py", "pyproject.toml", "LICENSE", "README*"):
        for file in CHECKOUT.glob(pattern):
            shutil.copy(file, source)
    build = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, source]
    subprocess.run([*PIP, *build], check=True)
    [path] = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder with nothing but the installed wheel."""
    target = tmp_path_factory.mktemp("installed")
    subprocess.run([*PIP, "install", "--no-deps", "--no-index", "--target", target, wheel], check=True)
    return target


@pytest.fixture(scope="module")
def report(installed, tmp_path_factory):
    run = run_python(REPORT, installed, tmp_path_factory.mktemp("elsewhere"))
    assert run.returncode == 0, run.stderr
    said, told = run.stdout.strip().splitlines()
    return {**json.loads(told), "said": said}


def metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


class TestWheel:
    def test_holds_every_module_and_nothing_else(self, wheel):
        with zipfile.ZipFile(wheel) as archive:
            held = {name for name in archive.namelist() if name.endswith(".py")}
        expected = set()
        for folder, prefix in (("abp_tf", ""), ("train", "abp_tf/"), ("export", "abp_tf/")):
            for file in (CHECKOUT / folder).rglob("*.py"):
                expected.add(prefix + file.relative_to(CHECKOUT).as_posix())
        assert held == expected

    def test_holds_what_is_no_module(self, wheel):
        with zipfile.ZipFile(wheel) as archive:
            held = {name: archive.getinfo(name).file_size for name in archive.namelist()}
        assert held["abp_tf/py.typed"] == 0
        assert {"abp_tf/serving/messages.proto", "abp_tf/examples/README.md"} < set(held)
        assert 0 < held["abp_tf/examples/digits.keras"] + held["abp_tf/examples/digits.npz"] < 10**6

    def test_is_imported_from_where_it_was_installed(self, report, installed):
        folders = [Path(file).parent.relative_to(installed) for file in report["files"]]
        assert folders == [Path("abp_tf"), Path("abp_tf/train"), Path("abp_tf/export")]

    def test_version(self, wheel, report):
        assert report["version"] == metadata(wheel)["Version"] == __version__

    def test_command(self, report):
        assert report["said"] == f"abp-tf {__version__}"
        assert report["exit code"] == 0

    @pytest.mark.parametrize("words", command.PROGRAMS)
    def test_programs(self, report, words):
        assert report["programs"][words] is True

    def test_other_backends_are_refused(self, installed, tmp_path):
        run = run_python("import abp_tf", installed, tmp_path, KERAS_BACKEND="jax")
        assert run.returncode == 1
        last = run.stderr.strip().splitlines()[-1]
        assert last.startswith("ImportError: ")
        assert "KERAS_BACKEND=tensorflow" in last


def closure(requirements):
    """Canonical names of the distributions that are installed for requirements."""
    found, ahead = set(), [(text, "") for text in requirements]
    while ahead:
        text, extra = ahead.pop()
        one = Requirement(text)
        name = canonicalize_name(one.name)
        if (one.marker and not one.marker.evaluate({"extra": extra})) or (name, extra) in found:
            continue
        found.add((name, extra))
        wanted = importlib.metadata.requires(name) or ()
        ahead += [(each, asked) for each in wanted for asked in ("", *one.extras)]
    return {name for name, _ in found}


@pytest.fixture
def refused(wheel):
    """The packages that are there, and would not be without extras."""
    plain = {"abp-tf", *closure(metadata(wheel).get_all("Requires-Dist"))}
    there = importlib.metadata.packages_distributions().items()
    return [name for name, owners in there if not plain & set(map(canonicalize_name, owners))]


class TestPlainInstall:
    def test_import_loads_nothing_that_only_some_uses_need(self, installed, tmp_path):
        code = (
            f"{REFUSAL}import abp_tf; from abp_tf import callbacks, data; "
            "from abp_tf.display import media, pictures"
        )
        run = run_python(code, installed, tmp_path, REFUSED=json.dumps(LATER))
        assert run.returncode == 0, run.stderr

    def test_every_module_is_imported_or_names_its_extra(self, wheel, installed, refused, tmp_path):
        assert {
            "av",
            "xarray",
            "skimage",
            "sklearn",
            "tensorflow_datasets",
            "prometheus_client",
        } <= set(refused)
        run = run_python(PLAIN, installed, tmp_path, REFUSED=json.dumps(refused))
        assert run.returncode == 0, run.stderr
        said = json.loads(run.stdout.splitlines()[-1])
        assert {"abp_tf.models.generator", "abp_tf.train.command", "abp_tf.export.server"} < set(said)
        extras = set(metadata(wheel).get_all("Provides-Extra"))
        for module, text in said.items():
            named = re.findall(r'pip install "abp_tf\[(\w+)\]"', text)
            assert not text or (named and set(named) <= extras), f"{module}: {text}"
        assert [module for module, text in said.items() if text] == [
            "abp_tf.export.health",
            "abp_tf.export.measures",
            "abp_tf.export.page",
            "abp_tf.export.server",
            "abp_tf.export.service",
            "abp_tf.export.web.app",
        ]


def test_what_is_imported_later_is_there():
    assert abp_tf.Client is client.Client
    assert abp_tf.AsyncClient is async_client.AsyncClient
    assert abp_tf.ServingError is errors.ServingError
    assert set(abp_tf.__all__) <= set(dir(abp_tf))
    assert not hasattr(abp_tf, "clients")


def test_constraints_are_within_the_ranges(wheel):
    lines = (CHECKOUT / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    pinned = {canonicalize_name(name): version for name, version in pinned.items()}
    # Left to the Python version: each brings its own, and not every setuptools runs on each.
    required = [Requirement(text) for text in metadata(wheel).get_all("Requires-Dist")]
    required = [one for one in required if one.name != "setuptools"]
    outside = [
        str(one)
        for one in required
        if not one.specifier.contains(pinned.get(canonicalize_name(one.name), "0"))
    ]
    assert len(required) > 8
    assert outside == []


class TestCommand:
    @pytest.fixture
    def started(self, monkeypatch):
        """Records which module would run with which arguments, instead of running it."""
        runs = []

        def import_module(name):
            return SimpleNamespace(main=lambda argv: runs.append((name, argv)) or 3)

        monkeypatch.setattr(command.importlib, "import_module", import_module)
        return runs

    @pytest.mark.parametrize(
        ("argv", "module", "rest"),
        [
            (["train", "generator", "--epochs", "3"], "train.generator", ["--epochs", "3"]),
            (["evaluate", "--help"], "train.evaluate", ["--help"]),
            (["export", "model.keras", "train"], "export.saved_model", ["model.keras", "train"]),
            (["demo"], "train.demo", []),
        ],
    )
    def test_runs_the_program_with_the_rest(self, started, argv, module, rest):
        assert command.main(argv) == 3
        assert started == [(module, rest)]

    def test_takes_the_arguments_of_the_process(self, started, monkeypatch):
        monkeypatch.setattr(sys, "argv", ["abp-tf", "demo", "--fast"])
        command.main()
        assert started == [("train.demo", ["--fast"])]

    @pytest.mark.parametrize("argv", [["--help"], ["-h"]])
    def test_help(self, started, capsys, argv):
        assert command.main(argv) == 0
        out = capsys.readouterr().out
        assert "usage: abp-tf" in out
        assert all(words in out for words in command.PROGRAMS)

    def test_version(self, capsys):
        assert command.main(["--version"]) == 0
        assert capsys.readouterr().out == f"abp-tf {__version__}\n"

    @pytest.mark.parametrize("argv", [[], ["paint"], ["train"], ["train", "painter"], ["--faster"]])
    def test_anything_else_names_the_choices(self, started, capsys, argv):
        assert command.main(argv) == 2
        streams = capsys.readouterr()
        assert streams.out == ""
        assert all(words in streams.err for words in command.PROGRAMS)
        assert " ".join(argv) in streams.err
        assert started == []
