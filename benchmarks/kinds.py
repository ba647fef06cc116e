"""Learn textures, sounds and clips by every model: python -m benchmarks.kinds --help.

Data are the seed textures, sounds and clips in the folder $ABP_TF_DATA. Cells are stored with
pictures, sounds and clips, so that an interrupted benchmark continues where it stopped. Each cell is
computed in a process of its own, whose peak memory is measured.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from abp_tf import files, programs

from . import cells, sounds, textures, videos

# Modules that compute the cells, by kind of signal.
KINDS = {"texture": textures, "sound": sounds, "video": videos}


def folder() -> Path:
    """Return the folder of the data.

    Raises:
        FileNotFoundError: $ABP_TF_DATA is not set.
    """
    found = os.environ.get("ABP_TF_DATA")
    if not found:
        raise FileNotFoundError(
            "Expected the folder of the seed textures, sounds and clips in $ABP_TF_DATA, which is not "
            "set. Set it."
        )
    return Path(found)


def compute(kind: str, subject: str, task: str, settings: dict, data: Path, target: Path) -> dict:
    """Compute one cell; return its figures and the peak memory of this process."""
    figures = KINDS[kind].compute(subject, task, settings, data, target)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {**figures, "peak_gigabytes": round(peak, 2)}


def apart(*arguments) -> dict:
    """Run `compute` in a new process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as executor:
        return executor.submit(compute, *arguments).result()


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; return its exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.kinds", description=__doc__)
    add = parser.add_argument
    add("--run", default="runs/benchmarks/kinds", help="directory of the cells [%(default)s]")
    add("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), help="kinds; by default all")
    add("--subjects", nargs="+", help="subjects of the kinds; by default " + ", ".join(
        subject for kind in KINDS.values() for subject in kind.SUBJECTS))  # fmt: skip
    add("--tasks", nargs="+", help="tasks of the kinds; by default " + ", ".join(
        dict.fromkeys(task for kind in KINDS.values() for task in kind.TASKS)))  # fmt: skip
    add("--results", type=Path,
        help="JSON file of cells; its cells are not computed again, others are added")  # fmt: skip
    add("--quick", action="store_true", help="use smaller signals and few iterations")
    arguments = parser.parse_args(argv)
    directory = Path(arguments.run + ("-quick" if arguments.quick else ""))
    data = folder()
    if arguments.results:
        cells.restore(directory, arguments.results)
    found: dict[str, list[dict]] = {}
    for kind in arguments.kinds:
        for subject in KINDS[kind].SUBJECTS:
            if arguments.subjects and subject not in arguments.subjects:
                continue
            for task in KINDS[kind].TASKS:
                if arguments.tasks and task not in arguments.tasks:
                    continue
                settings = KINDS[kind].settings(subject, task, arguments.quick)

                def fill(target, kind=kind, subject=subject, task=task, settings=settings):
                    return apart(kind, subject, task, settings, data, target)

                figures = cells.cell(directory, f"{subject}-{task}", settings, fill)
                found.setdefault(kind, []).append({"subject": subject, "task": task, **figures})
        if kind in found:
            columns = list(dict.fromkeys(key for row in found[kind] for key in row))
            rows = [[_shown(row.get(key, "")) for key in columns] for row in found[kind]]
            print(f"\n{kind}\n\n{cells.table([c.replace('_', ' ') for c in columns], rows)}")
    if arguments.results:
        cells.keep(directory, arguments.results)
    files.write_json(directory / "table.json", found)
    print(f"\nPictures, sounds and clips: {directory}/*/")
    return 0


def _shown(value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    programs.run(main)
