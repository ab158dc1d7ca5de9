"""Asks our own edges whether they would take a vote, over TLS and with a proxy's header where wanted."""

from __future__ import annotations

import http.client
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from runtime.certificate import CERTIFICATE_VARIABLE, OwnCertificate
from runtime.environment import Environment

if TYPE_CHECKING:
    from collections.abc import Mapping

ANSWER_SECONDS = 2
FOR_OURSELVES = b"PROXY UNKNOWN\r\n"
"""The header of a connection that a proxy makes for nobody but itself."""


@dataclass(frozen=True, slots=True)
class Front:
    """How the edges of this installation are spoken to: `own` is their certificate, if they end TLS."""

    own: OwnCertificate | None
    proxied: bool
    public_url: str

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Front:
        """Return what is configured, or say in one sentence what is wrong with it."""
        settings = Environment(env)
        choices = ("off", "required")
        proxied = settings.text("BALLOT_PROXY_PROTOCOL", "off", choices=choices) == "required"
        public_url = settings.url("BALLOT_PUBLIC_URL")
        settings.done()
        own = OwnCertificate.from_environment(env)
        if own is not None and own.context is None:
            raise click.ClickException(f"{CERTIFICATE_VARIABLE}: the file holds no certificate we can read.")
        return cls(own, proxied, public_url)

    @property
    def scheme(self) -> str:
        """Return the scheme of the edges' own address."""
        return "http" if self.own is None else "https"

    def is_ready(self, host: str, port: int) -> bool:
        """Ask the edges' own readiness check."""
        if self.own is not None:
            self.own.refresh()
        connection = _Connection(self, host, port)
        with suppress(OSError, http.client.HTTPException):
            try:
                connection.request("GET", "/readyz")
                return connection.getresponse().status == http.HTTPStatus.OK
            finally:
                connection.close()
        return False

    def monitored(self, local_url: str) -> list[str]:
        """Return the monitor's arguments: as voters go, where they cannot be gone to directly."""
        if self.proxied:
            if not self.public_url:
                raise click.ClickException(
                    "BALLOT_PROXY_PROTOCOL needs BALLOT_PUBLIC_URL: the monitor votes through the proxy."
                )
            return ["--url", self.public_url]
        return ["--url", local_url, *(["--own-certificate"] if self.own is not None else [])]


class _Connection(http.client.HTTPConnection):
    """A connection that begins as the edges want it to."""

    def __init__(self, front: Front, host: str, port: int) -> None:
        super().__init__(host, port, timeout=ANSWER_SECONDS)
        self._front = front

    def connect(self) -> None:
        """Connect, say the proxy's header, shake hands."""
        super().connect()
        if self._front.proxied:
            self.sock.sendall(FOR_OURSELVES)
        own = self._front.own
        if own is not None and own.context is not None:
            self.sock = own.context.wrap_socket(self.sock, server_hostname=self.host)
