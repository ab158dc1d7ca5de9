"""Ports for the embedded servers: drawn once and kept, drawn again only when somebody has them."""

from __future__ import annotations

import random
import socket

import click

LOOPBACK = "127.0.0.1"
# Below the range that Linux draws outgoing connections' ports from: a port stays free between two starts.
PORT_LOW, PORT_HIGH = 20_000, 32_000
DRAWS_MAX = 200


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` now."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def draw(*, taken: set[object]) -> int:
    """Return a free port that is not among `taken`."""
    for _ in range(DRAWS_MAX):
        port = random.randrange(PORT_LOW, PORT_HIGH)  # noqa: S311  # nothing secret about a port
        if port not in taken and is_free(port):
            return port
    raise click.ClickException(f"No free port was found on {LOOPBACK} from {PORT_LOW} to {PORT_HIGH}.")
