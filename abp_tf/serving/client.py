"""Ask a model that a server holds, over TensorFlow Serving's gRPC protocol."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import NamedTuple, Self

import grpc
import keras
import numpy as np
from numpy.typing import ArrayLike
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from abp_tf import checks
from abp_tf.errors import DivergenceError, ServingError
from abp_tf.results import PosteriorSamples, Score
from abp_tf.serving import protocol
from abp_tf.serving.protocol import Signature
from abp_tf.serving.saved_model import UNBOUNDED, WARMUP_ROWS

# When a server goes over to another version between two requests, all rows are asked again.
_ROUNDS = 3

# Requests of one call that are with the server at a time: while it computes one, the next arrives.
_UNDER_WAY = 2


class Version(NamedTuple):
    """A version of a model that a server knows, its state such as "AVAILABLE", and its error."""

    number: int
    state: str
    error: str


class Client:
    """A served model, asked as the model in Python is.

    The server is the one of this package or TensorFlow Serving. The answer to a row depends on the
    row and its seed alone, and agrees with that of the exported model. Rows are split over requests
    so that neither they nor their answers are larger than gRPC's default of 4 MB; a row that is larger
    is sent alone. Two requests of a call are under way at a time. Input is checked before it is sent.
    A server that is away is asked again for about three seconds. A client may be used by several
    threads.

    Args:
        address: "host:port" of the server.
        model: the model's name on the server.
        version: a number, or a label that the server's configuration gives to one; None: the newest.
        timeout: seconds that one request may take, other attempts included; one that is sent behind
            another of the same call has as many more.
        root_certificates: file of the certificates (PEM) that the server's is checked against; None:
            plain text.
        batch_size: rows in a request at most. The default is the largest batch a server has warmed
            up with.
        value_range: what observed entries of signals must lie in; None lifts the check.

    Raises:
        ValueError: for an argument that is out of range.
        OSError: the certificates cannot be read.

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
        batch_size: int = WARMUP_ROWS[-1],
        value_range: tuple[float, float] | None = (-1, 1),
    ):
        if ":" not in address:
            raise ValueError(f"Client: expected an address 'host:port', received {address!r}.")
        if not 0 < timeout < float("inf") or batch_size < 1:
            raise ValueError(
                "Client: expected a timeout above 0 s and a batch size of 1 or more, received "
                f"{timeout} and {batch_size}."
            )
        self.address = address
        self.timeout = timeout
        self.batch_size = batch_size
        self.value_range = value_range
        self.name = model
        self._model = model_pb2.ModelSpec(name=model)
        if isinstance(version, str):
            self._model.version_label = version
        elif version is not None:
            self._model.version.value = version
        self._known: dict[str, Signature] | None = None
        self._channel = protocol.channel(address, root_certificates)
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def synthesize(self, count: int, *, seed: ArrayLike = 0, verbose: int = 0) -> np.ndarray:
        """Draw signals from the model; they equal `model.synthesize(count, seed=seed)`.

        Args:
            count: number of signals.
            seed: an integer, for the seeds `seed + arange(count)`, or `count` integers.
            verbose: 1 shows a progress bar.

        Returns:
            float32 `[count, *signal_shape]`.

        Raises:
            ValueError: for input that is refused, before anything is sent; so with all methods.
            ServingError: the server did not answer, or refused; so with all methods.
        """
        if count < 1:
            raise ValueError(f"synthesize expected a count of 1 or more, received {count}.")
        return self.ask("synthesize", seed=checks.seeds(seed, count), verbose=verbose)["signal"]

    def reconstruct(self, signals: ArrayLike, *, seed: ArrayLike = 0, verbose: int = 0) -> np.ndarray:
        """Infer the latents of signals and decode them.

        Args:
            signals: float `[n, *signal_shape]` in the value range.
            seed: an integer, for the seeds `seed + arange(n)`, or `n` integers.
            verbose: 1 shows a progress bar.

        Returns:
            float32 `[n, *signal_shape]`.

        Raises:
            DivergenceError: the model's chains left the finite numbers.
        """
        return self.ask("reconstruct", signal=signals, seed=seed, verbose=verbose)["signal"]

    def inpaint(
        self, signals: ArrayLike, mask: ArrayLike, *, seed: ArrayLike = 0, verbose: int = 0
    ) -> np.ndarray:
        """Fill in what is hidden.

        Args:
            signals: float `[n, *signal_shape]` in the value range; hidden entries may hold anything,
                NaN included.
            mask: bool or 0/1, `[n, *signal_shape]` or without the channel axis; 1 = observed,
                0 = hidden.
            seed: an integer, for the seeds `seed + arange(n)`, or `n` integers.
            verbose: 1 shows a progress bar.

        Returns:
            float32 `[n, *signal_shape]`, observed entries untouched.

        Raises:
            DivergenceError: the model's chains left the finite numbers.
        """
        return self.ask("inpaint", signal=signals, mask=mask, seed=seed, verbose=verbose)["signal"]

    def sample_posterior(
        self, signals: ArrayLike, mask: ArrayLike, *, seed: ArrayLike = 0, verbose: int = 0
    ) -> PosteriorSamples:
        """Draw whole signals from their posterior given what is observed.

        The numbers of samples and chains were fixed when the model was exported.

        Args:
            signals: as for `inpaint`.
            mask: as for `inpaint`.
            seed: as for `inpaint`.
            verbose: 1 shows a progress bar.

        Returns:
            A `PosteriorSamples`; observed entries of its samples are untouched.

        Raises:
            DivergenceError: the model's chains left the finite numbers.
        """
        found = self.ask("sample_posterior", signal=signals, mask=mask, seed=seed, verbose=verbose)
        return PosteriorSamples(**found)

    def decode(self, latents: ArrayLike, *, verbose: int = 0) -> np.ndarray:
        """Decode latents.

        Args:
            latents: float `[n, *latent_shape]`.
            verbose: 1 shows a progress bar.

        Returns:
            float32 `[n, *signal_shape]`.
        """
        return self.ask("decode", latent=latents, verbose=verbose)["signal"]

    def refine(self, signals: ArrayLike, *, seed: ArrayLike = 0, verbose: int = 0) -> np.ndarray:
        """Revise signals by the energy of a descriptor or of CoopNets.

        Args:
            signals: float `[n, *signal_shape]`; they may lie outside the value range.
            seed: an integer, for the seeds `seed + arange(n)`, or `n` integers.
            verbose: 1 shows a progress bar.

        Returns:
            float32 `[n, *signal_shape]`.
        """
        return self.ask("refine", signal=signals, seed=seed, verbose=verbose)["signal"]

    def score(self, signals: ArrayLike, *, verbose: int = 0) -> Score:
        """Return `f(x)` and the energy `U(x)`, float32 `[n]` both; arguments as for `refine`."""
        return Score(**self.ask("score", signal=signals, verbose=verbose))

    def ask(
        self, name: str, *, samples: int | None = None, verbose: int = 0, **arrays: ArrayLike
    ) -> dict[str, np.ndarray]:
        """Run one function of the model over rows of arrays; the other methods are made of it.

        Args:
            name: of the function, "inpaint" for one; `signatures` lists them all.
            samples: how often each row is asked, with seeds of its own: sample s of row i of n has
                `seed + i + s n`, so that sample 0 is the answer without `samples`.
            verbose: 1 shows a progress bar.
            **arrays: its inputs by name, all with the rows first; `seed` is 0 where it is not given.

        Returns:
            Its outputs by name, `[n, ...]`, or `[n, samples, ...]` with `samples`; all from one
            version of the model.

        Raises:
            DivergenceError: numbers came back that are not finite.
        """
        signature = self._signature(name)
        value_range = None if name in UNBOUNDED else self.value_range
        inputs = protocol.checked(name, signature.inputs, arrays, value_range)
        count = len(next(iter(inputs.values())))
        if samples is not None and (samples < 1 or "seed" not in inputs):
            raise ValueError(
                "samples: expected a number of 1 or more, for a function that takes seeds, received "
                f"{samples} for {name!r}."
            )
        total = count * (samples or 1)
        for _ in range(_ROUNDS):
            progress = keras.utils.Progbar(total, verbose=verbose, unit_name="row")
            answers, versions, end = [], set(), 0
            size = protocol.rows_per_request(signature, inputs)
            with contextlib.closing(protocol.Line(self._predictions.Predict, self.timeout)) as line:
                while end < total or line.under_way:
                    # One row alone tells how many fit, where nothing else does.
                    many = _UNDER_WAY if answers or size > 1 else 1
                    while end < total and len(line.under_way) < many:
                        rows = np.arange(end, min(end + min(size, self.batch_size), total))
                        line.send(rows, protocol.request(self._model, name, signature, inputs, rows))
                        end += len(rows)
                    rows, response = self._call(line.receive, line)
                    answers.append(protocol.arrays(name, response.outputs, len(rows)))
                    versions.add(response.model_spec.version.value)
                    size = protocol.rows_per_request(signature, inputs, answers[0])
                    progress.update(rows[-1] + 1)
            if len(versions) == 1:
                break
        else:
            raise ServingError(
                f"Rows were answered by different versions of {self.name!r}, last by "
                f"{sorted(versions)}, {_ROUNDS} times in a row. Name the version to ask.",
                grpc.StatusCode.ABORTED,
            )
        answer = {key: np.concatenate([part[key] for part in answers]) for key in answers[0]}
        # Observed entries are finite, so only what chains made of the others can have gone wrong.
        wrong = [key for key, part in answer.items() if not np.isfinite(part).all()]
        if wrong:
            raise DivergenceError(
                f"Chains left the finite numbers on the server: {', '.join(wrong)}. Export the model "
                "with a smaller step size."
            )
        if samples is None:
            return answer
        return {
            key: part.reshape(samples, count, *part.shape[1:]).swapaxes(0, 1)
            for key, part in answer.items()
        }

    def signatures(self) -> dict[str, Signature]:
        """Return the functions of the model by name, with the shapes and dtypes they take and give."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=self._model, metadata_field=["signature_def"]
        )
        response = self._call(lambda: self._predictions.GetModelMetadata(request, timeout=self.timeout))
        found = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(found)
        return {
            name: Signature(protocol.specs(definition.inputs), protocol.specs(definition.outputs))
            for name, definition in sorted(found.signature_def.items())
            if definition.inputs  # others are run by the server as it loads the model
        }

    def status(self) -> list[Version]:
        """Return the versions of the model that the server knows, or the one asked for, by number."""
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=self._model)
        response = self._call(lambda: self._models.GetModelStatus(request, timeout=self.timeout))
        name = get_model_status_pb2.ModelVersionStatus.State.Name
        return sorted(
            Version(one.version, name(one.state), one.status.error_message)
            for one in response.model_version_status
        )

    def _signature(self, name: str) -> Signature:
        # Asked anew after an error: the server may have gone over to a version of other shapes.
        # By way of a name of its own: other threads may forget theirs meanwhile.
        known = self._known or self.signatures()
        self._known = known
        if name not in known:
            self._known = None
            raise ValueError(
                f"Expected one of the functions of the model {self.name!r}, {list(known)}, "
                f"received {name!r}."
            )
        return known[name]

    def _call(self, ask: Callable, line: protocol.Line | None = None):
        try:
            return ask()
        except grpc.RpcError as cause:
            self._known = None
            timeout = line.timeout if line else self.timeout
            raise protocol.error(cause, self.address, self.name, timeout) from cause
