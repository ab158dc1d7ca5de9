"""The drill's own home: secrets copied in, everything restored there, and all of it removed whatever happens.

Its servers are its own, on ports of their own, with the passwords of the copied secrets; nothing in it points
to the real ones. One drill at a time a home; what a killed one left is removed by the next.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import click

from runtime import home as home_files
from runtime import locks, processes, unprivileged
from runtime.addresses import CLUSTERS
from runtime.home import URL_VARIABLES, Home
from runtime.postgres_server import PostgresServer
from runtime.valkey_server import ValkeyServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runtime.starting import Server

NAME: Final = "drill.scratch"
MARKER: Final = "this-is-a-drill"
LOCK_WAIT_S: Final = 1.0
STOP_WAIT_S: Final = 60.0
SECRETS: Final = ("*.key", "*.password")
WORK: Final = "work"


@contextmanager
def scratch_home(home: Home, place: Path | None, *, keep: bool) -> Iterator[Home]:
    """A new home below `place` (default: the real home) while the block runs; with `keep` it stays."""
    directory = (place or home.path).absolute() / NAME
    with locks.exclusive(home.run / "drill.lock", wait_s=LOCK_WAIT_S):
        _remove_left(directory)
        made = Home(directory)
        try:
            made.make()
            (directory / MARKER).touch(0o600)
            unprivileged.check_doors(PostgresServer(made, "voterdb").executable, home=directory)
            _copy(home, made)
            yield made
        finally:
            if not keep:
                with _undisturbed():
                    remove(made)


def environment(scratch: Home) -> dict[str, str]:
    """The environment in which our commands see the scratch home and its own servers."""
    env = {name: value for name, value in os.environ.items() if name not in URL_VARIABLES}
    env.pop("BALLOT_PARENT_PID", None)
    return env | {"BALLOT_HOME": str(scratch.path), "BALLOT_BACKUP": "off"}


def remove(scratch: Home) -> None:
    """Stop what runs in it and delete it, secrets first."""
    shutil.rmtree(scratch.secrets, ignore_errors=True)
    for server in _servers(scratch):
        for process in processes.in_directory(server.data, executable=server.executable):
            processes.stop(process, server.stop_signal, wait_s=STOP_WAIT_S)
    shutil.rmtree(scratch.path, ignore_errors=True)
    if scratch.path.exists():
        click.echo(f"{scratch.path} could not be removed: remove it, copies of secrets are in it.", err=True)


def _servers(scratch: Home) -> list[Server]:
    """All that may be running there: the home's servers, and those of a restore that was not finished."""
    found: list[Server] = [ValkeyServer(scratch), ValkeyServer(Home(scratch.path / WORK))]
    for cluster in CLUSTERS:
        found += [PostgresServer(scratch, cluster), PostgresServer(Home(scratch.path / WORK), cluster)]
    return found


def _remove_left(directory: Path) -> None:
    """What is there is removed only if a drill made it."""
    if not directory.exists():
        return
    if not (directory / MARKER).exists():
        raise click.ClickException(f"{directory} is in the way, and no drill made it: move it elsewhere.")
    remove(Home(directory))


def _copy(home: Home, scratch: Home) -> None:
    """The secrets without which nothing can be checked, the published keys, and the desk's own journals."""
    for pattern in SECRETS:
        for path in home.secrets.glob(pattern):
            home_files.write_once(scratch.secrets / path.name, path.read_text("ascii"))
    for source, target in ((home.public, scratch.public), (home.desk / "roots", scratch.desk / "roots")):
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
    if home.keys_made.exists():
        shutil.copyfile(home.keys_made, scratch.keys_made)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """A second Ctrl-C must not leave secrets lying about."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            with suppress(TypeError):  # a handler that was not set from Python
                signal.signal(number, handler)
