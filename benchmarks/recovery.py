"""Recovery of hidden pixels by every method: python -m benchmarks.recovery --help.

Errors are mean absolute errors on hidden entries as a share of the range, and PSNR there; of the first
training images under the masks they were learned with, and of the first unseen images. Which of its
ways a method recovers by is decided on the training images, whose truth a benchmark knows. Cells are
kept, so an interrupted benchmark goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import os
from pathlib import Path

import numpy as np

from abp_tf import files, masks, metrics, programs
from abp_tf.display import pictures
from train import options

from . import cells, fashion, indirect, methods

PEPPER = ("pepper:0.5", "pepper:0.7", "pepper:0.9")
# Blocks are the papers' M20 and M30 of 64 pixels, scaled to 28.
MASKS = {
    "fashion": (*PEPPER, "block:9", "block:13"),
    "olivetti": (*PEPPER, "block:20", "block:30"),
}
# Images learned from, and recovered: of training and of test images; and those in pictures.
FULL, QUICK, FEW = {"fashion": (None, 100, 500), "olivetti": (None, 50, 50)}, (500, 20, 50), 10

# A hidden block that is black all over may be recovered exactly; in decibels, one such image would
# outweigh all others. An image rounded to 8 bits is at 59.
EXACT = 60.0


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
    learned, _, unseen = QUICK if quick else FULL[name]
    return methods.Data(train[:learned], test[:unseen], name)


def drawn(spec: str, images: np.ndarray, seed: int) -> np.ndarray:
    """Draw masks for images: seed 0 for training images, 1 for unseen ones."""
    return masks.parse(spec)(len(images), images.shape[1:3], seed)


def errors(truth: np.ndarray, found: np.ndarray, mask: np.ndarray) -> dict:
    """MAE/range and PSNR on hidden entries, of each image no more than `EXACT`."""
    found = np.clip(found, -1, 1).astype(np.float32)
    ratios = metrics.psnr(truth, found, ~mask, per_example=True)
    return {
        "mae": metrics.recovery_error(truth, found, mask),
        "psnr": float(np.minimum(ratios, EXACT).mean()),
    }


def compute(
    name: str,
    settings: dict,
    data: methods.Data,
    learned_with: str,
    tested: tuple,
    count: int,
    place: Path,
) -> dict:
    """Learn one model, recover by it, and keep a few recovered images."""
    method = methods.METHODS[name]
    seen = None if learned_with == "complete" else drawn(learned_with, data.train, 0)
    model, seconds = methods.timed(method.learn, settings, data.train, seen)
    found: dict = {"parameters": methods.parameters(model), "seconds": seconds}
    kept = {}
    for spec in tested:
        train = data.train[:count], drawn(spec, data.train[:count], 0)
        ways = method.ways(model, settings)
        tried = {way: errors(train[0], ways[way](*train), train[1]) for way in ways}
        best = min(tried, key=lambda way: tried[way]["mae"])
        test = data.test, drawn(spec, data.test, 1)
        recovered, took = methods.timed(ways[best], *test)
        found[spec] = {
            "way": best,
            "train": tried[best],
            "tried": tried,
            "test": errors(test[0], recovered, test[1]),
            "seconds_per_1000": 1000 * took / len(recovered),
        }
        kept[spec] = recovered[:FEW]
    np.savez_compressed(place / "recovered.npz", **kept)
    return found


def masked(data: methods.Data, directory: Path, arguments) -> list[dict]:
    """Compute or read the cells of a data set, and draw its pictures; return one row for each."""
    result = []
    specs = arguments.masks or MASKS[data.name]
    count = (QUICK if arguments.quick else FULL[data.name])[1]
    for learned_with in arguments.learned or [*specs, "complete"]:
        tested = tuple(specs) if learned_with == "complete" else (learned_with,)
        recovered: dict[str, dict] = {}
        for name in arguments.methods:
            dtype = "mixed_bfloat16" if name in arguments.bfloat16 else None
            settings = methods.settings(name, data.name, arguments.quick, dtype, learned_with)
            settings |= {"data": data.name, "images": len(data.train), "learned_with": learned_with}
            settings |= {"recovered": [count, len(data.test)]}
            if learned_with == "complete":
                settings["tested"] = tested
            label = f"{data.name}-{learned_with.replace(':', '')}-{name}"

            def fill(place, name=name, settings=settings, given=learned_with, tested=tested):
                return compute(name, settings, data, given, tested, count, place)

            figures = cells.cell(directory, label, settings, fill)
            recovered[name] = cells.images(directory, label, settings)
            for spec in tested:
                row = {"data": data.name, "learned with": learned_with, "hidden": spec, "method": name}
                result.append({**row, **flat(figures[spec]), **flat(figures)})
        for spec in tested:
            shown = {name: found[spec] for name, found in recovered.items() if spec in found}
            seen = drawn(spec, data.test, 1)[:FEW]
            name = f"{data.name}_{learned_with}_{spec}.png".replace(":", "")
            picture(data.test[:FEW], seen, shown, directory / name)
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
    add("--masks", nargs="+", type=options.mask, help="as --mask of train.generator")
    add("--learned", nargs="*", type=_learned, help="masks to learn with, or complete; all by default")
    add("--operators", nargs="*", type=options.observe, default=list(indirect.OPERATORS),
        help="as --observe of train.generator; none: leave them out")  # fmt: skip
    add("--results", type=Path,
        help="a JSON file: cells that it has are not computed again, others are added")  # fmt: skip
    add("--bfloat16", nargs="+", choices=["ABP", "CoopNets", "VAE", "GAN"], default=[],
        help="methods that compute in mixed_bfloat16, for a processor that has it")  # fmt: skip
    add("--quick", action="store_true", help="few images and epochs: the shape of the tables")
    arguments = parser.parse_args(argv)
    directory = Path(arguments.run + ("-quick" if arguments.quick else ""))

    if arguments.results:
        cells.restore(directory, arguments.results)
    loaded = [load(name, arguments.quick) for name in arguments.data]
    rows = [row for data in loaded for row in masked(data, directory, arguments)]
    from_indirect = []
    if loaded[0].name == "fashion":
        from_indirect = indirect.table(
            loaded[0], directory, arguments.operators, arguments.quick, FEW, arguments.bfloat16
        )
    if arguments.results:
        cells.keep(directory, arguments.results)
    tables = [f"MAE/range, training / unseen\n\n{pivot(rows, 'mae', '.4f')}"]
    tables += [f"PSNR, training / unseen\n\n{pivot(rows, 'psnr', '.1f')}", costs(rows)]
    if from_indirect:
        tables.append(indirect.shown(from_indirect))
    print("\n" + "\n\n".join(tables))
    files.write_json(directory / "table.json", {"masked": rows, "indirect": from_indirect})
    for name, found in (("masked", rows), ("indirect", from_indirect)):
        if found:
            with (directory / f"{name}.csv").open("w", newline="") as stream:
                writer = csv.DictWriter(stream, list(found[0]))
                writer.writeheader()
                writer.writerows(found)
    print(f"\n{directory}: table.json, masked.csv, indirect.csv, pictures")
    return 0


def _learned(text: str) -> str:
    return text if text == "complete" else options.mask(text)


if __name__ == "__main__":
    programs.run(main)
