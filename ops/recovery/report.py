"""What a recovery found and did: for a person, for a program, for the log of events, and kept in the home."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from ops.recovery import numbers
from runtime import home as home_files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import asyncpg

    from ops.recovery.numbers import Range
    from runtime.home import Home

EVENT: Final = "recovery.performed"
SHOWN_MAX: Final = 20
RANGES_MAX: Final = 100_000
"""Of one ballot's numbers that a report and its event name; the checker explains no more than these."""


@dataclass(slots=True)
class BallotReport:
    """One ballot. What is by shard has the shard's number as text, as JSON needs it.

    `gaps` are the parts of a stream that are gone: after the first entry, up to the second. `unconfirmed` are
    references that an edge gave out and that are nowhere, less the `unconfirmed_before` that an earlier
    recovery has named. `unaccounted` are the numbers up to the largest proved one that no vote has, `skipped`
    those that are never given because they may have been; `claimed` counts the latter that a journal has a
    reference for. Each report names all ranges anew: the newest holds; `unaccounted_before` counts what the
    one before it had. `unexplained`: numbers that nobody named yet, of shards that have lost nothing: not
    this recovery's, and still to be found by the checker. `numbers_unproved` counts held and waiting votes
    with numbers beyond the largest proved. `rest`: what is too long for this.
    """

    ballot: str
    stored: int = 0
    held: int = 0
    waiting: int = 0
    marks_restored: int = 0
    references_restored: int = 0
    credentials_restored: int = 0
    credentials_revoked: int = 0
    releases_restored: int = 0
    returns_restored: int = 0
    windows_restored: int = 0
    streams_mended: int = 0
    turnout_lost: int = 0
    published: bool = False
    conflicts: list[str] = field(default_factory=list)
    conflicts_more: int = 0
    unconfirmed: list[str] = field(default_factory=list)
    unconfirmed_before: int = 0
    unconfirmed_more: int = 0
    unaccounted: dict[str, list[Range]] = field(default_factory=dict)
    unaccounted_more: int = 0
    unaccounted_before: int = 0
    unexplained: dict[str, list[Range]] = field(default_factory=dict)
    numbers_unproved: int = 0
    skipped: dict[str, list[Range]] = field(default_factory=dict)
    claimed: dict[str, int] = field(default_factory=dict)
    journal_numbers_odd: int = 0
    rest: dict[str, str] = field(default_factory=dict)
    gaps: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    missing_batches: list[int] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether anything had to be put back."""
        return self.published or any(
            (
                self.marks_restored,
                self.references_restored,
                self.credentials_restored,
                self.credentials_revoked,
                self.releases_restored,
                self.returns_restored,
                self.windows_restored,
                self.streams_mended,
            )
        )

    @property
    def unconfirmed_count(self) -> int:
        """How many references are named as lost for the first time."""
        return len(self.unconfirmed) + self.unconfirmed_more

    @property
    def unaccounted_count(self) -> int:
        """How many numbers nothing names."""
        return sum(map(numbers.count, self.unaccounted.values())) + self.unaccounted_more


class Rest:
    """A list, beside the report, of one ballot's references and ranges that are too many for it.

    Its name and SHA-256 are in the report, and so in the event; without a directory there is only the count.
    """

    def __init__(self, directory: Path | None, report: BallotReport) -> None:
        self._directory = directory
        self._report = report
        self._digest = hashlib.sha256()
        self._file: BinaryIO | None = None
        self._left = RANGES_MAX

    def write(self, line: str) -> None:
        """Add a line."""
        if self._directory is None:
            return
        if self._file is None:
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
            path = self._directory / f"{stamp}-{self._report.ballot}-rest.txt"
            self._directory.mkdir(mode=0o700, exist_ok=True)
            self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
            self._report.rest["file"] = str(path)
        data = line.encode() + b"\n"
        self._digest.update(data)
        self._file.write(data)

    def ranges(self, shard: int, found: Sequence[Range]) -> list[Range]:
        """Return as many of these ranges as there is room for; the others go into the list."""
        kept, more = list(found[: self._left]), found[self._left :]
        self._left -= len(kept)
        self._report.unaccounted_more += numbers.count(more)
        for first, last in more:
            self.write(f"unaccounted {shard} {first} {last}")
        return kept

    def close(self) -> None:
        """End the list, and note what is in it."""
        if self._file is not None:
            self._file.close()
            self._report.rest["sha256"] = self._digest.hexdigest()


@dataclass(slots=True)
class Report:
    """A recovery: why, of what, and each ballot that is on record."""

    why: list[str]
    what: str
    """`embedded`: rebuilt in a directory of its own; `in place`: merged into running servers."""

    started_us: int = field(default_factory=lambda: time.time_ns() // 1000)
    ended_us: int = 0
    before: str = ""
    """Where the queue as it was is kept; empty if nothing was replaced."""

    journal_lines_unreadable: int = 0
    ballots: list[BallotReport] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        found = asdict(self)
        found["ballots"] = {
            each.pop("ballot"): {**each, "changed": report.changed}
            for each, report in zip(found["ballots"], self.ballots, strict=True)
        }
        return found

    def to_text(self) -> str:
        """A few lines for a person."""
        lines = [f"recovered ({self.what}):", *(f"  {each}" for each in self.why)]
        for each in self.ballots:
            if (
                each.changed
                or each.unconfirmed_count
                or each.unaccounted
                or each.unexplained
                or each.numbers_unproved
                or each.missing_batches
                or each.conflicts
            ):
                lines += _lines(each)
        lines += self.notes
        if self.journal_lines_unreadable:
            lines.append(f"{self.journal_lines_unreadable:,} lines of the edges' journals cannot be read")
        if self.before:
            lines.append(f"the queue as it was is kept in {self.before}; destroy it when the ballot is over")
        return "\n".join(lines)


def _lines(found: BallotReport) -> list[str]:
    known = (
        f"ballot {found.ballot}: {found.stored:,} stored, {found.held:,} in quarantine, "
        f"{found.waiting:,} in the queue and not stored yet"
    )
    restored = (
        f"  put back: {found.credentials_restored:,} codes, {found.credentials_revoked:,} revocations, "
        f"{found.marks_restored:,} voters' marks, {found.references_restored:,} references, "
        f"{found.returns_restored:,} returns, {found.releases_restored:,} releases"
    )
    lines = [known, restored]
    if found.unconfirmed:
        lines += _some(
            f"  {found.unconfirmed_count:,} references that edges gave out are not there any more: what "
            "their voters were told is recorded is lost. A reference does not tell who has voted again",
            found.unconfirmed,
        )
    if found.unconfirmed_before:
        lines.append(f"  {found.unconfirmed_before:,} more are not there; an earlier recovery has named them")
    if found.unaccounted:
        before = f", {found.unaccounted_before:,} of them named before" if found.unaccounted_before else ""
        what = f"  {found.unaccounted_count:,} numbers of acceptances that no vote has{before}"
        lines += _some(what, _ranges(found.unaccounted))
    lines += _some(
        "  numbers of acceptances that no vote has, in shards that have lost nothing: this recovery does not "
        "explain them, and `ballot check` goes on naming them",
        _ranges(found.unexplained),
    )
    if found.numbers_unproved:
        lines.append(
            f"  {found.numbers_unproved:,} votes that wait or are in quarantine have numbers beyond what is "
            "proved: that those before them were given is their writer's word alone"
        )
    if found.claimed:
        lines.append(
            f"  {sum(found.claimed.values()):,} of these references have numbers beyond what is proved: "
            "there is only the journals' word that they were given"
        )
    if found.journal_numbers_odd:
        lines.append(
            f"  {found.journal_numbers_odd:,} references in journals have numbers that cannot have been "
            "given: not believed"
        )
    if found.rest:
        lines.append(f"  too many to name here: the rest is in {found.rest['file']}")
    if found.missing_batches:
        told = ", ".join(map(str, found.missing_batches))
        lines.append(f"  the desk signed batches of the register that the voter database lacks: {told}")
    return lines + _some("  left as it is, because gate and record say different things", found.conflicts)


def _ranges(found: dict[str, list[Range]]) -> list[str]:
    return [
        f"shard {shard}: {first}" + (f" to {last}" if last > first else "")
        for shard, ranges in found.items()
        for first, last in ranges
    ]


def _some(what: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = [f"    and {len(names) - SHOWN_MAX:,} more, in the report"] if len(names) > SHOWN_MAX else []
    return [f"{what}:", *(f"    {each}" for each in names[:SHOWN_MAX]), *more]


async def record(database: asyncpg.Connection, report: Report) -> None:
    """Write the event; the books of every ballot are checked against it from now on."""
    detail = report.to_dict()
    await database.execute(
        "INSERT INTO ballot.events (ballot, kind, actor, detail) VALUES (NULL, $1, 'recovery', $2::jsonb)",
        EVENT,
        json.dumps(detail, sort_keys=True),
    )


def keep(home: Home, report: Report) -> Path:
    """Keep the report in the home, for its owner's eyes: it names references."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(report.started_us / 1e6))
    path = home.recovery / f"{stamp}-recovery.json"
    home_files.replace(path, json.dumps(report.to_dict(), indent=2, sort_keys=True) + "\n")
    return path
