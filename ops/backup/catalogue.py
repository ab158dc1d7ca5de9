"""The list of backups: a line a fact, only ever added to, in the home and again beside the backups.

What was made, proven, missed, deleted, restored. The home's list is believed first: whoever holds the
target alone cannot tell it that a backup is gone or sound. What the home has never heard of is taken from
the copy to be shown, verified and restored, so that a home that was lost can restore; what is due, added to,
deleted or covered is judged by the home's own list alone (`own`). A line that a crash cut is passed over.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import click
import orjson

from ballot.encoding import canonical_json, format_time, parse_time
from ops.backup import marker
from ops.private import private
from runtime import home as home_files
from runtime import locks, logs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from ops.backup.keys import What
    from runtime.home import Home

log = logs.get("backup")

Kind = Literal["full", "incremental", "wal", "queue"]
KINDS: Final[tuple[Kind, ...]] = ("full", "incremental", "wal", "queue")
BASE_KINDS: Final = frozenset({"full", "incremental"})
ID: Final = re.compile(r"\d{8}T\d{6}Z-(full|incremental|queue|wal-[0-9A-F]{8}(?:[0-9A-F]{16}|\.history))")
ENDING: Final = ".sealed"
CHAIN_MAX: Final = 64
LIST_BYTES_MAX: Final = 1 << 30
LINE_BYTES_MAX: Final = 64 << 20
"""A line holds the marks of every shard of every ballot."""
LOCK_WAIT_S: Final = 30.0
REST_S: Final = 5.0
REST_MAX_S: Final = 60.0
FAULTS_MAX: Final = 10


@dataclass(frozen=True, slots=True)
class Covered:
    """How far one side of one shard had come when the backup began: all up to `entry` is in it."""

    ballot: str
    shard: int
    side: str
    entry: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One backup and what has become of it. Times are microseconds since the epoch."""

    id: str
    kind: Kind
    file: str
    bytes: int
    sha256: str
    key_id: str
    started: int
    ended: int
    parent: str | None = None
    """The backup that an incremental adds to."""
    start_lsn: str | None = None
    end_lsn: str | None = None
    timeline: int | None = None
    segment: str | None = None
    """The WAL segment's (or timeline history's) own name."""
    content_sha256: str | None = None
    """Of a WAL segment, before it was compressed and sealed: the same one is not kept twice."""
    covers: tuple[Covered, ...] = ()
    verified: bool | None = None
    """The last verification's verdict; nothing when it was never looked at."""
    verified_at: int | None = None
    deleted: bool = False
    missing: bool = False
    """Not found where it should be, by the last look; that is no verdict on what is in it."""

    @property
    def proven(self) -> bool:
        """Whether it was proven readable, wherever it may be now."""
        return self.verified is True and not self.deleted

    @property
    def usable(self) -> bool:
        """Whether it is there and was proven readable."""
        return self.proven and not self.missing


def backup_id(kind: str, now_us: int) -> str:
    """The id of a backup begun at `now_us`."""
    return f"{compact(now_us)}-{kind}"


