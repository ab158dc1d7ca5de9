"""What the home remembers of its servers in `run/`: processes, ports, and what was last applied to them."""

from __future__ import annotations

import threading
from dataclasses import asdict
from typing import TYPE_CHECKING

import click
import orjson

from runtime import home as home_files
from runtime import ports
from runtime.processes import Process

if TYPE_CHECKING:
    from pathlib import Path


class Records:
    """The files in `run/`, each replaced whole; a missing or torn one reads as empty."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._writing = threading.Lock()  # servers are started in parallel and share one file

    def processes(self) -> dict[str, Process]:
        """Return the last recorded process of each server; it may be dead."""
        return {
            name: Process(int(fields["pid"]), str(fields["started"]))
            for name, fields in self._read("servers.json").items()
            if isinstance(fields, dict)
        }

    def set_process(self, name: str, process: Process | None) -> None:
        """Record a server's process, or that it has none."""
        with self._writing:
            found = self._read("servers.json")
            found.pop(name, None)
            if process is not None:
                found[name] = asdict(process)
            self._write("servers.json", found)

    def forget_processes(self) -> None:
        """Record that no server runs."""
        self._write("servers.json", {})

    def port(self, name: str) -> int:
        """Return the port of a server that was started."""
        port = self._read("ports.json").get(name)
        if not isinstance(port, int):
            raise click.ClickException(f"{self._run / 'ports.json'} does not name the port of {name}.")
        return port

    def free_port(self, name: str) -> int:
        """Return a port to start on: the same as last time unless somebody else has taken it."""
        known = self._read("ports.json")
        port = known.get(name)
        if not isinstance(port, int) or not ports.is_free(port):
            port = ports.draw(taken=set(known.values()))
            self._write("ports.json", {**known, name: port})
        return port

    def applied(self) -> dict[str, object]:
        """Return the digest of what was last applied to each server."""
        return self._read("applied.json")

    def set_applied(self, digests: dict[str, object]) -> None:
        """Record the digest of what is applied to each server."""
        self._write("applied.json", digests)

    def _read(self, name: str) -> dict[str, object]:
        try:
            found = orjson.loads((self._run / name).read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return {}
        return found if isinstance(found, dict) else {}

    def _write(self, name: str, value: dict[str, object]) -> None:
        home_files.replace(self._run / name, orjson.dumps(value).decode())
