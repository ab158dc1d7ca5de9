"""The narrow line passes everything on as it is, slowly while capped, and from the voter's own address."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from loadtests.overlays.cap import NARROWED
from loadtests.overlays.catalogue import OVERLAYS, Running
from loadtests.overlays.terms import Context

WAIT_S = 30.0
CAP_BYTES_A_SECOND = 40_000
SENT_BYTES = 60_000
VOTER = "127.9.8.7"


@contextmanager
def echo(seen: list[str]) -> Iterator[int]:
    """A server that says back what it is told and notes who was there."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve(connection: socket.socket, address: str) -> None:
            seen.append(address)
            with connection, suppress(OSError):
                while data := connection.recv(65_536):
                    connection.sendall(data)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, (address, _) = listening.accept()
                    threading.Thread(target=serve, args=(connection, address), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


def said_back(url: str, words: bytes) -> bytes:
    """What comes back through the line, on a connection from the voter's address."""
    address = ("127.0.0.1", urlsplit(url).port or 0)
    with socket.create_connection(address, timeout=WAIT_S, source_address=(VOTER, 0)) as connection:
        threading.Thread(target=send, args=(connection, words), daemon=True).start()
        found = b""
        while part := connection.recv(65_536):
            found += part
        return found


def send(connection: socket.socket, words: bytes) -> None:
    """Send it all, and then say that this was all."""
    connection.sendall(words)
    connection.shutdown(socket.SHUT_WR)


def capped_since(running: Running) -> None:
    """Return once the line tells that it is narrow."""
    deadline = time.monotonic() + WAIT_S
    while f'"{NARROWED}": 1' not in running.path.read_text(encoding="utf-8"):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("how", ["kernel", "relay"])
def test_a_capped_line_carries_everything_and_no_faster(tmp_path: Path, how: str) -> None:
    """Bytes arrive as they were sent, from the voter's own address; while capped no more than the cap."""
    seen: list[str] = []
    words = os.urandom(SENT_BYTES)
    knobs = {"how": how, "line_bits": CAP_BYTES_A_SECOND * 80, "share": 0.1}
    with echo(seen) as port:
        context = Context(f"http://127.0.0.1:{port}", "b", tmp_path, tmp_path, 1, 600.0, knobs=knobs)
        running = OVERLAYS["cap"].start(context)
        if running.url is None:
            pytest.skip(f"no namespace or tc here: {running.stop()}")
        capped_since(running)
        began = time.monotonic()
        assert said_back(running.url, words) == words
        took_s = time.monotonic() - began
        told = running.stop()
    assert seen == [VOTER]
    assert told["how"] == how
    assert took_s > (SENT_BYTES - 40_000) / CAP_BYTES_A_SECOND  # a burst and a queue pass at once
    assert told["capped_bytes_in"] == SENT_BYTES
    assert all(judgement.ok or judgement.void for judgement in OVERLAYS["cap"].judge(told))
    assert json.loads(running.path.read_text().splitlines()[0])["ready"]["how"] == how


def test_more_than_the_cap_fails() -> None:
    """A line that let more through than it may was not capped."""
    told = {"how": "kernel", "bits_a_second": 8_000.0, "capped_from_us": 0, "capped_to_us": 10_000_000}
    told |= {"turned_away": 0, "cpu_share": 0.0}
    for found, ok in ((9_000, True), (90_000, False)):
        judgement, *_ = OVERLAYS["cap"].judge(told | {"capped_bytes_in": found})
        assert judgement.ok is ok
        assert not judgement.void


@pytest.mark.parametrize(("found", "void"), [(9_000, False), (7_000, True), (0, True)])
def test_a_cap_that_held_nobody_back_voids(found: int, *, void: bool) -> None:
    """Where less came than it lets through it excuses nobody."""
    told = {"how": "kernel", "bits_a_second": 8_000.0, "capped_from_us": 0, "capped_to_us": 10_000_000}
    told |= {"turned_away": 0, "cpu_share": 0.0, "capped_bytes_in": found}
    assert [each.void for each in OVERLAYS["cap"].judge(told) if not each.ok] == [True] * void
