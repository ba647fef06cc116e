"""Run the functions of a model on a server, over the gRPC protocol of TensorFlow Serving."""

from __future__ import annotations

import contextlib
import os
from typing import Self

import grpc
import keras
import numpy as np
from numpy.typing import ArrayLike
from tensorflow_serving.apis import model_pb2

from abp_tf import checks, qualities
from abp_tf.data import examples
from abp_tf.errors import DivergenceError, ServingError
from abp_tf.results import PosteriorSamples, Score
from abp_tf.serving import protocol
from abp_tf.serving.connection import Connection, Version
from abp_tf.serving.protocol import Signature
from abp_tf.serving.saved_model import UNBOUNDED, WARMUP_ROWS

# If the server changes to another version between two requests, all rows are requested again.
_ROUNDS = 3

# Requests of one call that are under way at a time: while the server computes one, the next arrives.
_UNDER_WAY = 2


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
        if ":" not in address:
            raise ValueError(f"Client expected an address 'host:port', received {address!r}.")
        if not 0 < timeout < float("inf") or batch_size < 1:
            raise ValueError(
                "Client expected a timeout above 0 s and a batch size of 1 or more, received "
                f"{timeout} and {batch_size}."
            )
        self.address = address
        self.timeout = timeout
        self.batch_size = batch_size
        self.value_range = value_range
        self.name = model
        spec = model_pb2.ModelSpec(name=model)
        if isinstance(version, str):
            spec.version_label = version
        elif version is not None:
            spec.version.value = version
        self._connection = Connection(
            address,
            spec,
            timeout,
            token,
            root_certificates=root_certificates,
            certificate=certificate,
            key=key,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

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
        if count < 1:
            raise ValueError(f"synthesize expected a count of 1 or more, received {count}.")
        seeds = checks.seeds(seed, count)
        return self._run("synthesize", "signal", seed=seeds, time=time, verbose=verbose)["signal"]

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
        arrays = {**examples.parts(signals), "seed": seed}
        return self._run("reconstruct", "signal", **arrays, verbose=verbose)["signal"]

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
        arrays = {**examples.masked(signals, mask), "seed": seed}
        name = qualities.signature(quality)
        return self._run(name, "signal", **arrays, verbose=verbose)["signal"]

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
        arrays = {**examples.masked(signals, mask), "seed": seed}
        names = ("samples", "mean", "deviation", "sigma")
        return PosteriorSamples(**self._run("sample_posterior", *names, **arrays, verbose=verbose))

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
        return self._run("decode", "signal", latent=latents, time=time, verbose=verbose)["signal"]

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
        arrays = {**examples.parts(signals), "seed": seed}
        return self._run("refine", "signal", **arrays, verbose=verbose)["signal"]

    def score(self, signals: ArrayLike, *, verbose: int = 0) -> Score:
        """Return `f(x)` and the energy `U(x)` of signals, float32 `[n]` each.

        Args:
            signals: float `[n, *signal_shape]`, which may lie outside the value range, or a dict of
                arrays; as for `reconstruct`.
            verbose: 1 shows a progress bar.
        """
        arrays = examples.parts(signals)
        return Score(**self._run("score", "score", "energy", **arrays, verbose=verbose))

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
        signature, spec = self._connection.signature(name), self._connection.spec
        value_range = None if name in UNBOUNDED else self.value_range
        inputs = protocol.checked(name, signature.inputs, arrays, value_range)
        count = len(next(iter(inputs.values())))
        if samples is not None and (samples < 1 or "seed" not in inputs):
            raise ValueError(
                "`samples` expected a number of 1 or more, for a function that has seeds, received "
                f"{samples} for {name!r}."
            )
        total = count * (samples or 1)
        for _ in range(_ROUNDS):
            progress = keras.utils.Progbar(total, verbose=verbose, unit_name="row")
            results, versions, end, outputs = [], set(), 0, signature.outputs
            size = protocol.rows_per_request(signature, inputs)
            with contextlib.closing(self._connection.line()) as line:
                while end < total or line.under_way:
                    # If the size of a result is unknown, the first request has one row, to measure it.
                    many = _UNDER_WAY if results or size > 1 else 1
                    while end < total and len(line.under_way) < many:
                        rows = np.arange(end, min(end + min(size, self.batch_size), total))
                        line.send(rows, protocol.request(spec, name, signature, inputs, rows))
                        end += len(rows)
                    rows, found, version = self._connection.receive(line, name, outputs)
                    results.append(found)
                    versions.add(version)
                    outputs = protocol.specs_of(found)  # rows of different shapes cannot be combined
                    size = protocol.rows_per_request(signature, inputs, results[0])
                    progress.update(rows[-1] + 1)
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

    def signatures(self) -> dict[str, Signature]:
        """Return the functions of the model by name, with the shapes and dtypes of their arrays."""
        return self._connection.signatures()

    def status(self) -> list[Version]:
        """Return the model's versions on the server, or only the client's version, by number."""
        return self._connection.status()

    def _run(self, name: str, *outputs: str, **arguments) -> dict[str, np.ndarray]:
        """Run one function of the model and return some of its outputs."""
        found = self.ask(name, **arguments)
        if missing := set(outputs) - set(found):
            raise self._connection.refused(
                f"expected the outputs {sorted(outputs)} of {name}, {sorted(missing)} are missing."
            )
        return {key: found[key] for key in outputs}
