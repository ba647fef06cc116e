"""Decide who may use a server: TLS, certificates of clients, and a bearer token."""

from __future__ import annotations

import hmac
import ssl
from pathlib import Path

import grpc

from .refusal import RefusedError


def credentials(
    certificate: str | None, key: str | None, client_ca: str | None = None
) -> grpc.ServerCredentials | None:
    """Return the credentials for TLS, or None without files.

    Args:
        certificate: file of the certificate chain (PEM).
        key: file of the private key (PEM).
        client_ca: file of the certificates (PEM) that sign those of clients; None accepts all clients.

    Raises:
        ValueError: a file is missing, holds something else, or the key is that of another certificate.
        OSError: a file cannot be read.
    """
    if certificate is None and key is None and client_ca is None:
        return None
    if certificate is None or key is None:
        raise ValueError(
            "Expected both --tls-certificate and --tls-key, received not both. Give the other too."
        )
    chain, private = Path(certificate).read_bytes(), Path(key).read_bytes()
    authorities = None if client_ca is None else Path(client_ca).read_bytes()
    # OpenSSL checks the files, because gRPC would only report that it cannot listen.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # The empty password, because OpenSSL would ask for that of an encrypted key on the terminal.
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        raise ValueError(
            f"--tls-key: expected the private key, not encrypted, of the certificate {certificate}, "
            f"received {key}: {error.reason or 'not a key and a certificate'}."
        ) from error
    try:
        if client_ca is not None:
            context.load_verify_locations(client_ca)
    except ssl.SSLError as error:
        raise ValueError(
            f"--tls-client-ca: expected certificates (PEM), received {client_ca}: "
            f"{error.reason or 'no certificates'}."
        ) from error
    return grpc.ssl_server_credentials(
        [(private, chain)], authorities, require_client_auth=client_ca is not None
    )


def check_token(token: str | None, context: grpc.aio.ServicerContext) -> None:
    """Refuse a call without the token of the server.

    Args:
        token: the token; None accepts all calls.
        context: context of the call.

    Raises:
        RefusedError: UNAUTHENTICATED.
    """
    if token is None:
        return
    received = str(dict(context.invocation_metadata() or ()).get("authorization", ""))
    # The comparison takes equally long wherever the texts differ, so that its time reveals nothing.
    if not hmac.compare_digest(received.encode(), f"Bearer {token}".encode()):
        raise RefusedError(
            grpc.StatusCode.UNAUTHENTICATED,
            "Expected the bearer token of this server in the metadata, received another or none.",
        )
