"""How the server says no."""

from __future__ import annotations

import grpc

# Text that a client chose may be of any length; in a message it is cut to this.
_QUOTED = 80


class RefusedError(Exception):
    """A request cannot be answered; the status code is what TensorFlow Serving would send.

    Args:
        code: the gRPC status.
        text: what was expected, what was received, and what to do.
    """

    def __init__(self, code: grpc.StatusCode, text: str):
        super().__init__(text)
        self.code = code


def invalid(text: str) -> RefusedError:
    """Return the refusal of a request that is wrong whatever the state of the server."""
    return RefusedError(grpc.StatusCode.INVALID_ARGUMENT, text)


def quoted(text: str) -> str:
    """Return a client's text as it can stand in a message: one line, of bounded length."""
    return repr(text if len(text) <= _QUOTED else text[:_QUOTED] + "…")
