"""One JSON object a line, on stderr and in the home's log of this process; a bytes value is never printed."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import orjson

from runtime.home import Redacted

if TYPE_CHECKING:
    from runtime.home import Home

Level = Literal["info", "warning", "error", "alarm"]
TEXT_CHARACTERS_MAX = 2_000


class _Sink:
    """Where lines go; one a process, set by `configure`."""

    def __init__(self) -> None:
        self.process = "ballot"
        self.file: int | None = None

    def write(self, line: bytes) -> None:
        """Write one line in one call, so that lines of several processes never mix."""
        for descriptor in (self.file, _stderr()):
            if descriptor is None:
                continue
            try:
                os.write(descriptor, line)
            except OSError:
                continue  # a full disk or a closed terminal must not stop the taking of votes


_sink = _Sink()


class Log:
    """Writes lines of one part of the process; `action` says what happened, the fields say to what."""

    def __init__(self, name: str) -> None:
        self._name = name

    def info(self, action: str, **fields: object) -> None:
        """Log what happened in the ordinary course."""
        self._write("info", action, fields)

    def warning(self, action: str, **fields: object) -> None:
        """Log what is odd but handled."""
        self._write("warning", action, fields)

    def error(self, action: str, **fields: object) -> None:
        """Log what failed."""
        self._write("error", action, fields)

    def alarm(self, action: str, **fields: object) -> None:
        """Log what must wake someone."""
        self._write("alarm", action, fields)

    def _write(self, level: Level, action: str, fields: dict[str, object]) -> None:
        line = {
            "at": datetime.now(tz=UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": level,
            "process": _sink.process,
            "pid": os.getpid(),
            "part": self._name,
            "action": action,
        }
        line.update({key: shown(value) for key, value in fields.items() if key not in line})
        _sink.write(orjson.dumps(line, default=str) + b"\n")


def get(name: str) -> Log:
    """Return the log of one part of the process."""
    return Log(name)


def configure(process: str, home: Home | None = None) -> None:
    """Name this process in every line, add the home's log file, and take in the libraries' own warnings."""
    if _sink.file is not None:
        os.close(_sink.file)
    _sink.process = process
    _sink.file = None
    if home is not None:
        path = home.logs / f"{process}.log"
        _sink.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    root = logging.getLogger()
    root.handlers[:] = [_LibraryHandler(logging.WARNING)]


def shown(value: object) -> object:  # noqa: PLR0911  # one line a type reads best
    """Return what a log may show of `value`: of bytes only length and digest, of a secret nothing."""
    if isinstance(value, bytes | bytearray | memoryview):
        data = bytes(value)
        return f"<{len(data)} bytes sha256:{hashlib.sha256(data).hexdigest()[:8]}>"
    if isinstance(value, Redacted):
        return repr(value)
    if isinstance(value, BaseException):
        return _text(f"{type(value).__name__}: {value}")
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return {_text(str(key)): shown(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [shown(item) for item in value]
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)
    return _text(str(value))


def _text(text: str) -> str:
    """Return `text` cut to a bearable length, and without what UTF-8 cannot spell."""
    return text[:TEXT_CHARACTERS_MAX].encode("utf-8", "replace").decode()


def _stderr() -> int | None:
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return None


class _LibraryHandler(logging.Handler):
    """Turns a library's warning into a line of ours, with the exception's type and text."""

    def emit(self, record: logging.LogRecord) -> None:
        log = Log(record.name)
        error = record.exc_info[1] if record.exc_info else None
        write = log.error if record.levelno >= logging.ERROR else log.warning
        if error is None:
            write("library", message=record.getMessage())
        else:
            write("library", message=record.getMessage(), error=error)
