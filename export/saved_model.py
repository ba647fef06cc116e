"""Export a run as a SavedModel for TensorFlow Serving: python -m export.saved_model --help."""

from __future__ import annotations

import argparse
from pathlib import Path

from abp_tf import programs, runs
from abp_tf.options import Formatter
from abp_tf.serving import examples, saved_model


def parser() -> argparse.ArgumentParser:
    """Return the parser of the program's options."""
    result = argparse.ArgumentParser(
        prog="export.saved_model",
        description="Export the model of a run as a SavedModel, with a signature for each of its "
        "functions, such as synthesize and inpaint. The export is the next version in a directory.",
        formatter_class=Formatter,
    )
    result.add_argument("--run", required=True, metavar="DIR", help="directory of the run")
    result.add_argument(
        "--to",
        required=True,
        metavar="DIR",
        help="directory of the versions of the model; new or existing",
    )
    result.add_argument(
        "--examples",
        type=int,
        default=0,
        metavar="N",
        help="number of test signals to put into the export, for the page that shows the model; who "
        "has the export can read them [%(default)s]",
    )
    for name, what in (("samples", "samples of each row"), ("chains", "chains that draw them")):
        result.add_argument(
            f"--{name}",
            type=int,
            metavar="N",
            help=f"number of {what} in the signature sample_posterior",
        )
    return result


def next_version(directory: Path) -> int:
    """Return one more than the highest version in a directory that may not exist yet.

    Raises:
        NotADirectoryError: the path is a file.
    """
    if directory.exists() and not directory.is_dir():
        raise NotADirectoryError(
            f"--to: expected a directory of versions, but {directory} is a file. Nothing was changed."
        )
    names = [path.name for path in directory.iterdir()] if directory.exists() else []
    return max((saved_model.version_number(name) or 0 for name in names), default=0) + 1


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit code."""
    arguments = parser().parse_args(argv)
    directory = Path(arguments.to)
    path = directory / str(next_version(directory))
    run = runs.Run.open(arguments.run)
    model = run.load_model()
    given = {"samples": arguments.samples, "chains": arguments.chains}
    options = {name: value for name, value in given.items() if value is not None}
    if options and "sample_posterior" not in model.exported_signatures():
        raise ValueError(
            "--samples and --chains are options of the signature sample_posterior, which a "
            f"{type(model).__name__} does not export. Leave them out."
        )
    few = examples.choose(run.load_images(), arguments.examples) if arguments.examples else None
    model.export(path, examples=few, **options)
    print(f"exported {path}: {', '.join(model.exported_signatures(**options))}")
    return 0


if __name__ == "__main__":
    programs.run(main)
