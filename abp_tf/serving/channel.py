"""The channel of a client to a server."""

from __future__ import annotations

import json
import os
from pathlib import Path

import grpc

from abp_tf.serving.access import loopback

# A response is a function of the request, so retries are safe. The pauses are about 0.2, 0.4, 0.8 and
# 1.6 seconds.
_RETRIES = {
    "maxAttempts": 5,
    "initialBackoff": "0.2s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
_OPTIONS = [
    ("grpc.service_config", json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": _RETRIES}]})),
    # By default gRPC keeps 256 KB of a request for retries, and never repeats a larger one.
    ("grpc.per_rpc_retry_buffer_size", 2**31 - 1),
    # By default the pauses before it reconnects grow to two minutes. Requests fail meanwhile, even if
    # the server is available again.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 500),
    # Refuse compressed responses: a small one can expand without bound.
    ("grpc.compression_enabled_algorithms_bitset", 1),
    # One row alone may be larger than the default.
    ("grpc.max_receive_message_length", -1),
]


def channel(
    address: str,
    root_certificates: str | os.PathLike | None = None,
    certificate: str | os.PathLike | None = None,
    key: str | os.PathLike | None = None,
) -> grpc.Channel:
    """Return a channel, which connects when the first request is sent.

    Args:
        address: address of the server, "host:port".
        root_certificates: path of a file of certificates (PEM) for TLS; None uses no encryption.
        certificate: path of the client's certificate chain (PEM), for servers that require one.
        key: path of its private key (PEM).

    Raises:
        ValueError: if some of the three files are missing for a client's certificate.
        OSError: if a file cannot be read.
    """
    own = [certificate, key]
    if any(own) and not all([root_certificates, *own]):
        raise ValueError(
            "Expected `root_certificates`, `certificate` and `key` for a client's certificate, "
            f"received {root_certificates}, {certificate} and {key}."
        )
    options = list(_OPTIONS)
    if loopback(address.rpartition(":")[0]):
        # A proxy of the environment would connect to its own machine instead of this one.
        options.append(("grpc.enable_http_proxy", 0))
    if root_certificates is None:
        return grpc.insecure_channel(address, options)
    chain, private = (Path(path).read_bytes() if path else None for path in own)
    credentials = grpc.ssl_channel_credentials(Path(root_certificates).read_bytes(), private, chain)
    return grpc.secure_channel(address, credentials, options)
