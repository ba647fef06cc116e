"""Results that survive interruption: one cached cell for each combination of settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from abp_tf import files


def place_of(directory: Path, name: str, settings: dict) -> Path:
    """Return the directory of a cell; arguments as for `cell`."""
    # What is not set does not count: an option that is new leaves the cells of before as they are.
    given = {key: value for key, value in settings.items() if value is not None}
    digest = hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:10]
    return directory / f"{name}-{digest}"


def cell(directory: Path, name: str, settings: dict, compute: Callable[[Path], dict]) -> dict:
    """Return the figures of a cell, computed once for its settings.

    Args:
        directory: of all cells of a benchmark.
        name: of the cell, for people.
        settings: all that the figures depend on; other settings are another cell.
        compute: takes a directory for pictures and models and returns the figures.
    """
    place = place_of(directory, name, settings)
    result = place / "result.json"
    if result.exists():
        return json.loads(result.read_text())["figures"]
    place.mkdir(parents=True, exist_ok=True)
    print(f"[{name}] {settings}", flush=True)
    figures = compute(place)
    files.write_json(result, {"settings": settings, "figures": figures})
    return figures


def images(directory: Path, name: str, settings: dict) -> dict[str, np.ndarray]:
    """Return what a cell has left in `recovered.npz`; nothing if it came from `restore`."""
    path = place_of(directory, name, settings) / "recovered.npz"
    if not path.exists():
        return {}
    with np.load(path) as stored:
        return dict(stored)


def restore(directory: Path, results: Path) -> None:
    """Take the cells of earlier runs from a file that `keep` wrote, but none that is there already."""
    for kept in json.loads(results.read_text()) if results.exists() else []:
        result = place_of(directory, kept["name"], kept["settings"]) / "result.json"
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
