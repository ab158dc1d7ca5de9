"""The register against the roots the desk signed and keeps elsewhere: no credential was added or changed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from ballot import register
from ballot.encoding import Malformed, b64decode
from ballot.merkle import leaf_hash, node_hash
from ballot.suite import SignatureInvalid, verify_signature
from ops.check.findings import Finding, Kind
from ops.check.store_side import pages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
    from pathlib import Path

    import asyncpg

ISSUES = """
SELECT batch, credential_digest, uin, channel, issued_us, shard FROM ballot.register WHERE ballot = $1
 ORDER BY batch, position
"""
REVOCATIONS = """
SELECT batch, credential_digest, revoked_us FROM ballot.revocations WHERE ballot = $1 ORDER BY batch, position
"""


class RunningRoot:
    """An RFC 6962 root that takes leaves one by one and keeps a hash a level."""

    def __init__(self) -> None:
        self.leaves = 0
        self._peaks: list[tuple[int, bytes]] = []

    def add(self, leaf: bytes) -> None:
        """Append a leaf."""
        size, value = 1, leaf_hash(leaf)
        while self._peaks and self._peaks[-1][0] == size:
            _, left = self._peaks.pop()
            size, value = 2 * size, node_hash(left, value)
        self._peaks.append((size, value))
        self.leaves += 1

    def root(self) -> bytes:
        """Return the root over the leaves so far; there must be one."""
        _, value = self._peaks[-1]
        for _, left in reversed(self._peaks[:-1]):
            value = node_hash(left, value)
        return value


async def check_roots(
    connection: asyncpg.Connection,
    ballot: str,
    acts: Sequence[dict[str, Any]],
    *,
    desk_public: bytes | None,
) -> list[Finding]:
    """Recompute every batch's root and compare it with the desk's signed line for that batch."""
    if desk_public is None or not acts:
        rows = await connection.fetchval("SELECT count(*) FROM ballot.register WHERE ballot = $1", ballot)
        missing = "the desk's public key" if desk_public is None else "the desk's file of signed roots"
        return [Finding(Kind.ROOTS, ballot, f"{missing} is not here")] if rows else []
    found: dict[int, tuple[str, RunningRoot]] = {}
    async for batch, kind, leaf in _leaves(connection, ballot):
        _, running = found.setdefault(batch, (kind, RunningRoot()))
        running.add(leaf)
    return list(_compare(found, acts, ballot, desk_public))


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Return the acts in the desk's journal, a few a batch of up to 20,000 codes; none without the file."""
    if not path.exists():
        return []
    written = path.read_bytes()
    # A line without its end was being written when the power went: the step after it never began.
    whole = written[: written.rfind(b"\n") + 1]
    try:
        acts: list[dict[str, Any]] = [json.loads(line) for line in whole.splitlines()]
        if all(isinstance(act["act"], str) and isinstance(act["batch"], int) for act in acts):
            return acts
    except (ValueError, KeyError, TypeError):
        pass
    raise click.ClickException(f"{path} is damaged: a line of it is no act of the desk")


async def _leaves(connection: asyncpg.Connection, ballot: str) -> AsyncIterator[tuple[int, str, bytes]]:
    async for rows in pages(connection, ISSUES, ballot):
        for row in rows:
            leaf = register.issue_leaf(
                ballot,
                row["credential_digest"],
                row["uin"],
                row["channel"],
                row["issued_us"],
                row["shard"],
            )
            yield row["batch"], "issue", leaf
    async for rows in pages(connection, REVOCATIONS, ballot):
        for row in rows:
            yield (
                row["batch"],
                "revoke",
                register.revoke_leaf(ballot, row["credential_digest"], row["revoked_us"]),
            )


def _compare(
    found: dict[int, tuple[str, RunningRoot]],
    acts: Iterable[dict[str, Any]],
    ballot: str,
    desk_public: bytes,
) -> Iterator[Finding]:
    signed: dict[int, dict[str, Any]] = {}
    for act in acts:
        if act["act"] == "signed":
            signed[act["batch"]] = act
        elif act["act"] == "abandoned":
            # Its codes never reached the register; if they are there after all, nobody signed for them.
            signed.pop(act["batch"], None)
    for batch in sorted(signed.keys() | found.keys()):
        wrong = _batch_fault(ballot, batch, signed.get(batch), found.get(batch), desk_public)
        if wrong:
            yield Finding(Kind.ROOTS, f"batch {batch}", wrong)


def _batch_fault(
    ballot: str,
    batch: int,
    signed: dict[str, Any] | None,
    found: tuple[str, RunningRoot] | None,
    desk_public: bytes,
) -> str:
    """Return what is wrong with one batch, or nothing."""
    if signed is None:
        return "the desk never signed it"
    kind, count = signed["kind"], int(signed["leaves"])
    try:
        root = b64decode(signed["root"], length=32)
        signature = b64decode(signed["signature"], length=64)
        verify_signature(desk_public, signature, register.root_message(ballot, batch, kind, count, root))
    except (SignatureInvalid, Malformed):
        return "the signed line is not the desk's"
    if found is None:
        return f"the desk signed {count} entries; the register has none of them"
    found_kind, running = found
    if (found_kind, running.leaves) != (kind, count):
        return f"the desk signed {count} entries; the register has {running.leaves}"
    return "" if running.root() == root else "an entry was changed since the desk signed"
