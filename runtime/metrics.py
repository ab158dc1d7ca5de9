"""The metrics port: on loopback unless told otherwise, because turnout is on it and it is never public."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
from prometheus_client import REGISTRY, CollectorRegistry, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector  # type: ignore[attr-defined,unused-ignore]

if TYPE_CHECKING:
    from threading import Thread
    from wsgiref.simple_server import WSGIServer

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class MetricsServer:
    """A running metrics port."""

    port: int
    _server: WSGIServer
    _thread: Thread

    def close(self) -> None:
        """Stop answering and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def serve(port: int, *, host: str | None = None, registry: CollectorRegistry | None = None) -> MetricsServer:
    """Serve metrics on `port` (0: any) from a thread.

    `host` defaults to BALLOT_METRICS_HOST or loopback. With PROMETHEUS_MULTIPROC_DIR set the numbers of all
    processes that share that directory are added up.
    """
    address = host or os.environ.get("BALLOT_METRICS_HOST") or LOOPBACK
    if registry is None:
        registry = REGISTRY
        if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call,unused-ignore]
    try:
        server, thread = start_http_server(port, addr=address, registry=registry)
    except OSError as error:
        reason = error.strerror or str(error)
        raise click.ClickException(f"The metrics port {address}:{port} cannot be used: {reason}.") from error
    return MetricsServer(server.server_port, server, thread)
