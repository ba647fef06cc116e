"""Options of the programs that are clients of a server, and the client that they describe."""

from __future__ import annotations

import argparse

import numpy as np

from abp_tf import Client
from abp_tf.serving.access import read_token

# Samples of each signal of models that complete a signal once for each seed.
_SEEDS = 4


def parser(*, named: bool = True) -> argparse.ArgumentParser:
    """Return the parser of the options, to be a parent of a program's.

    Args:
        named: whether the name of the model must be given.
    """
    result = argparse.ArgumentParser(add_help=False)
    add = result.add_argument_group("server").add_argument
    add("--server", default="localhost:8500", metavar="HOST:PORT",
        help="address of the server [%(default)s]")  # fmt: skip
    add("--model", required=named, metavar="NAME", help="name of the model on the server")
    add("--version", type=_version, help="number or label of the version; by default the newest")
    add("--timeout", type=float, default=60.0, metavar="SECONDS",
        help="longest time for one request [%(default)s]")  # fmt: skip
    add("--batch-size", type=int, default=16, metavar="ROWS",
        help="largest number of rows of one request [%(default)s]")  # fmt: skip
    add("--tls-root", metavar="FILE", help="root certificates for TLS (PEM); by default plain text")
    add("--tls-certificate", metavar="FILE",
        help="certificate chain of the client (PEM); needs --tls-root and --tls-key")  # fmt: skip
    add("--tls-key", metavar="FILE",
        help="private key of the client (PEM); needs --tls-certificate")  # fmt: skip
    add("--token-file", metavar="FILE", help="file of the bearer token of the server")
    return result


def _version(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def connect(arguments: argparse.Namespace, value_range: tuple[float, float] | None) -> Client:
    """Return the client of a server.

    Args:
        arguments: options of `parser`.
        value_range: interval of the values of signals, as for `Client`.
    """
    return Client(
        arguments.server,
        arguments.model,
        version=arguments.version,
        timeout=arguments.timeout,
        root_certificates=arguments.tls_root,
        certificate=arguments.tls_certificate,
        key=arguments.tls_key,
        token=read_token(arguments.token_file) if arguments.token_file else None,
        batch_size=arguments.batch_size,
        value_range=value_range,
    )


def completions(client: Client, inputs: dict, count: int | None = None, verbose: int = 0) -> np.ndarray:
    """Return samples of signals given their observed entries, `[n, count, *signal_shape]`.

    A generator's are draws from its posterior, as many in a request as its export has; other models
    complete the signals with other seeds.

    Args:
        client: client of the model.
        inputs: arrays "signal", "mask", "seed" and, for some models, "time".
        count: number of samples of each signal; None for as many as one request has.
        verbose: 1 shows a progress bar.
    """
    signature = client.signatures().get("sample_posterior")
    if signature is None:
        count = _SEEDS if count is None else count
        outputs = client.ask("inpaint", **inputs, samples=count, verbose=verbose)
        return outputs["signal"]
    at_once = signature.outputs["samples"].shape[1]
    requests = 1 if count is None else -(-count // at_once)
    found = client.ask("sample_posterior", **inputs, samples=requests, verbose=verbose)
    samples = found["samples"]
    return samples.reshape(len(samples), -1, *samples.shape[3:])[:, :count]
