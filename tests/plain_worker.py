"""What `train.machines.start` starts in the tests: a program that does what its first word names."""

import json
import os
import sys
import time
from pathlib import Path

WHAT, DIRECTORY = sys.argv[1], Path(sys.argv[2])
CONFIG = json.loads(os.environ["TF_CONFIG"])
NUMBER = CONFIG["task"]["index"]


def wait_for(*names):
    while not all((DIRECTORY / name).exists() for name in names):
        time.sleep(0.01)


print("words of process", NUMBER, flush=True)
threads = [os.environ[name] for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS")]
found = {"pid": os.getpid(), "config": CONFIG, "threads": threads, "words": sys.argv[3:]}
(DIRECTORY / f"{NUMBER}.part").write_text(json.dumps(found))
(DIRECTORY / f"{NUMBER}.part").rename(DIRECTORY / str(NUMBER))
wait_for("0", "1")
if WHAT == "fail" and NUMBER == 1:
    sys.exit("a broken \x1b file")
if WHAT != "end":
    time.sleep(100)
