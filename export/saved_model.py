"""Export a run as a SavedModel for TensorFlow Serving: python -m export.saved_model --help."""

from __future__ import annotations

import argparse
from pathlib import Path

from abp_tf import programs, runs


def parser() -> argparse.ArgumentParser:
    """Return the parser of the program's options."""
    result = argparse.ArgumentParser(
        prog="export.saved_model",
        description="Export a run's model with its signatures, synthesize and inpaint among them, as "
        "the next version in a directory.",
    )
    result.add_argument("--run", required=True, help="directory of the run")
    result.add_argument("--to", required=True, help="directory of the model's versions")
    for name, what in (("samples", "samples of each row"), ("chains", "chains that draw them")):
        result.add_argument(
            f"--{name}", type=int, help=f"number of {what} in the signature sample_posterior"
        )
    return result


def next_version(directory: Path) -> int:
    """Return one more than the highest version in a directory that may not exist yet.

    Raises:
        NotADirectoryError: it is a file.
    """
    if directory.exists() and not directory.is_dir():
        raise NotADirectoryError(
            f"--to expected a directory for versions, but {directory} is a file. Nothing was changed."
        )
    names = [path.name for path in directory.iterdir()] if directory.exists() else []
    return max((int(name) for name in names if name.isdecimal()), default=0) + 1


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit code."""
    arguments = parser().parse_args(argv)
    directory = Path(arguments.to)
    path = directory / str(next_version(directory))
    model = runs.Run.open(arguments.run).load_model()
    given = {"samples": arguments.samples, "chains": arguments.chains}
    options = {name: value for name, value in given.items() if value is not None}
    if options and "sample_posterior" not in model.exported_signatures():
        raise ValueError(
            "--samples and --chains are options of the signature sample_posterior, which a "
            f"{type(model).__name__} does not export. Leave them out."
        )
    model.export(path, **options)
    print(f"exported {path}: {', '.join(model.exported_signatures(**options))}")
    return 0


if __name__ == "__main__":
    programs.run(main)
