"""Run the functions of a model on a server from an event loop; `Client` runs these calls too."""

from __future__ import annotations

import contextlib
import os
from typing import Any, ClassVar, Self

import grpc
import numpy as np
from numpy.typing import ArrayLike

from .. import checks, qualities
from ..data import examples
from ..errors import DivergenceError, ServingError
from ..results import PosteriorSamples, Score
from . import access, protocol
from . import messages_pb2 as messages
from .channel import AwaitedChannel, Certificates, Channel
from .connection import Connection, Version
from .progress import Progress
from .protocol import UNBOUNDED, WARMUP_ROWS, Signature

# If the server changes to another version between two requests, all rows are requested again.
_ROUNDS = 3

# Requests of one call that are under way at a time: while the server computes one, the next arrives.
_UNDER_WAY = 2


class AsyncClient:
    """A client of a served model for programs with an event loop: `Client`, with coroutines.

    Many calls may be under way at a time; all belong to the event loop of the first one. Checks,
    retries and results are those of `Client`.

    Args:
        address: address of the server, "host:port".
        model: name of the model on the server.
        version: number of a version, or a label that the server's configuration assigns to one; None
            uses the newest version.
        timeout: seconds that one request may take, retries included. A request that is sent behind
            another of the same call has as many more.
        root_certificates: path of a file of certificates (PEM) against which the server's certificate
            is checked; None uses no encryption.
        certificate: path of the client's own certificate chain (PEM), for servers that require one.
        key: path of its private key (PEM).
        token: bearer token, for servers that require one; without encryption it can be read on its way.
        batch_size: largest number of rows per request. The default is the largest batch size of a
            server's warm-up.
        value_range: interval in which observed entries of signals must lie; None lifts the check.

    Raises:
        ValueError: if an argument is out of its range.
        OSError: if a certificate or the key cannot be read.

    Example:
        >>> async def both():
        ...     async with abp_tf.AsyncClient("localhost:8500", model="digits") as client:
        ...         return await asyncio.gather(
        ...             client.inpaint(images, masks), client.synthesize(64, seed=0)
        ...         )
        >>> whole, new = asyncio.run(both())  # doctest: +SKIP
    """

    _channel: ClassVar[type[Channel]] = AwaitedChannel

    def __init__(
        self,
        address: str,
        model: str,
        *,
        version: int | str | None = None,
        timeout: float = 60.0,
        root_certificates: str | os.PathLike | None = None,
        certificate: str | os.PathLike | None = None,
        key: str | os.PathLike | None = None,
        token: str | None = None,
        batch_size: int = WARMUP_ROWS[-1],
        value_range: tuple[float, float] | None = (-1, 1),
    ):
        if ":" not in address:
            raise ValueError(f"Client expected an address 'host:port', received {address!r}.")
        if not 0 < timeout < float("inf") or batch_size < 1:
            raise ValueError(
                "Client expected a timeout above 0 s and a batch size of 1 or more, received "
                f"{timeout} and {batch_size}."
            )
        self.address = address
        self.name = model
        self._batch_size = batch_size
        self._value_range = value_range
        spec = messages.ModelSpec(name=model)
        if isinstance(version, str):
            spec.version_label = version
        elif version is not None:
            spec.version.value = version
        metadata = None
        if token is not None:
            metadata = [("authorization", f"Bearer {access.token(token)}")]
        certificates = Certificates(root_certificates, certificate, key)
        channel = self._channel(address, certificates, metadata)
        self._connection = Connection(channel, address, spec, timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.channel.close()

    async def synthesize(
        self, count: int, *, time: ArrayLike | None = None, seed: ArrayLike = 0, verbose: int = 0
    ) -> np.ndarray:
        """Draw signals from the model; arguments, results, errors are those of `Client.synthesize`."""
        if count < 1:
            raise ValueError(f"synthesize expected a count of 1 or more, received {count}.")
        seeds = checks.seeds(seed, count)
        found = await self._run("synthesize", "signal", seed=seeds, time=time, verbose=verbose)
        return found["signal"]

    async def reconstruct(
        self, signals: ArrayLike, *, seed: ArrayLike = 0, verbose: int = 0
    ) -> np.ndarray:
        """Infer the latents of signals and decode them, as `Client.reconstruct` does."""
        arrays = {**examples.parts(signals), "seed": seed}
        return (await self._run("reconstruct", "signal", **arrays, verbose=verbose))["signal"]

    async def inpaint(
        self,
        signals: ArrayLike,
        mask: ArrayLike | None = None,
        *,
        quality: str = qualities.DEFAULT,
        seed: ArrayLike = 0,
        verbose: int = 0,
    ) -> np.ndarray:
        """Fill in hidden entries; arguments, result and errors are those of `Client.inpaint`."""
        arrays = {**examples.masked(signals, mask), "seed": seed}
        name = qualities.signature(quality)
        return (await self._run(name, "signal", **arrays, verbose=verbose))["signal"]

    async def sample_posterior(
        self,
        signals: ArrayLike,
        mask: ArrayLike | None = None,
        *,
        seed: ArrayLike = 0,
        verbose: int = 0,
    ) -> PosteriorSamples:
        """Draw whole signals from their posterior, as `Client.sample_posterior` does."""
        arrays = {**examples.masked(signals, mask), "seed": seed}
        names = ("samples", "mean", "deviation", "sigma")
        found = await self._run("sample_posterior", *names, **arrays, verbose=verbose)
        return PosteriorSamples(**found)

    async def decode(
        self, latents: ArrayLike, *, time: ArrayLike | None = None, verbose: int = 0
    ) -> np.ndarray:
        """Decode latents; arguments, result and errors are those of `Client.decode`."""
        found = await self._run("decode", "signal", latent=latents, time=time, verbose=verbose)
        return found["signal"]

    async def refine(self, signals: ArrayLike, *, seed: ArrayLike = 0, verbose: int = 0) -> np.ndarray:
        """Revise signals by the energy of a descriptor or of CoopNets, as `Client.refine` does."""
        arrays = {**examples.parts(signals), "seed": seed}
        return (await self._run("refine", "signal", **arrays, verbose=verbose))["signal"]

    async def score(self, signals: ArrayLike, *, verbose: int = 0) -> Score:
        """Return scores and energies of signals; arguments and result are those of `Client.score`."""
        arrays = examples.parts(signals)
        return Score(**await self._run("score", "score", "energy", **arrays, verbose=verbose))

    async def ask(
        self, name: str, *, samples: int | None = None, verbose: int = 0, **arrays: ArrayLike | None
    ) -> dict[str, np.ndarray]:
        """Run one function of the model over the rows of arrays, as `Client.ask` does."""
        signature, spec = await self._connection.signature(name), self._connection.spec
        value_range = None if name in UNBOUNDED else self._value_range
        inputs = protocol.checked(name, signature.inputs, arrays, value_range)
        count = len(next(iter(inputs.values())))
        if samples is not None and (samples < 1 or "seed" not in inputs):
            raise ValueError(
                "`samples` expected a number of 1 or more, for a function that has seeds, received "
                f"{samples} for {name!r}."
            )
        total = count * (samples or 1)
        for _ in range(_ROUNDS):
            progress = Progress(total, shown=bool(verbose))
            results: list[dict[str, np.ndarray]] = []
            versions, end, outputs = set(), 0, signature.outputs
            size = protocol.rows_per_request(signature, inputs)
            with contextlib.closing(self._connection.line()) as line:
                while end < total or line.under_way:
                    # If the size of a result is unknown, the first request has one row, to measure it.
                    many = _UNDER_WAY if results or size > 1 else 1
                    while end < total and len(line.under_way) < many:
                        rows = np.arange(end, min(end + min(size, self._batch_size), total))
                        line.send(rows, protocol.request(spec, name, signature, inputs, rows))
                        end += len(rows)
                    rows, found, version = await self._connection.receive(line, name, outputs)
                    results.append(found)
                    versions.add(version)
                    outputs = protocol.specs_of(found)  # rows of different shapes cannot be combined
                    size = protocol.rows_per_request(signature, inputs, results[0])
                    progress.update(int(rows[-1]) + 1)
            if len(versions) == 1:
                break
        else:
            raise ServingError(
                f"Rows were computed by different versions of {self.name!r}, last by "
                f"{sorted(versions)}, {_ROUNDS} times in a row. Choose one with `version`.",
                grpc.StatusCode.ABORTED,
            )
        result = {key: np.concatenate([part[key] for part in results]) for key in results[0]}
        # Observed entries are finite, so only values of chains can be other than finite.
        wrong = [key for key, part in result.items() if not np.isfinite(part).all()]
        if wrong:
            raise DivergenceError(
                f"Outputs of the server are not finite: {', '.join(wrong)}. Export the model with a "
                "smaller step size."
            )
        if samples is None:
            return result
        return {
            key: part.reshape(samples, count, *part.shape[1:]).swapaxes(0, 1)
            for key, part in result.items()
        }

    async def signatures(self) -> dict[str, Signature]:
        """Return the functions of the model by name, with the shapes and dtypes of their arrays."""
        return await self._connection.signatures()

    async def status(self) -> list[Version]:
        """Return the model's versions on the server, or only the client's version, by number."""
        return await self._connection.status()

    async def _run(
        self, name: str, *outputs: str, verbose: int = 0, **arrays: Any
    ) -> dict[str, np.ndarray]:
        """Run one function of the model and return some of its outputs."""
        found = await self.ask(name, verbose=verbose, **arrays)
        if missing := set(outputs) - set(found):
            raise self._connection.refused(
                f"expected the outputs {sorted(outputs)} of {name}, {sorted(missing)} are missing."
            )
        return {key: found[key] for key in outputs}
