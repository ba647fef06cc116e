"""Load and replace the versions of a served model."""

from __future__ import annotations

import gc
import logging
import os
import re
import time
from pathlib import Path
from typing import NamedTuple

import grpc
from tensorflow_serving.apis import get_model_status_pb2

from abp_tf.printing import printable
from abp_tf.serving.saved_model import version_number

from .refusal import RefusedError
from .servable import Servable

log = logging.getLogger(__name__)

# Seconds before a version that failed to load is tried again. The time doubles with each failure.
_PAUSE = 60

State = get_model_status_pb2.ModelVersionStatus.State


class Status(NamedTuple):
    """Hold the state of a version.

    Attributes:
        state: a `ModelVersionStatus.State` of TensorFlow Serving.
        error: why the version could not be loaded; empty for others.
    """

    state: int
    error: str = ""


class _Failure(NamedTuple):
    """Hold what the files of a version were when it failed to load, and when to try it again."""

    stamp: tuple
    retry_at: float
    pause: float


class Model:
    """Keep the newest valid versions of a model directory loaded.

    One thread calls `refresh` from time to time; other threads may use `find` and `statuses` meanwhile.

    Args:
        name: name of the model in requests.
        directory: directory with a subdirectory for each version, named by its number.
        keep: number of versions to keep loaded.

    Attributes:
        loaded: loaded versions by number, the newest first.
        statuses: states of all versions by number.
    """

    def __init__(self, name: str, directory: Path, keep: int = 1):
        self.name, self.directory, self.keep = name, directory, keep
        # These dictionaries are replaced and never changed, so that readers need no lock.
        self.loaded: dict[int, Servable] = {}
        self.statuses: dict[int, Status] = {}
        self._failures: dict[int, _Failure] = {}
        self._swapped = False

    def find(self, version: int | None) -> tuple[int, Servable]:
        """Return the number and the servable of a loaded version.

        Args:
            version: number of the version; None for the newest.

        Raises:
            RefusedError: NOT_FOUND, if the version is not loaded.
        """
        loaded = self.loaded
        if version is None:
            version = next(iter(loaded))
        if version not in loaded:
            raise RefusedError(
                grpc.StatusCode.NOT_FOUND,
                f"Expected one of the loaded versions {sorted(loaded)} of {self.name!r}, received "
                f"{version}.",
            )
        return version, loaded[version]

    def refresh(self) -> None:
        """Load new versions and unload the versions that they replace.

        The newest versions that can be loaded are served. A version that failed to load is tried again
        when its files have changed, so that an unfinished copy is loaded once it is complete, and after
        a minute, then two, four and so on, because the reason may have passed, such as a lack of file
        descriptors. A version whose directory was deleted is served until another version replaces it.
        """
        good: dict[int, Servable] = {}
        for number, path in sorted(self._versions().items(), reverse=True):
            if len(good) == self.keep:
                break
            servable = self.loaded.get(number) or self._load(number, path)
            if servable is not None:
                good[number] = servable
        if self._swapped:
            # TensorFlow objects have reference cycles. By now the requests that still used the old
            # versions have ended.
            self._swapped = False
            gc.collect()
        if not good or good.keys() == self.loaded.keys():
            return
        old, self.loaded = self.loaded, good
        for number in old.keys() - good.keys():
            self._note(number, State.END)
            log.info("unloaded %s version %d", self.name, number)
        if old:
            log.info("swapped %s: now serving %s", self.name, _listed(good))
            self._swapped = True

    def _versions(self) -> dict[int, Path]:
        try:
            paths = list(self.directory.iterdir())
        except OSError as error:
            log.warning("%s: cannot list versions: %s", self.name, error)
            return {}
        numbered = {version_number(path.name): path for path in paths}
        # `os.path.isdir` returns False where `Path.is_dir` raises, such as for a link to itself.
        return {
            number: path
            for number, path in numbered.items()
            if number is not None and os.path.isdir(path)
        }

    def _load(self, number: int, path: Path) -> Servable | None:
        stamp, failure = _stamp(path), self._failures.get(number)
        if failure is not None and failure.stamp != stamp:
            failure = None
        if failure is not None and time.monotonic() < failure.retry_at:
            return None
        self._note(number, State.LOADING)
        try:
            servable = Servable(path)
        # A damaged version may raise any exception; it is reported and the other versions are served.
        except Exception as error:
            pause = _PAUSE if failure is None else 2 * failure.pause
            self._failures[number] = _Failure(stamp, time.monotonic() + pause, pause)
            what = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            self._note(number, State.END, self._public(what))
            log.error("refused %s version %d: %s", self.name, number, what)
            return None
        self._failures.pop(number, None)
        self._note(number, State.AVAILABLE)
        log.info("loaded %s version %d: %s", self.name, number, ", ".join(servable.signatures))
        return servable

    def _public(self, text: str) -> str:
        """Return an error as clients may see it: without the folders of this machine."""
        text = text.replace(str(self.directory), self.name)
        return printable(re.sub(r"(?<![\w./-])/(?:[^\s/'\":]+/)+", "", text))

    def _note(self, number: int, state: int, error: str = "") -> None:
        self.statuses = {**self.statuses, number: Status(state, error)}


def _stamp(directory: Path) -> tuple:
    """Return a value that changes when files in a directory change."""
    found = []
    for folder, _, names in os.walk(directory):  # which passes over folders that cannot be listed
        for path in (os.path.join(folder, name) for name in names):
            try:
                status = os.stat(path)
            except OSError:  # an unfinished copy, or a file that cannot be loaded either
                continue
            found.append((path, status.st_size, status.st_mtime_ns))
    return tuple(sorted(found))


def _listed(loaded: dict[int, Servable]) -> str:
    return "version " + ", ".join(map(str, loaded))
