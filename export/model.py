"""A model directory as it is served: which versions are loaded, and what became of the others."""

from __future__ import annotations

import gc
import logging
from pathlib import Path
from typing import NamedTuple

import grpc
from tensorflow_serving.apis import get_model_status_pb2

from .refusal import RefusedError
from .servable import Servable

log = logging.getLogger(__name__)

State = get_model_status_pb2.ModelVersionStatus.State


class Status(NamedTuple):
    """What became of a version: its state, and why it ended if not by being replaced."""

    state: int
    error: str = ""


class Model:
    """The versions in one directory, of which the newest good ones are loaded.

    `refresh` is called by one thread now and then; `find` and `statuses` by any, meanwhile.

    Args:
        name: what requests call it.
        directory: holds a directory for each version, named by its number.
        keep: how many versions to have loaded.
    """

    def __init__(self, name: str, directory: Path, keep: int = 1):
        self.name, self.directory, self.keep = name, directory, keep
        # Replaced and never changed, so that who reads them needs no lock. The newest comes first.
        self.loaded: dict[int, Servable] = {}
        self.statuses: dict[int, Status] = {}
        self._broken: dict[int, tuple] = {}
        self._swapped = False

    def find(self, version: int | None) -> tuple[int, Servable]:
        """Return a loaded version, the newest for None, and its number.

        Raises:
            RefusedError: NOT_FOUND.
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
        """Load what is new and unload what it replaces; a version that fails to load is passed over.

        The versions served are always the newest that could be loaded. One that failed is tried again
        when its files have changed, so that a copy in the making is taken up once it is whole. What is
        served is not given up because its directory is gone, unless another version remains.
        """
        good: dict[int, Servable] = {}
        for number, path in sorted(self._versions().items(), reverse=True):
            if len(good) == self.keep:
                break
            servable = self.loaded.get(number) or self._load(number, path)
            if servable is not None:
                good[number] = servable
        if self._swapped:
            # TensorFlow objects refer to each other in circles. By now requests that kept the old
            # versions have been answered.
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
            log.warning("%s: cannot look for versions: %s", self.name, error)
            return {}
        return {
            int(path.name): path
            for path in paths
            if path.name.isascii() and path.name.isdecimal() and path.is_dir()
        }

    def _load(self, number: int, path: Path) -> Servable | None:
        stamp = _stamp(path)
        if self._broken.get(number) == stamp:
            return None
        self._note(number, State.LOADING)
        try:
            servable = Servable(path)
        # Whatever a damaged version makes the loader raise: it is told, and others are served.
        except Exception as error:
            self._broken[number] = stamp
            what = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            self._note(number, State.END, what)
            log.error("refused %s version %d: %s", self.name, number, what)
            return None
        self._broken.pop(number, None)
        self._note(number, State.AVAILABLE)
        log.info("loaded %s version %d: %s", self.name, number, ", ".join(servable.signatures))
        return servable

    def _note(self, number: int, state: int, error: str = "") -> None:
        self.statuses = {**self.statuses, number: Status(state, error)}


def _stamp(directory: Path) -> tuple:
    """Return what changes when files in a directory do."""
    found = []
    for path in sorted(directory.rglob("*")):
        try:
            status = path.stat()
        except FileNotFoundError:  # a copy in the making: it will be looked at again
            continue
        found.append((str(path), status.st_size, status.st_mtime_ns))
    return tuple(found)


def _listed(loaded: dict[int, Servable]) -> str:
    return "version " + ", ".join(map(str, loaded))
