"""Count requests and measure times of a server, for Prometheus."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from abp_tf import extras

from .model import Model

with extras.needed("serving"):
    from prometheus_client import CollectorRegistry, Counter, Histogram, exposition
    from prometheus_client.core import GaugeMetricFamily

log = logging.getLogger(__name__)

# Seconds: from a small synthesis (milliseconds) to a long inference of a large batch (a minute).
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

# Largest number of connections at a time, and of seconds that each may take.
_CONNECTIONS = 8
_SECONDS = 5
_HEAD = f"HTTP/1.0 200 OK\r\nContent-Type: {exposition.CONTENT_TYPE_LATEST}\r\n\r\n".encode()


class Measures:
    """Collect counts of requests, histograms of times and batch sizes, and the loaded versions.

    Args:
        models: served models by name.
    """

    def __init__(self, models: Mapping[str, Model]):
        self._models = models
        self._open = 0
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "abp_tf_requests",
            "Requests by method and status",
            ["method", "code"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "abp_tf_answer_seconds",
            "Computation time of a successful Predict request, including its whole batch",
            ["model", "signature"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._rows = Histogram(
            "abp_tf_batch_rows",
            "Rows of a batch, which may combine several requests",
            buckets=_ROWS,
            registry=self.registry,
        )
        self.registry.register(self)

    def collect(self):
        """Yield the versions that are loaded at the time of a scrape."""
        family = GaugeMetricFamily(
            "abp_tf_model_version", "1 for each loaded version", labels=["model", "version"]
        )
        for name, model in self._models.items():
            for version in model.loaded:
                family.add_metric([name, str(version)], 1)
        yield family

    def count(self, method: str, code: str) -> None:
        """Count a request by its method and status code."""
        self._requests.labels(method, code).inc()

    def seconds(self, model: str, signature: str, seconds: float) -> None:
        """Record the computation time of a request."""
        self._seconds.labels(model, signature).observe(seconds)

    def rows(self, count: int) -> None:
        """Record the number of rows of a batch."""
        self._rows.observe(count)

    async def serve(self, host: str, port: int) -> asyncio.Server:
        """Start to serve the metrics over HTTP, to a few connections at a time.

        Args:
            host: address to listen on.
            port: port to listen on.

        Returns:
            The server, which listens.

        Raises:
            OSError: the port is in use.
        """
        return await asyncio.start_server(self._respond, host, port)

    async def _respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Respond with the metrics to a request for any path, and close the connection."""
        self._open += 1
        try:
            if self._open <= _CONNECTIONS:
                async with asyncio.timeout(_SECONDS):
                    await reader.readuntil(b"\r\n\r\n")
                    writer.write(_HEAD + exposition.generate_latest(self.registry))
                    writer.close()
                    await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            log.info("metrics not sent: %s: %s", type(error).__name__, error)
        finally:
            self._open -= 1
            writer.transport.abort()
