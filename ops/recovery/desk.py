"""The desk, as recovery meets it: its commands are kept out, and its journal of the register is read.

The journal is kept outside the voter database: `desk/roots/<ballot>.jsonl`, a line an act: signed, abandoned,
pushed (scrutineer/roots.py writes it).
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Final

import click

from ops.recovery import record

if TYPE_CHECKING:
    from pathlib import Path

    import asyncpg

#: The desk's own locks (scrutineer/session.py): a class, and the hash of ballot and part.
LOCK_CLASS: Final = 0x4445534B
PARTS: Final = ("voters and codes", "closing time", "returns")


async def hold(database: asyncpg.Connection, *, meanwhile: str) -> None:
    """Take every ballot's locks, as the desk does, until the connection ends.

    `meanwhile` says what the person who must wait has to know.
    """
    for ballot in await record.ballots(database):
        for part in PARTS:
            name = f"{ballot.id}/{part}"
            if not await database.fetchval("SELECT pg_try_advisory_lock($1, hashtext($2))", LOCK_CLASS, name):
                raise click.ClickException(
                    f"a desk command is changing ballot {ballot.id!r}; wait for it to end, then run this "
                    f"again: {meanwhile}"
                )


def live(roots: Path, ballot: str) -> set[int]:
    """Return the batches that the desk signed and did not give up: the register must hold them."""
    acts = _acts(roots, ballot)
    return acts["signed"] - acts["abandoned"]


def on_their_way(roots: Path, ballot: str) -> set[int]:
    """Return those of them that are not at the gate yet, as far as the desk has noted."""
    acts = _acts(roots, ballot)
    return acts["signed"] - acts["abandoned"] - acts["pushed"]


def _acts(roots: Path, ballot: str) -> defaultdict[str, set[int]]:
    """The batches by act; a line that is not whole was being written when its desk died."""
    found: defaultdict[str, set[int]] = defaultdict(set)
    try:
        lines = (roots / f"{ballot}.jsonl").read_bytes().splitlines()
    except FileNotFoundError:
        return found
    for line in lines:
        try:
            act = json.loads(line)
            found[str(act["act"])].add(int(act["batch"]))
        except (ValueError, KeyError, TypeError):
            continue
    return found
