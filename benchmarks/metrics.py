"""Calibrate measures of syntheses on real and damaged signals: python -m benchmarks.metrics.

Images are halves of the test set of Fashion-MNIST: one is damaged, the other is what it is compared
with. Textures are left halves of photographs, compared with right halves, and sounds are first halves
of recordings, compared with second halves. Their figures are relative to those of the half without
damage, which is another part of the same photograph or recording: the median over all of them, and the
range. Distances are divided by its distance, and from levels in dB its level is subtracted.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from abp_tf import files, programs

from . import cells, damages, fashion, sounds, textures
from .kinds import folder


def images(directory: Path, quick: bool) -> list[dict]:
    """Return a row of figures for each damage of images."""
    data = fashion.load(quick)
    extract = fashion.extractor(data, directory)
    half = len(data.test) // 2
    compared = data._replace(test=data.test[half:])
    found = damages.damaged_images(data.test[:half], (14, 7))
    found["Gaussian on 60 principal components"] = fashion.gaussian(data, half)
    measured = {name: fashion.figures(one, compared, extract) for name, one in found.items()}
    return [
        {"damage": name, **dict(zip(fashion.FIGURES, fashion.shown([row]), strict=True))}
        for name, row in measured.items()
    ]


def photographs(_: Path, quick: bool) -> list[dict]:
    """Return a row of figures for each damage of textures."""
    with np.load(folder() / "seed_textures_224.npz") as stored:
        photos = stored["images"][: 2 if quick else None] / np.float32(127.5) - 1
    each = []
    for photo in photos:
        left = photo[None, :, : photo.shape[1] // 2]
        damaged = damages.damaged_images(left, (28, 14, 7))
        each.append({name: textures.figures(one[0], photo) for name, one in damaged.items()})
    return summary(each)


def recordings(_: Path, quick: bool) -> list[dict]:
    """Return a row of figures for each damage of sounds."""
    with np.load(folder() / "seed_audio.npz") as stored:
        found = zip(stored["audio"], np.broadcast_to(stored["rate"], len(stored["audio"])), strict=True)
        every = [(sound / np.abs(sound).max(), float(rate)) for sound, rate in found]
    each = []
    for sound, rate in every[: 2 if quick else None]:
        damaged = damages.damaged_sounds(sound[: len(sound) // 2], rate)
        each.append({name: sounds.figures(one, sound, rate) for name, one in damaged.items()})
    return summary(each)


def summary(each: list[dict[str, dict[str, float]]]) -> list[dict]:
    """Return a row for each damage, from the figures of several signals by damage and measure."""
    rows = []
    for damage in each[0]:
        row = {"damage": damage}
        for measure in each[0][damage]:
            found, whole = (np.array([one[d][measure] for one in each]) for d in (damage, "none"))
            relative = found - whole if measure.startswith("level") else found / whole
            row[measure] = f"{np.median(relative):.2f} ({relative.min():.2f} to {relative.max():.2f})"
        rows.append(row)
    return rows


TABLES = {"images": images, "textures": photographs, "sounds": recordings}


def main(argv: list[str] | None = None) -> int:
    """Print the tables; return the exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.metrics", description=__doc__)
    add = parser.add_argument
    add("--run", default="runs/benchmarks/metrics", help="directory of the classifier [%(default)s]")
    add("--kinds", nargs="+", choices=TABLES, default=list(TABLES), help="by default all")
    add("--quick", action="store_true", help="use few signals")
    arguments = parser.parse_args(argv)
    directory = Path(arguments.run + ("-quick" if arguments.quick else ""))
    found = {}
    for kind in arguments.kinds:
        found[kind] = TABLES[kind](directory, arguments.quick)
        columns = list(found[kind][0])
        rows = [[row[key] for key in columns] for row in found[kind]]
        print(f"\n{kind}\n\n{cells.table([c.replace('_', ' ') for c in columns], rows)}", flush=True)
    files.write_json(directory / "table.json", found)
    return 0


if __name__ == "__main__":
    programs.run(main)
