"""Store results of benchmarks, one cell for each combination of settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from abp_tf import files


def folder_of(directory: Path, name: str, settings: dict) -> Path:
    """Return the directory of a cell.

    Args:
        directory: directory of all cells of a benchmark.
        name: name of the cell.
        settings: settings of the cell.
    """
    # Settings that are None are left out, so that a new option does not change earlier cells.
    given = {key: value for key, value in settings.items() if value is not None}
    digest = hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:10]
    return directory / f"{name}-{digest}"


def cell(directory: Path, name: str, settings: dict, compute: Callable[[Path], dict]) -> dict:
    """Return the figures of a cell, which are computed once for its settings.

    Args:
        directory: directory of all cells of a benchmark.
        name: readable name of the cell.
        settings: all settings that the figures depend on; other settings make another cell.
        compute: function from a directory for pictures and models to the figures.
    """
    folder = folder_of(directory, name, settings)
    result = folder / "result.json"
    if result.exists():
        return json.loads(result.read_text())["figures"]
    folder.mkdir(parents=True, exist_ok=True)
    print(f"[{name}] {settings}", flush=True)
    figures = compute(folder)
    files.write_json(result, {"settings": settings, "figures": figures})
    return figures


def images(directory: Path, name: str, settings: dict) -> dict[str, np.ndarray]:
    """Return the arrays in `recovered.npz` of a cell, empty for a cell that `restore` wrote."""
    path = folder_of(directory, name, settings) / "recovered.npz"
    if not path.exists():
        return {}
    with np.load(path) as stored:
        return dict(stored)


def restore(directory: Path, results: Path) -> None:
    """Write the cells in a file of `keep` to a directory, except for those that it already has."""
    for kept in json.loads(results.read_text()) if results.exists() else []:
        result = folder_of(directory, kept["name"], kept["settings"]) / "result.json"
        if not result.exists():
            result.parent.mkdir(parents=True, exist_ok=True)
            files.write_json(result, {"settings": kept["settings"], "figures": kept["figures"]})


def keep(directory: Path, results: Path) -> None:
    """Write the figures of all cells of a directory to one file, without pictures and models."""
    found = []
    for path in sorted(directory.glob("*/result.json")):
        found.append({"name": path.parent.name.rpartition("-")[0], **json.loads(path.read_text())})
    results.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(results, found)


def table(columns: list[str], rows: list[list]) -> str:
    """Return rows as a Markdown table."""

    def line(values):
        return "| " + " | ".join(str(value) for value in values) + " |"

    return "\n".join([line(columns), line(["---"] * len(columns)), *map(line, rows)])
