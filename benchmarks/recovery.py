"""Recover hidden pixels by every method: python -m benchmarks.recovery --help.

Errors are the mean absolute error on hidden entries as a share of the range, and the PSNR there. They
are measured on the first training images, with the masks of learning, and on the first test images.
Each method recovers by the way that is best on the training images. Cells are stored, so that an
interrupted benchmark continues where it stopped.
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
# Blocks are M20 and M30 of the papers, for images of 64 pixels, here scaled to 28.
MASKS = {
    "fashion": (*PEPPER, "block:9", "block:13"),
    "olivetti": (*PEPPER, "block:20", "block:30"),
}
# Numbers of images: for learning, of training and test images recovered; and in pictures.
FULL, QUICK, FEW = {"fashion": (None, 100, 500), "olivetti": (None, 50, 50)}, (500, 20, 50), 10

# Largest PSNR of an image in dB. A hidden block that is black may be recovered exactly, and one such
# image would outweigh all others. Rounding to 8 bits gives 59 dB.
EXACT = 60.0


def load(name: str, quick: bool) -> methods.Data:
    """Load a data set.

    Args:
        name: "fashion" or "olivetti".
        quick: whether to use only the first images.

    Raises:
        FileNotFoundError: $ABP_TF_DATA is not set and the data set needs it.
    """
    if name == "fashion":
        labelled = fashion.load()
        train, test = labelled.train, labelled.test
    else:
        folder = os.environ.get("ABP_TF_DATA")
        if not folder:
            raise FileNotFoundError(
                "Expected the folder of the Olivetti faces in $ABP_TF_DATA, which is not set. Set it."
            )
        with np.load(Path(folder) / "olivetti_train350.npz") as stored:
            images = (stored["images"][..., None] / 127.5 - 1).astype(np.float32)
            others = stored["labels"] >= 30  # people who are not among the training images
        train, test = images[~others], images[others]
    learned, _, tested = QUICK if quick else FULL[name]
    return methods.Data(train[:learned], test[:tested], name)


def drawn(spec: str, images: np.ndarray, seed: int) -> np.ndarray:
    """Draw masks for images, with seed 0 for training images and 1 for test images."""
    return masks.parse(spec)(len(images), images.shape[1:3], seed)


def errors(truth: np.ndarray, found: np.ndarray, mask: np.ndarray) -> dict:
    """Return MAE/range and PSNR on hidden entries; the PSNR of an image is at most `EXACT`."""
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
    folder: Path,
) -> dict:
    """Learn one model, recover images by it, and store a few of them."""
    method = methods.METHODS[name]
    mask = None if learned_with == "complete" else drawn(learned_with, data.train, 0)
    model, seconds = methods.timed(method.learn, settings, data.train, mask)
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
    np.savez_compressed(folder / "recovered.npz", **kept)
    return found


def masked(data: methods.Data, directory: Path, arguments) -> list[dict]:
    """Compute or read the cells of a data set, and draw its pictures; return a row for each."""
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

            def fill(folder, name=name, settings=settings, given=learned_with, tested=tested):
                return compute(name, settings, data, given, tested, count, folder)

            figures = cells.cell(directory, label, settings, fill)
            recovered[name] = cells.images(directory, label, settings)
            for spec in tested:
                row = {"data": data.name, "learned with": learned_with, "hidden": spec, "method": name}
                result.append({**row, **flat(figures[spec]), **flat(figures)})
        for spec in tested:
            shown = {name: found[spec] for name, found in recovered.items() if spec in found}
            mask = drawn(spec, data.test, 1)[:FEW]
            name = f"{data.name}_{learned_with}_{spec}.png".replace(":", "")
            picture(data.test[:FEW], mask, shown, directory / name)
    return result


def flat(figures: dict) -> dict:
    """Return the figures of a cell, or of one mask, by the names of the columns of the CSV file."""
    if "way" not in figures:
        return {"parameters": figures["parameters"], "training s": round(figures["seconds"], 1)}
    return {
        "way": figures["way"],
        **{
            f"{part} {key}": figures[part][key] for part in ("train", "test") for key in ("mae", "psnr")
        },
        "s per 1 000": round(figures["seconds_per_1000"], 1),
    }


def picture(truth: np.ndarray, mask: np.ndarray, recovered: dict, path: Path) -> None:
    """Draw rows of complete images, observed images, and images recovered by each method."""
    observed = np.where(mask[..., None], truth, 0)
    batches, labels = [truth, observed, *recovered.values()], ["truth", "observed", *recovered]
    pictures.save_png(path, pictures.rows(batches, labels))


def pivot(rows: list[dict], key: str, form: str) -> str:
    """Return a table of errors on training / test images, with a column for each method."""
    names = list(dict.fromkeys(row["method"] for row in rows))
    lines: dict[tuple, dict] = {}
    for row in rows:
        case = (row["data"], row["learned with"], row["hidden"])
        lines.setdefault(case, {})[row["method"]] = row
    listed = [
        [
            *case,
            *(
                f"{found[name][f'train {key}']:{form}} / {found[name][f'test {key}']:{form}}"
                if name in found
                else ""
                for name in names
            ),
        ]
        for case, found in lines.items()
    ]
    return cells.table(["data", "learned with", "hidden", *names], listed)


def costs(rows: list[dict]) -> str:
    """Return the table of costs of each method, means over the cells of a data set."""
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
    add("--run", default="runs/benchmarks/recovery", help="directory of the cells [%(default)s]")
    add("--data", nargs="+", choices=sorted(methods.SHARED), default=["fashion", "olivetti"],
        help="data sets; by default all")  # fmt: skip
    add("--methods", nargs="+", choices=list(methods.METHODS), default=list(methods.METHODS),
        help="methods; by default all")  # fmt: skip
    add("--masks", nargs="+", type=options.mask,
        help="masks, as for --mask of train.generator; by default those of the table")  # fmt: skip
    add("--learned", nargs="*", type=_learned, help="masks to learn with, or complete; by default all")
    add("--operators", nargs="*", type=options.observe, default=list(indirect.OPERATORS),
        help="operators, as for --observe of train.generator; without a value none")  # fmt: skip
    add("--results", type=Path,
        help="JSON file of cells; its cells are not computed again, others are added")  # fmt: skip
    add("--bfloat16", nargs="+", choices=["ABP", "CoopNets", "VAE", "GAN"], default=[],
        help="methods that compute in mixed_bfloat16; by default none")  # fmt: skip
    add(
        "--quick", action="store_true", help="use few images and epochs, to show the form of the tables"
    )
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
    tables = [f"MAE/range, training / test\n\n{pivot(rows, 'mae', '.4f')}"]
    tables += [f"PSNR, training / test\n\n{pivot(rows, 'psnr', '.1f')}", costs(rows)]
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
