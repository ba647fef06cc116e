"""Refuse requests with the status codes of TensorFlow Serving."""

from __future__ import annotations

import grpc

# Largest number of characters of a client's text that an error message quotes.
_QUOTED = 80


class RefusedError(Exception):
    """Report that a request is refused, with the status code that TensorFlow Serving would return.

    Args:
        code: gRPC status code.
        text: what was expected, what was received, and the remedy.
    """

    def __init__(self, code: grpc.StatusCode, text: str):
        super().__init__(text)
        self.code = code


def invalid(text: str) -> RefusedError:
    """Return the error for a request that is invalid in any state of the server."""
    return RefusedError(grpc.StatusCode.INVALID_ARGUMENT, text)


def quoted(text: str) -> str:
    """Return a client's text for an error message: in quotes, on one line, of bounded length."""
    return repr(text if len(text) <= _QUOTED else text[:_QUOTED] + "…")
