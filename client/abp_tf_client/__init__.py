"""Run the functions of models that `abp_tf` exported on a server, without TensorFlow.

`Client` and `AsyncClient` are those of `abp_tf`: this package consists of the same files.

Example:
    >>> from abp_tf_client import Client
    >>> with Client("localhost:8500", model="digits") as client:  # doctest: +SKIP
    ...     whole = client.inpaint(images, masks)
"""

from ._version import __version__
from .errors import DivergenceError, ServingError
from .results import PosteriorSamples, Score
from .serving.async_client import AsyncClient
from .serving.client import Client

__all__ = [
    "AsyncClient",
    "Client",
    "DivergenceError",
    "PosteriorSamples",
    "Score",
    "ServingError",
    "__version__",
]
