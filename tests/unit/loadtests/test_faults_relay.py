"""A relay passes everything on until it is told otherwise; what is frozen goes on again, whatever happens."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from loadtests.faults import hands, servers
from loadtests.faults.hands import Freezer
from loadtests.faults.relay import Relays

WAIT_S = 10.0
LATE_S = 0.2


@contextmanager
def echo() -> Iterator[int]:
    """A server that says back what it is told, on the port it yields."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                while data := connection.recv(1024):
                    connection.sendall(data)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def relays() -> Iterator[Relays]:
    """Relays, ended after the test."""
    with Relays() as made:
        yield made


@pytest.fixture
def link(relays: Relays) -> Iterator[socket.socket]:
    """A connection through the relay `echo` to a server that says everything back."""
    with echo() as port:
        near = relays.add("echo", lambda: ("127.0.0.1", port))
        with socket.create_connection(("127.0.0.1", near), timeout=WAIT_S) as connection:
            assert said(connection, b"there?") == b"there?"
            yield connection


def said(connection: socket.socket, words: bytes) -> bytes:
    """What comes back for `words`."""
    connection.sendall(words)
    return connection.recv(1024)


def test_a_slow_link_is_late(relays: Relays, link: socket.socket) -> None:
    """Latency both ways, and none once it is calm."""
    relays.slow("echo", LATE_S)
    started = time.monotonic()
    assert said(link, b"late") == b"late"
    assert time.monotonic() - started >= 2 * LATE_S
    relays.calm()
    assert said(link, b"soon") == b"soon"


def test_what_is_held_arrives_later(relays: Relays, link: socket.socket) -> None:
    """Nothing passes while it is held; nothing is lost."""
    relays.hold("echo")
    link.sendall(b"patience")
    link.settimeout(LATE_S)
    with pytest.raises(TimeoutError):
        link.recv(1024)
    relays.calm()
    link.settimeout(WAIT_S)
    assert link.recv(1024) == b"patience"


def test_what_is_swallowed_ends_with_a_reset(relays: Relays, link: socket.socket) -> None:
    """Lost bytes never arrive, and the connection does not go on as if nothing had happened."""
    relays.swallow("echo", both=True)
    link.sendall(b"lost")
    link.settimeout(LATE_S)
    with pytest.raises(TimeoutError):
        link.recv(1024)
    relays.calm()
    link.settimeout(WAIT_S)
    with pytest.raises(ConnectionResetError):
        link.recv(1024)


def test_connections_are_reset(relays: Relays, link: socket.socket) -> None:
    """A reset is felt at once."""
    relays.reset("echo", share=1.0, choice=0.5)
    with pytest.raises(ConnectionResetError):
        link.recv(1024)


def test_who_is_not_there_is_a_reset(relays: Relays) -> None:
    """A relay to nobody says so by a reset, and goes on listening."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # nobody else gets the port, and nobody listens on it
        nobody = silent.getsockname()[1]
        port = relays.add("nobody", lambda: ("127.0.0.1", nobody))
        assert not servers.listens(nobody)
        assert servers.listens(port)
        assert not servers.valkey_answers(port)
        assert not servers.postgres_answers(port)


@contextmanager
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours that sleeps."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "sleeper"]) as process:
        try:
            yield process
        finally:
            process.kill()


def state(pid: int) -> str:
    """The state of a process as the kernel shows it."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:  # noqa: PTH123  # one line of a special file
        return file.read().rpartition(")")[2].split()[0]


def becomes(pid: int, *states: str) -> bool:
    """Whether the process comes into one of these states."""
    deadline = time.monotonic() + WAIT_S
    while (now := state(pid)) not in states and time.monotonic() < deadline:
        time.sleep(0.01)
    return now in states


def test_what_is_frozen_goes_on_again() -> None:
    """Stopped until it is let go."""
    freezer = Freezer()
    with sleeper() as process:
        freezer.freeze([process.pid])
        assert becomes(process.pid, "T")
        freezer.thaw()
        assert becomes(process.pid, "S", "R")


def test_what_is_frozen_goes_on_when_its_freezer_is_killed() -> None:
    """Nobody is left frozen by a run that was killed."""
    code = (
        "import sys; from loadtests.faults.hands import Freezer; f = Freezer(); f.freeze([int(sys.argv[1])])"
    )
    code += "; sys.stdout.write('done'); sys.stdout.flush(); sys.stdin.read()"
    with (
        sleeper() as process,
        subprocess.Popen(
            [sys.executable, "-c", code, str(process.pid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as run,
    ):
        assert run.stdout is not None
        assert run.stdout.read(4) == b"done"
        assert becomes(process.pid, "T")
        run.kill()
        assert becomes(process.pid, "S", "R")


def test_only_what_is_below_is_found() -> None:
    """Processes are found by their words, below the one named, and a dead one is not."""
    with sleeper() as process:
        assert hands.below(os.getpid(), r"time\.sleep\(600\).*sleeper") == [process.pid]
        assert hands.below(process.pid, "sleeper") == []
        assert hands.alive(process.pid)
        hands.send([process.pid], signal.SIGKILL)
        process.wait()
        assert not hands.alive(process.pid)
