"""Exceptions of this package."""


class DivergenceError(RuntimeError):
    """Energies, gradients, latents or signals are not finite; the message contains a remedy."""


class ConvergenceError(RuntimeError):
    """Equations were not solved in the iterations allowed; the message contains a remedy."""


class ServingError(OSError):
    """A server could not be reached, or returned an error; `code` is its `grpc.StatusCode`."""

    def __init__(self, message: str, code):
        super().__init__(message)
        self.code = code


class ProcessLostError(RuntimeError):
    """Another of the processes that train a model together has ended, or cannot be reached."""
