"""What voters are served, asked for as they ask: the page's files over HTTP, compared with the build here."""

from __future__ import annotations

import hashlib
import http.client
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ops.doctor.finding import Finding
from runtime import built_page
from runtime.built_page import BuiltPage, PageFault
from runtime.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runtime.clock import Clock

ANSWER_S = 5.0
ALL_S = 30.0
"""For every file together; one that comes in drops is not waited for."""

CHUNK_BYTES = 65_536
REPLACE = (
    "build the same page on every machine (`node build.mjs` in intake/page), then hang up each edge's parent "
    "(kill -HUP); where the build is the same, somebody changes it on its way: runbook edge, item 8"
)
START = "start the edge, or correct the URL"


class Unanswered(Exception):  # noqa: N818  # it says what happened, which may be no error at all
    """Nothing answered as a web server does."""


def served(url: str, folder: Path = built_page.FOLDER, *, must_answer: bool = True) -> Iterator[Finding]:
    """Compare what `url` serves with the page built in `folder`; without `url` say that it was not done."""
    if not url:
        yield Finding("served page", "not looked at; --url or BALLOT_PUBLIC_URL says where")
        return
    try:
        built = built_page.read(folder)
    except PageFault:
        yield Finding("served page", f"not looked at: there is no page here to compare with {url}'s")
        return
    try:
        yield from _differences(url, built, SystemClock())
    except Unanswered as reason:
        says = f"not looked at: {url} does not answer ({reason})"
        yield Finding("served page", says, START if must_answer else "")


def _differences(url: str, built: BuiltPage, clock: Clock) -> Iterator[Finding]:
    """One finding when all is the same, else one for each difference."""
    by_s = clock.monotonic() + ALL_S
    manifest = _fetch(url, "hashes.json", len(built.manifest), clock, by_s)
    if manifest != built.manifest:
        other = "no page" if manifest is None else "another page"
        yield Finding(
            "served page", f"{url} serves {other} than version {built.version}, built here", REPLACE
        )
        return
    same = True
    for file in built.files.values():
        data = _fetch(url, file.path, len(file.identity), clock, by_s)
        if data is None or hashlib.sha256(data).hexdigest() != file.sha256:
            same = False
            yield Finding("served page", f"{url} serves another {file.path} than was built here", REPLACE)
    if same:
        yield Finding("served page", f"{url} serves version {built.version}, each file as built here")


def _fetch(url: str, name: str, expected: int, clock: Clock, by_s: float) -> bytes | None:
    """The file's bytes, one more than `expected` at most; None when the answer is another than the file."""
    connection, folder = _connection(url)
    try:
        path = f"{folder}/assets/{name}"
        connection.request("GET", path, headers={"Accept-Encoding": "identity", "Connection": "close"})
        answer = connection.getresponse()
        if answer.status != http.HTTPStatus.OK:
            return None
        data = b""
        while len(data) <= expected:
            if clock.monotonic() > by_s:
                raise Unanswered("it takes too long")
            chunk = answer.read1(min(CHUNK_BYTES, expected + 1 - len(data)))
            if not chunk:
                return data
            data += chunk
    except ssl.SSLError as error:
        raise Unanswered(f"TLS: {error.reason}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unanswered(getattr(error, "strerror", None) or type(error).__name__) from None
    finally:
        connection.close()
    return data


def _connection(url: str) -> tuple[http.client.HTTPConnection, str]:
    """A connection to where `url` leads, not open yet, and the path there."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise Unanswered("it is no address") from None
    if host is None or parts.scheme not in {"http", "https"}:
        raise Unanswered("it is no http or https address")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(host, port, timeout=ANSWER_S), parts.path.rstrip("/")
