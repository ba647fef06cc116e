"""Models of one process, called from another: what the client is compared with has TensorFlow."""

import contextlib
import threading
from multiprocessing.connection import Client, Listener

import numpy as np

from tests.tested_client import package


class Remote:
    """A model of the process that runs `served`; its methods are called there."""

    def __init__(self, connection, name):
        self._connection, self._name = connection, name

    def __getattr__(self, method):
        def call(*arguments, **options):
            self._connection.send((self._name, method, arguments, options))
            kind, result = self._connection.recv()
            # Pickled results would need the package that their class is of.
            return getattr(package, kind)(**result) if isinstance(result, dict) else result

        return call

    def __call__(self, *arguments):
        return self.__getattr__("__call__")(*arguments)


def remote(address, *names):
    """Return the models of these names behind an address."""
    connection = Client(address)
    return [Remote(connection, name) for name in names]


@contextlib.contextmanager
def served(**models):
    """Call methods of models for one other process, and give the address."""
    with Listener(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve, args=(listener, models), daemon=True)
        thread.start()
        yield listener.address


def _serve(listener, models):
    with contextlib.suppress(EOFError, OSError), listener.accept() as connection:
        while True:
            name, method, arguments, options = connection.recv()
            result = getattr(models[name], method)(*arguments, **options)
            plain = result._asdict() if isinstance(result, tuple) else np.asarray(result)
            connection.send((type(result).__name__, plain))
