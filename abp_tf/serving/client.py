"""Run the functions of a model on a server, over the gRPC protocol of TensorFlow Serving."""

from __future__ import annotations

import os
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from .. import qualities
from ..results import PosteriorSamples, Score
from .async_client import AsyncClient
from .channel import BlockingChannel, run
from .connection import Version
from .protocol import WARMUP_ROWS, Signature


class _Calls(AsyncClient):
    """The calls of a client; they do not suspend."""

    _channel = BlockingChannel


class Client:
    """A client of a served model, with the methods of the model in Python.

    The server is the one of this package or TensorFlow Serving. The result of a row depends on the row
    and its seed alone, and agrees with that of the exported model. Rows are split over requests so that
    neither requests nor responses exceed gRPC's default limit of 4 MB; a row that is larger is sent
    alone. Two requests of a call are under way at a time. Input is checked before it is sent, and each
    response is compared with the signature of its function before memory is allocated for it. If the
    server is unavailable, the client retries for about three seconds. Several threads may use one
    client. Proxies of the environment, such as `http_proxy`, are not used for servers on this machine.

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
        >>> with abp_tf.Client("localhost:8500", model="digits") as client:  # doctest: +SKIP
        ...     new = client.synthesize(64, seed=0)
        ...     whole = client.inpaint(images, masks)
    """

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
        self._calls = _Calls(
            address,
            model,
            version=version,
            timeout=timeout,
            root_certificates=root_certificates,
            certificate=certificate,
            key=key,
            token=token,
            batch_size=batch_size,
            value_range=value_range,
        )

    @property
    def address(self) -> str:
        """Return the address of the server."""
        return self._calls.address

    @property
    def name(self) -> str:
        """Return the name of the model on the server."""
        return self._calls.name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        run(self._calls.close())

    def synthesize(
        self, count: int, *, time: ArrayLike | None = None, seed: ArrayLike = 0, verbose: int = 0
    ) -> np.ndarray:
        """Draw signals from the model; they equal `model.synthesize(count, time=time, seed=seed)`.

        Args:
            count: number of signals.
            time: times of the signals, one number or `[count]`, which a model needs if its scaling has
                a period; without effect on others.
            seed: an integer, for the seeds `seed + arange(count)`, or `count` integers.
            verbose: 1 shows a progress bar.

        Returns:
            float32 `[count, *signal_shape]`.

        Raises:
            ValueError: if the input is refused, before anything is sent; this holds for all methods.
            ServingError: if the server does not respond or returns an error; this holds for all
                methods.
        """
        return run(self._calls.synthesize(count, time=time, seed=seed, verbose=verbose))

    def reconstruct(self, signals: ArrayLike, *, seed: ArrayLike = 0, verbose: int = 0) -> np.ndarray:
        """Infer the latents of signals and decode them.

        Args:
            signals: float `[n, *signal_shape]` in the value range; or a dict of arrays "signal" and
                "time", which a model needs if its scaling has a period.
            seed: an integer, for the seeds `seed + arange(n)`, or `n` integers.
            verbose: 1 shows a progress bar.

        Returns:
            float32 `[n, *signal_shape]`.

        Raises:
            DivergenceError: if values of the model's chains are not finite.
        """
        return run(self._calls.reconstruct(signals, seed=seed, verbose=verbose))

    def inpaint(
        self,
        signals: ArrayLike,
        mask: ArrayLike | None = None,
        *,
        quality: str = qualities.DEFAULT,
        seed: ArrayLike = 0,
        verbose: int = 0,
    ) -> np.ndarray:
        """Fill in hidden entries.

        Args:
            signals: float `[n, *signal_shape]` in the value range; hidden entries may hold anything,
                NaN included. Or a dict of arrays "signal", "mask" and "time", which a model needs if
                its scaling has a period.
            mask: bool or 0/1, `[n, *signal_shape]` or without the channel axis; 1 = observed,
                0 = hidden. None if `signals` has it.
            quality: "fast", "balanced" or "best", as for `Generator.inpaint`; descriptors and CoopNets
                are served with one quality, the default.
            seed: an integer, for the seeds `seed + arange(n)`, or `n` integers.
            verbose: 1 shows a progress bar.

        Returns:
            float32 `[n, *signal_shape]`, observed entries untouched.

        Raises:
            DivergenceError: if values of the model's chains are not finite.
        """
        return run(self._calls.inpaint(signals, mask, quality=quality, seed=seed, verbose=verbose))

    def sample_posterior(
        self,
        signals: ArrayLike,
        mask: ArrayLike | None = None,
        *,
        seed: ArrayLike = 0,
        verbose: int = 0,
    ) -> PosteriorSamples:
        """Draw whole signals from their posterior given the observed entries.

        The numbers of samples and chains were fixed when the model was exported.

        Args:
            signals: float `[n, *signal_shape]` in the value range, or a dict of arrays; as for
                `inpaint`.
            mask: bool or 0/1, `[n, *signal_shape]` or without the channel axis; 1 = observed, 0 =
                hidden. None if `signals` has it.
            seed: an integer, for the seeds `seed + arange(n)`, or `n` integers.
            verbose: 1 shows a progress bar.

        Returns:
            A `PosteriorSamples`; observed entries of its samples are untouched.

        Raises:
            DivergenceError: if values of the model's chains are not finite.
        """
        return run(self._calls.sample_posterior(signals, mask, seed=seed, verbose=verbose))

    def decode(
        self, latents: ArrayLike, *, time: ArrayLike | None = None, verbose: int = 0
    ) -> np.ndarray:
        """Decode latents.

        Args:
            latents: float `[n, *latent_shape]`.
            time: times of the signals, as for `synthesize`.
            verbose: 1 shows a progress bar.

        Returns:
            float32 `[n, *signal_shape]`.
        """
        return run(self._calls.decode(latents, time=time, verbose=verbose))

    def refine(self, signals: ArrayLike, *, seed: ArrayLike = 0, verbose: int = 0) -> np.ndarray:
        """Revise signals by the energy of a descriptor or of CoopNets.

        Args:
            signals: float `[n, *signal_shape]`, which may lie outside the value range, or a dict of
                arrays; as for `reconstruct`.
            seed: an integer, for the seeds `seed + arange(n)`, or `n` integers.
            verbose: 1 shows a progress bar.

        Returns:
            float32 `[n, *signal_shape]`.
        """
        return run(self._calls.refine(signals, seed=seed, verbose=verbose))

    def score(self, signals: ArrayLike, *, verbose: int = 0) -> Score:
        """Return `f(x)` and the energy `U(x)` of signals, float32 `[n]` each.

        Args:
            signals: float `[n, *signal_shape]`, which may lie outside the value range, or a dict of
                arrays; as for `reconstruct`.
            verbose: 1 shows a progress bar.
        """
        return run(self._calls.score(signals, verbose=verbose))

    def ask(
        self, name: str, *, samples: int | None = None, verbose: int = 0, **arrays: ArrayLike
    ) -> dict[str, np.ndarray]:
        """Run one function of the model over the rows of arrays; the other methods use it.

        Args:
            name: name of the function, such as "inpaint"; `signatures` lists them all.
            samples: number of results per row, with a seed for each: sample s of row i of n has the
                seed `seed + i + s n`, so that sample 0 is the result without `samples`. None returns
                one result without the axis.
            verbose: 1 shows a progress bar.
            **arrays: inputs of the function by name, all with the rows first; `seed` is 0 by default,
                and `time` may be one number.

        Returns:
            Outputs of the function by name, `[n, ...]`, or `[n, samples, ...]` with `samples`; all from
            one version of the model.

        Raises:
            DivergenceError: if numbers in the response are not finite.
        """
        return run(self._calls.ask(name, samples=samples, verbose=verbose, **arrays))

    def signatures(self) -> dict[str, Signature]:
        """Return the functions of the model by name, with the shapes and dtypes of their arrays."""
        return run(self._calls.signatures())

    def status(self) -> list[Version]:
        """Return the model's versions on the server, or only the client's version, by number."""
        return run(self._calls.status())
