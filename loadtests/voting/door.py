"""The plainest way to carry a vote: one kept-alive HTTP connection of the standard library."""

import http.client
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from loadtests.voting.voter import NO_ANSWER, Answer

ANSWER_SECONDS_MAX = 15.0


class HttpDoor:
    """Requests to one server, `http://…` or `https://…`, one after the other.

    Over https the server's certificate is verified, with the authorities in the file `ca` if one is given.
    """

    def __init__(self, url: str, *, seconds: float = ANSWER_SECONDS_MAX, ca: Path | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"'{url}' is not an http or https address.")
        self._connection: http.client.HTTPConnection
        if parts.scheme == "https":
            self._connection = http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=seconds, context=verifying(ca)
            )
        else:
            self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=seconds)
        self._base = parts.path.rstrip("/")

    def send(self, method: str, path: str, body: bytes | None = None) -> Answer:
        """The answer to one request; status 0 when the connection failed or broke."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        try:
            self._connection.request(method, self._base + path, body, headers)
            response = self._connection.getresponse()
            return Answer(
                response.status, response.read(), seconds_to_wait(response.getheader("Retry-After"))
            )
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return Answer(NO_ANSWER)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def verifying(ca: Path | None) -> ssl.SSLContext:
    """A client's context that verifies servers; ValueError when `ca` is no file of authorities."""
    try:
        return ssl.create_default_context(cafile=None if ca is None else str(ca))
    except OSError as error:  # an ssl.SSLError is one
        raise ValueError(f"{ca} is not a PEM file of certificate authorities that can be read.") from error


def seconds_to_wait(header: str | None) -> float:
    """The seconds a `Retry-After` header asks for; 0 without one."""
    return float(header) if header and header.isascii() and header.isdigit() else 0.0
