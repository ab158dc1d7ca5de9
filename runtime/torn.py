"""Whether what follows the last whole command of an append-only file is a write that was under way.

Such a write was never answered, so nobody was told of anything in it, and it may be cut off. It is the
beginning of one command, or of one transaction, and ends where the file ends. A number that was damaged makes
what follows it look unfinished as well, though it was answered; but then there are commands inside what would
be an argument. What is not certainly the one is taken for the other.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

BYTES_MAX: Final = 64 << 20
"""A call of 256 votes comes to half a megabyte; longer is none of ours."""

END: Final = b"\r\n"
NUMBER: Final = re.compile(rb"([*$])(0|[1-9][0-9]{0,8})\r\n")
NUMBER_BEGUN: Final = re.compile(rb"(?:[*$](?:(?:0|[1-9][0-9]{0,8})\r?)?)?")
INSIDE: Final = re.compile(rb"\r\n[*$][0-9]{1,10}\r\n|\r\n\Z")
"""What an argument of ours holds by chance once in a hundred million."""


class _EndsHere(Exception):  # noqa: N818  # no mistake: the file ends where a write would
    """The file ends in the middle of what is being read."""


def is_write_under_way(path: Path, whole: int) -> bool:
    """Whether the file's bytes from `whole` on are the beginning of one write."""
    with path.open("rb") as file:
        file.seek(whole)
        rest = file.read(BYTES_MAX + 1)
    return 0 < len(rest) <= BYTES_MAX and _begins_a_write(rest)


def _begins_a_write(rest: bytes) -> bool:
    at, commands = 0, 0
    try:
        while at < len(rest):
            name, at = _command(rest, at)
            if name is None or (commands == 0) != (name == b"MULTI") or name == b"EXEC":
                return False  # no command, or a whole one: it would have counted as that
            commands += 1
    except _EndsHere:
        return True
    return True


def _command(rest: bytes, at: int) -> tuple[bytes | None, int]:
    """The name of the command at `at` in capitals, and where it ends; no name where there is no command."""
    count, at = _number(rest, at, b"*")
    name: bytes | None = None
    for place in range(count or 0):
        length, at = _number(rest, at, b"$")
        if length is None:
            return None, at
        argument = rest[at : at + length]
        if len(argument) < length:
            if INSIDE.search(argument):
                return None, at
            raise _EndsHere
        at += length
        end = rest[at : at + len(END)]
        if end != END:
            if END.startswith(end):
                raise _EndsHere
            return None, at
        at += len(END)
        if place == 0:
            name = argument.upper()
    return name, at


def _number(rest: bytes, at: int, kind: bytes) -> tuple[int | None, int]:
    found = NUMBER.match(rest, at)
    if found is None:
        if rest[at : at + 1] in {b"", kind} and NUMBER_BEGUN.fullmatch(rest, at):
            raise _EndsHere
        return None, at
    return (int(found[2]) if found[1] == kind else None), found.end()
