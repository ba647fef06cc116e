"""Bearer tokens and addresses, for servers and clients."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path


def token(text: str, source: str = "token") -> str:
    """Return a valid bearer token unchanged; errors do not show it.

    Args:
        text: the token.
        source: name of the argument, option or file it comes from, for errors.

    Raises:
        ValueError: if it is empty, or has other characters than printable ASCII without spaces.
    """
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(
            f"{source}: expected a token of printable ASCII characters without spaces, received "
            f"{len(text)} characters that are not one."
        )
    return text


def read_token(path: str | os.PathLike) -> str:
    """Return the bearer token in a file, without spaces and line ends around it.

    Args:
        path: path of the file, which holds nothing else.

    Raises:
        ValueError: if the file holds anything else.
        OSError: if it cannot be read.
    """
    return token(Path(path).read_text(encoding="utf-8").strip(), str(path))


def loopback(host: str) -> bool:
    """Return whether a host can be reached from its own machine only.

    Args:
        host: a name or an IP address, which may be in square brackets.

    Example:
        >>> [loopback(host) for host in ("localhost", "127.0.0.1", "[::1]", "0.0.0.0")]
        [True, True, True, False]
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
