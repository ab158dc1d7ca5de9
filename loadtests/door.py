"""The plainest way to carry a vote: one kept-alive HTTP connection of the standard library."""

import http.client
from urllib.parse import urlsplit

from loadtests.voter import NO_ANSWER, Answer

ANSWER_SECONDS_MAX = 15.0


class HttpDoor:
    """Requests to one server, `http://…` or `https://…`, one after the other."""

    def __init__(self, url: str, *, seconds: float = ANSWER_SECONDS_MAX) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"'{url}' is not an http or https address.")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=seconds)
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


def seconds_to_wait(header: str | None) -> float:
    """The seconds a `Retry-After` header asks for; 0 without one."""
    return float(header) if header and header.isascii() and header.isdigit() else 0.0
