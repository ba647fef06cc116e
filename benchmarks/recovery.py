"""Recovery of hidden pixels by every method: python -m benchmarks.recovery --help.

Errors are mean absolute errors on hidden entries as a share of the range, and PSNR there; of up to
500 training images under the masks they were learned with, and of all unseen images. Cells are kept,
so an interrupted benchmark goes on where it stopped; a table shows the cells there are.
"""

from __future__ import annotations

import argparse
import csv
import os
from pathlib import Path

import numpy as np

from abp_tf import files, masks, metrics, pictures, programs

from . import cells, fashion, indirect, methods

MASKS = ("pepper:0.5", "pepper:0.7", "pepper:0.9", "block:9", "block:13")


def load(name: str, quick: bool) -> methods.Data:
    """Load a data set, of which `--quick` takes the first images."""
    if name == "fashion":
        labelled = fashion.load()
        train, test = labelled.train, labelled.test
    else:
        folder = os.environ.get("ABP_TF_DATA")
        if not folder:
            raise FileNotFoundError("Olivetti faces: set ABP_TF_DATA to a folder with their file.")
        with np.load(Path(folder) / "olivetti_train350.npz") as stored:
            images = (stored["images"][..., None] / 127.5 - 1).astype(np.float32)
            unseen = stored["labels"] >= 30  # people
        train, test = images[~unseen], images[unseen]
    if quick:
        train, test = train[: methods.QUICK["images"]], test[: methods.QUICK["images"] // 10]
    return methods.Data(train, test, name)


def drawn(spec: str, images: np.ndarray, seed: int) -> np.ndarray:
    """Draw masks for images: seed 0 for training images, 1 for unseen ones."""
    return masks.parse(spec)(len(images), images.shape[1:3], seed)


def errors(truth: np.ndarray, found: np.ndarray, mask: np.ndarray) -> dict:
    """MAE/range and PSNR on hidden entries."""
    found = np.clip(found, -1, 1)
    hidden = ~np.broadcast_to(mask[..., None], truth.shape)
    square = np.mean((truth - found)[hidden] ** 2, dtype=np.float64)
    return {
        "mae": metrics.recovery_error(truth, found, mask),
        "psnr": float(10 * np.log10(4 / square)),
    }


def compute(
    name: str, settings: dict, data: methods.Data, learned_with: str, tested: tuple, place: Path
) -> dict:
    """Learn one model, recover by it, and keep a few recovered images."""
    method = methods.METHODS[name]
    seen = None if learned_with == "complete" else drawn(learned_with, data.train, 0)
    model, seconds = methods.timed(method.learn, settings, data.train, seen)
    found: dict = {"parameters": methods.parameters(model), "seconds": seconds}
    kept = {}
    for spec in tested:
        train = data.train[: methods.TRAINING], drawn(spec, data.train[: methods.TRAINING], 0)
        test = data.test, drawn(spec, data.test, 1)
        rows = []
        for way, recover in method.ways(model).items():
            recovered, took = methods.timed(recover, *test)
            rows.append(
                {
                    "way": way,
                    "train": errors(train[0], recover(*train), train[1]),
                    "test": errors(test[0], recovered, test[1]),
                    "seconds_per_1000": 1000 * took / len(recovered),
                }
            )
            # Chosen on training images: those to be recovered are not known before.
            if rows[-1] == min(rows, key=_on_training):
                kept[spec] = recovered[: methods.FEW]
        found[spec] = rows
    np.savez_compressed(place / "recovered.npz", **kept)
    return found


def _on_training(row: dict) -> float:
    return row["train"]["mae"]


def masked(data: methods.Data, directory: Path, arguments) -> list[dict]:
    """Compute or read the cells of a data set, and draw its pictures; return one row for each."""
    result = []
    for learned_with in arguments.learned or [*arguments.masks, "complete"]:
        tested = tuple(arguments.masks) if learned_with == "complete" else (learned_with,)
        recovered: dict[str, dict] = {}
        for name in arguments.methods:
            settings = methods.shortened(methods.METHODS[name].settings(data.name), arguments.quick)
            settings |= {"data": data.name, "images": len(data.train), "learned_with": learned_with}
            if learned_with == "complete":
                settings["tested"] = tested
            label = f"{data.name}-{learned_with.replace(':', '')}-{name}"

            def fill(place, name=name, settings=settings, given=learned_with, tested=tested):
                return compute(name, settings, data, given, tested, place)

            figures = cells.cell(directory, label, settings, fill)
            with np.load(cells.place_of(directory, label, settings) / "recovered.npz") as stored:
                recovered[name] = dict(stored)
            for spec in tested:
                best = min(figures[spec], key=_on_training)
                row = {"data": data.name, "learned with": learned_with, "hidden": spec, "method": name}
                result.append({**row, **flat(best), **flat(figures)})
        for spec in tested:
            shown = {name: found[spec] for name, found in recovered.items()}
            seen = drawn(spec, data.test, 1)[: methods.FEW]
            name = f"{data.name}_{learned_with}_{spec}.png".replace(":", "")
            picture(data.test[: methods.FEW], seen, shown, directory / name)
    return result


def flat(figures: dict) -> dict:
    """Name the figures of a cell, or of one of its ways, as the columns of the CSV file."""
    if "way" not in figures:
        return {"parameters": figures["parameters"], "training s": round(figures["seconds"], 1)}
    return {
        "way": figures["way"],
        **{
            f"{part} {key}": figures[part][key] for part in ("train", "test") for key in ("mae", "psnr")
        },
        "s per 1 000": round(figures["seconds_per_1000"], 1),
    }


def picture(truth: np.ndarray, seen: np.ndarray, recovered: dict, path: Path) -> None:
    """Draw truth, what was seen of it, and a row for each method."""
    damaged = np.where(seen[..., None], truth, 0)
    batches, labels = [truth, damaged, *recovered.values()], ["truth", "seen", *recovered]
    pictures.save_png(path, pictures.rows(batches, labels))


def pivot(rows: list[dict], key: str, form: str) -> str:
    """Return a table with a column for each method: training images / unseen ones."""
    names = list(dict.fromkeys(row["method"] for row in rows))
    lines: dict[tuple, dict] = {}
    for row in rows:
        place = (row["data"], row["learned with"], row["hidden"])
        lines.setdefault(place, {})[row["method"]] = row
    listed = [
        [
            *place,
            *(
                f"{found[name][f'train {key}']:{form}} / {found[name][f'test {key}']:{form}}"
                if name in found
                else ""
                for name in names
            ),
        ]
        for place, found in lines.items()
    ]
    return cells.table(["data", "learned with", "hidden", *names], listed)


def costs(rows: list[dict]) -> str:
    """Return the table of what each method costs: means over the cells of a data set."""
    listed = []
    for data, name in dict.fromkeys((row["data"], row["method"]) for row in rows):
        own = [row for row in rows if (row["data"], row["method"]) == (data, name)]
        means = [np.mean([row[key] for row in own]) for key in ("training s", "s per 1 000")]
        ways = ", ".join(dict.fromkeys(row["way"] for row in own))
        listed.append([data, name, ways, own[0]["parameters"], f"{means[0]:.0f}", f"{means[1]:.1f}"])
    columns = ["data", "method", "recovers by", "parameters", "training s", "s per 1 000"]
    return cells.table(columns, listed)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; return its exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.recovery", description=__doc__)
    add = parser.add_argument
    add("--run", default="runs/benchmarks/recovery", help="where cells are kept")
    add("--data", nargs="+", choices=sorted(methods.SHARED), default=["fashion", "olivetti"])
    add("--methods", nargs="+", choices=list(methods.METHODS), default=list(methods.METHODS))
    add("--masks", nargs="+", default=list(MASKS), help="as --mask of train.generator")
    add("--learned", nargs="*", help="masks to learn with, or complete; all of them by default")
    add("--operators", nargs="*", default=list(indirect.OPERATORS), help="as --observe there")
    add("--quick", action="store_true", help="few images and epochs: the shape of the tables")
    arguments = parser.parse_args(argv)
    directory = Path(arguments.run + ("-quick" if arguments.quick else ""))

    rows, from_indirect = [], []
    for name in arguments.data:
        data = load(name, arguments.quick)
        rows += masked(data, directory, arguments)
        if name == "fashion":
            from_indirect = indirect.table(data, directory, arguments.operators, arguments.quick)
    tables = [f"MAE/range, training / unseen\n\n{pivot(rows, 'mae', '.4f')}"]
    tables += [f"PSNR, training / unseen\n\n{pivot(rows, 'psnr', '.1f')}", costs(rows)]
    if from_indirect:
        tables.append(indirect.shown(from_indirect))
    print("\n" + "\n\n".join(tables))
    files.write_json(directory / "table.json", {"masked": rows, "indirect": from_indirect})
    with (directory / "table.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    print(f"\n{directory}: table.json, table.csv, pictures")
    return 0


if __name__ == "__main__":
    programs.run(main)
