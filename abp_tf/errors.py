"""The errors of this package that are not Python's own."""


class DivergenceError(RuntimeError):
    """Training or inference left the finite numbers; the message says what to change."""


class ServingError(OSError):
    """A server could not be reached, or refused a request; `code` is the `grpc.StatusCode`."""

    def __init__(self, message: str, code):
        super().__init__(message)
        self.code = code
