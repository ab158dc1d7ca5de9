"""Finding, killing and freezing processes below one that the run started, and no others.

Whatever is frozen goes on again: when it is asked for, when the run ends, and when the run itself is killed,
because a small guard beside it is then told by the end of its input.
"""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
GUARD = 'read -r _; kill -CONT "$@" 2>/dev/null'
GUARD_SECONDS_MAX = 5.0
PARENT_FIELD, STATE_FIELD = 1, 0


def _stat(pid: int) -> list[str]:
    """The fields of a process after its name; none when it is gone."""
    try:
        return (PROC / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return []


def alive(pid: int) -> bool:
    """Whether it runs or sleeps; a zombie does neither."""
    fields = _stat(pid)
    return bool(fields) and fields[STATE_FIELD] not in {"Z", "X"}


def descendants(pid: int) -> Iterator[int]:
    """Every living process below `pid`, parents first."""
    below: dict[int, list[int]] = {}
    for found in PROC.glob("[0-9]*"):
        fields = _stat(int(found.name))
        if fields and fields[STATE_FIELD] not in {"Z", "X"}:
            below.setdefault(int(fields[PARENT_FIELD]), []).append(int(found.name))
    waiting = [pid]
    while waiting:
        children = sorted(below.get(waiting.pop(0), []))
        yield from children
        waiting += children


def below(pid: int, pattern: str) -> list[int]:
    """The processes below `pid` with `pattern` in the command line, parents first."""
    found = []
    for child in descendants(pid):
        try:
            words = (PROC / str(child) / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it ended while we looked
        if re.search(pattern, b" ".join(words).decode(errors="replace")):
            found.append(child)
    return found


def send(pids: list[int], number: signal.Signals) -> None:
    """Send a signal to each of them that is still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


class Freezer:
    """Freezes processes, and keeps a guard for each time."""

    def __init__(self) -> None:
        self._guards: list[subprocess.Popen[bytes]] = []

    def freeze(self, pids: list[int]) -> None:
        """Stop them where they are."""
        guard = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, "guard", *map(str, pids)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._guards.append(guard)
        send(pids, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let all go on."""
        while self._guards:
            guard = self._guards.pop()
            with suppress(subprocess.TimeoutExpired):
                guard.communicate(timeout=GUARD_SECONDS_MAX)
            if guard.poll() is None:
                guard.kill()
                guard.wait()
