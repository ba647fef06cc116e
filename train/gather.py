"""Make one model file of the backup of a training by several processes.

For instance: python -m train.gather runs/faces/model.shards runs/faces/model.keras
"""

from __future__ import annotations

import argparse
from pathlib import Path

from abp_tf import programs
from abp_tf.distribution import backup


def main(arguments=None) -> None:
    """Run the program with command-line `arguments`; None takes those of the process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("directory", type=Path, help="directory of the backup, ending in .shards")
    parser.add_argument("file", type=Path, help="file to write, ending in .keras")
    options = parser.parse_args(arguments)
    if options.file.exists():
        parser.error(f"{options.file} exists; nothing was changed")
    backup.gather(options.directory, options.file)
    print(f"Wrote {options.file}")


if __name__ == "__main__":
    programs.run(main)