def compact(now_us: int) -> str:
    """A moment as it stands in file names: 20250701T090000Z."""
    return datetime.fromtimestamp(now_us // 1_000_000, UTC).strftime("%Y%m%dT%H%M%SZ")


class Catalogue:
    """The facts about the backups of `what`, kept in `home` and, when there is a `target`, beside them."""

    def __init__(self, home: Home, what: What, target: Path | None) -> None:
        self.what: Final = what
        self.target: Final = target
        self.folder: Final = None if target is None else target / what
        self._home = home
        self._faults = 0
        self._rests_until = 0.0
        self._home_file = home.backup / f"{what}.catalogue.jsonl"
        self._lock = home.backup / f"{what}.catalogue.lock"
        self._copy_lock = home.backup / f"{what}.catalogue-copy.lock"
        self._copy = None if self.folder is None else self.folder / "catalogue.jsonl"

    @property
    def at_its_target(self) -> bool:
        """Whether the target is there and is this home's; not if that cannot be told just now."""
        try:
            return self.target is not None and marker.is_ours(self._home, self.target)
        except OSError:
            return False

    @property
    def is_anothers(self) -> bool:
        """Whether this home has a target, and what is there is not it."""
        return self.target is not None and marker.is_anothers(self._home, self.target)

    @property
    def rests(self) -> bool:
        """Whether the list could not be written a moment ago: what would only be made in vain waits."""
        return time.monotonic() < self._rests_until

    def own_facts(self) -> list[dict[str, Any]]:
        """The facts of the home's own list, oldest first."""
        return list(_facts(self._home_file))

    def own(self) -> tuple[Entry, ...]:
        """Every backup that this home made, as its own list tells, in the order they were begun."""
        return self._told(self.own_facts())

    def facts(self) -> list[dict[str, Any]]:
        """Every fact, oldest first: the home's, and of what the home never made, the copy's."""
        own = self.own_facts()
        foreign = self._foreign(own)
        return foreign + [fact for fact in own if fact not in foreign] if foreign else own

    def _foreign(self, own: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """What the copy says of backups that the home has not made."""
        known = {fact["id"] for fact in own if fact["fact"] == "made"}
        return [fact for fact in self._copied() if fact["id"] not in known]

    def entries(self) -> tuple[Entry, ...]:
        """Every backup ever listed, deleted ones and those of the copy too, in the order they were begun."""
        own = self.own_facts()
        return self._told([*self._foreign(own), *own])

    def _told(self, facts: Sequence[Mapping[str, Any]]) -> tuple[Entry, ...]:
        found: dict[str, Entry] = {}
        for fact in facts:
            try:
                _apply(found, fact)
            except (KeyError, TypeError, ValueError):
                log.warning("catalogue_line_unreadable", what=self.what, id=fact["id"])
        return tuple(sorted(found.values(), key=lambda entry: (entry.started, entry.id)))

    def _copied(self) -> Iterator[dict[str, Any]]:
        """The copy's facts, unless it is as long as the home's list: then it says the same."""
        if self._copy is None or _size(self._copy) == _size(self._home_file):
            return
        try:
            yield from _facts(self._copy)
        except OSError as error:
            log.warning("catalogue_copy_unreadable", what=self.what, reason=error.strerror)

    def append(self, fact: str, backup: str, now_us: int, **details: object) -> None:
        """Add one fact: on disk in the home when this returns; in the copy too, or with the next that is."""
        line = canonical_json({"fact": fact, "id": backup, "at": format_time(now_us, decimals=6), **details})
        with locks.exclusive(self._lock, wait_s=LOCK_WAIT_S):
            _add(self._home_file, [line])
        self._bring_copy_up(line)

    def made(self, entry: Entry) -> None:
        """Add that a backup was made: whole and on disk, not yet proven."""
        try:
            self._add_made(entry)
        except (OSError, click.ClickException):
            self._rests_until = time.monotonic() + min(REST_S * 2.0**self._faults, REST_MAX_S)
            self._faults = min(self._faults + 1, FAULTS_MAX)
            raise
        self._faults, self._rests_until = 0, 0.0

    def _add_made(self, entry: Entry) -> None:
        optional = {
            "parent": entry.parent,
            "start_lsn": entry.start_lsn,
            "end_lsn": entry.end_lsn,
            "timeline": entry.timeline,
            "segment": entry.segment,
            "content_sha256": entry.content_sha256,
            "covers": [[each.ballot, each.shard, each.side, each.entry] for each in entry.covers] or None,
        }
        self.append(
            "made",
            entry.id,
            entry.ended,
            kind=entry.kind,
            file=entry.file,
            bytes=entry.bytes,
            sha256=entry.sha256,
            key_id=entry.key_id,
            started=format_time(entry.started, decimals=6),
            **{name: value for name, value in optional.items() if value is not None},
        )

    def chain(self, backup: str) -> tuple[Entry, ...]:
        """The home's own full backup and incrementals, in order, that make up `backup`; or none."""
        by_id = {entry.id: entry for entry in self.own()}
        found: list[Entry] = []
        named: str | None = backup
        while named is not None:
            entry = by_id.get(named)
            if entry is None or len(found) == CHAIN_MAX:
                return ()
            found.append(entry)
            named = entry.parent
        return tuple(reversed(found)) if found[-1].kind == "full" else ()

    def forget(self, backups: frozenset[str]) -> None:
        """Leave out every line about `backups`, which were deleted long ago, so that the list stays short."""
        with locks.exclusive(self._lock, wait_s=LOCK_WAIT_S):
            _leave_out(self._home_file, backups)
        if self._copy is not None and self.at_its_target:
            with locks.exclusive(self._copy_lock, wait_s=LOCK_WAIT_S):
                _leave_out(self._copy, backups)

    def _bring_copy_up(self, line: bytes) -> None:
        """Add to the copy what it lacks, which may be only `line`; a target that is away waits.

        Under a lock of its own: a target that hangs must keep nobody from the home's list.
        """
        if self._copy is None:
            return
        if not self.at_its_target:
            reason = "the target is away, or not this home's"
            log.warning("catalogue_not_copied", what=self.what, reason=reason)
            return
        try:
            with locks.exclusive(self._copy_lock, wait_s=LOCK_WAIT_S):
                self._copy.parent.mkdir(mode=0o700, exist_ok=True)
                lacks = _size(self._home_file) - _size(self._copy)
                if lacks == len(line) + 1 and _ends_with(self._home_file, line):
                    _add(self._copy, [line])
                elif lacks != 0:
                    there = set(_lines(self._copy))
                    missing = [each for each in _lines(self._home_file) if each not in there]
                    if missing:
                        _add(self._copy, missing)
        except OSError as error:
            log.warning("catalogue_not_copied", what=self.what, reason=error.strerror)
        except click.ClickException as error:
            log.warning("catalogue_not_copied", what=self.what, reason=error.message)


def _apply(found: dict[str, Entry], fact: Mapping[str, Any]) -> None:
    name, at = fact["id"], parse_time(fact["at"])
    if fact["fact"] == "made":
        found[name] = _entry(fact, ended=at)
    elif name not in found:
        return
    elif fact["fact"] == "verified":
        found[name] = replace(found[name], verified=fact["ok"] is True, verified_at=at, missing=False)
    elif fact["fact"] in {"missing", "found"}:
        found[name] = replace(found[name], missing=fact["fact"] == "missing")
    elif fact["fact"] == "deleted":
        found[name] = replace(found[name], deleted=True)


def _entry(fact: Mapping[str, Any], *, ended: int) -> Entry:
    if not ID.fullmatch(fact["id"]) or fact["kind"] not in KINDS or fact["file"] != fact["id"] + ENDING:
        raise ValueError("no backup of ours")  # never a path of somebody else's choosing
    return Entry(
        id=fact["id"],
        kind=fact["kind"],
        file=fact["file"],
        bytes=int(fact["bytes"]),
        sha256=str(fact["sha256"]),
        key_id=str(fact["key_id"]),
        started=parse_time(fact["started"]),
        ended=ended,
        parent=fact.get("parent"),
        start_lsn=fact.get("start_lsn"),
        end_lsn=fact.get("end_lsn"),
        timeline=fact.get("timeline"),
        segment=fact.get("segment"),
        content_sha256=fact.get("content_sha256"),
        covers=tuple(Covered(*each) for each in fact.get("covers", ())),
    )


def _tells_of(fact: Mapping[str, Any] | None, backups: frozenset[str]) -> bool:
    """Whether a line is about one of `backups`; what was restored once is never forgotten."""
    return fact is not None and fact["id"] in backups and fact["fact"] != "restored"


def _fact(line: bytes) -> dict[str, Any] | None:
    try:
        fact = orjson.loads(line)
        if all(isinstance(fact[name], str) for name in ("fact", "id", "at")):
            return dict(fact)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        pass
    return None


def _facts(path: Path) -> Iterator[dict[str, Any]]:
    return (fact for line in _lines(path) if (fact := _fact(line)) is not None)


def _lines(path: Path) -> Iterator[bytes]:
    """The whole lines of a file; none if it is not there. What is no file of ours is not read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > LIST_BYTES_MAX:
            raise OSError(errno.EINVAL, "it is no list of backups")
        while (line := file.readline(LINE_BYTES_MAX)).endswith(b"\n"):
            if len(line) > 1:
                yield line[:-1]


def _add(path: Path, lines: list[bytes]) -> None:
    """Write lines in one call and make sure that they are on disk; a torn line before them is ended first."""
    descriptor = private(path, os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        size = os.fstat(descriptor).st_size
        torn = size > 0 and _last_byte(path) != b"\n"
        data = (b"\n" if torn else b"") + b"".join(line + b"\n" for line in lines)
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _leave_out(path: Path, backups: frozenset[str]) -> None:
    if path.exists():
        kept = [line for line in _lines(path) if not _tells_of(_fact(line), backups)]
        home_files.replace(path, "".join(line.decode("utf-8", "replace") + "\n" for line in kept))


def _ends_with(path: Path, line: bytes) -> bool:
    """Whether `line` is the last one."""
    with path.open("rb") as file:
        file.seek(-len(line) - 1, os.SEEK_END)
        return file.read() == line + b"\n"


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)
