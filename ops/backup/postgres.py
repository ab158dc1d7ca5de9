"""Base backups of a cluster, full or incremental, streamed from the server straight through the sealing.

Nothing of them is in clear on any disk. Read back and proven while the data key is still in memory, only
then listed. An incremental that cannot be made, for whatever reason, becomes a full one, and that is said.
"""

from __future__ import annotations

import json
import re
import select
import subprocess
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import click

from ballot.encoding import format_time
from ops.backup.catalogue import BASE_KINDS, Entry, backup_id
from ops.backup.place import STOPPED, BackupFailed, Draft, Place
from ops.backup.restore_chain import restores
from ops.backup.verify import prove_base
from ops.supervisor import tethered
from runtime import home as home_files
from runtime import logs
from runtime.clock import SystemClock
from runtime.postgres_server import program

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import IO

    from ops.backup.catalogue import Catalogue, Kind
    from ops.backup.cluster import ClusterSource
    from ops.backup.verify import Manifest
    from runtime.home import Home

BLOCK_BYTES: Final = 1 << 20
SILENCE_MAX_S: Final = 3600.0
"""A checkpoint that is spread over minutes, half an hour on some servers, says nothing meanwhile."""
POLL_S: Final = 0.5
STOP_WAIT_S: Final = 10.0
SAID_LINES: Final = 20
PERCENT: Final = re.compile(rb"\((\d+)%\)")
COVERED: Final = "voterdb.covered.json"
log = logs.get("backup")


@dataclass(frozen=True, slots=True)
class Manner:
    """How a base backup is made: at once or gently, who sees how far it is, and who may stop it."""

    at_once: bool = True
    progress: Callable[[int], None] = lambda _percent: None
    say: Callable[[str], None] = lambda _sentence: None
    stopped: Callable[[], bool] = lambda: False


def back_up(place: Place, source: ClusterSource, *, full: bool, manner: Manner | None = None) -> Entry:
    """Make, prove and list a base backup; the place is held alone. BackupFailed if there is none."""
    manner = manner or Manner()
    place.check()
    source.check()
    parent = None if full else parent_of(place)
    if not full and parent is None:
        manner.say(f"There is no {place.what} backup to add to: a full one is made.")
    if parent is not None:
        try:
            return _make(place, source, "incremental", parent, manner)
        except ToolFailed as error:
            log.warning("incremental_not_possible", what=place.what, parent=parent.id, error=error)
            manner.say(
                f"An incremental backup of {place.what} is not possible: {error.message} A full one is made."
            )
    return _make(place, source, "full", None, manner)


class ToolFailed(BackupFailed):
    """pg_basebackup ended without a backup, for its own reasons."""


def parent_of(place: Place) -> Entry | None:
    """What the next incremental adds to: a proven backup whose files and list are there; nothing if none is.

    Of the backups since the last full one, n of them, the next adds to number n & (n - 1). So no chain is
    longer than the number of bits of n, and each change is copied that often at most, too.
    """
    entries = place.catalogue.own()
    fulls = [entry for entry in entries if entry.kind == "full" and entry.usable]
    if not fulls:
        return None
    series: list[Entry] = []
    for entry in entries:
        begins = entry.id == fulls[-1].id
        adds = entry.kind == "incremental" and any(entry.parent == before.id for before in series)
        if (begins or adds) and _may_be_added_to(place, entry):
            series.append(entry)
    return series[len(series) & (len(series) - 1)] if series else None


def _may_be_added_to(place: Place, entry: Entry) -> bool:
    return (
        entry.usable
        and entry.key_id == place.public.id
        and place.manifest(entry.id).is_file()
        and place.holds(entry.file, entry.bytes)
    )


def _make(place: Place, source: ClusterSource, kind: Kind, parent: Entry | None, manner: Manner) -> Entry:
    covers = source.marks()
    began = SystemClock().now_us()
    name = free_id(place, kind, began)
    with Draft(place, kind=kind, backup_id=name) as draft:
        command = [
            *(program("pg_basebackup"), *source.arguments),
            *("--pgdata=-", "--format=tar", "--wal-method=fetch", "--manifest-checksums=SHA256"),
            *("--progress", f"--checkpoint={'fast' if manner.at_once else 'spread'}"),
            *(() if parent is None else (f"--incremental={place.manifest(parent.id)}",)),
        ]
        _stream(command, source.environment, draft, manner)
        draft.finish()
        manifest = draft.prove(prove_base, stopped=manner.stopped)
        made = Entry(
            id=name,
            kind=kind,
            file=draft.file,
            bytes=draft.size,
            sha256=draft.sha256,
            key_id=place.public.id,
            started=began,
            ended=SystemClock().now_us(),
            parent=None if parent is None else parent.id,
            start_lsn=manifest.start_lsn,
            end_lsn=manifest.end_lsn,
            timeline=manifest.timeline,
            covers=covers,
        )
        _keep_manifest(place, name, manifest)
        publish(place, draft, made)
    return listed(place, made)


def publish(place: Place, draft: Draft, made: Entry) -> None:
    """Give it its name and list it, or take it away again: none is tried anew for a while then.

    Who is killed in between leaves a file that retention deletes in time.
    """
    draft.publish()
    try:
        place.catalogue.made(made)
    except (OSError, click.ClickException) as error:
        draft.withdraw()
        with suppress(OSError, click.ClickException):  # it may stand there all the same
            place.catalogue.append("deleted", made.id, SystemClock().now_us())
        reason = error.message if isinstance(error, click.ClickException) else f"{error.strerror}."
        raise BackupFailed(
            f"The list of backups in {place.home.backup} cannot be written: {reason}"
        ) from error


def listed(place: Place, made: Entry) -> Entry:
    """Put into the catalogue that a backup was just proven."""
    now = SystemClock().now_us()
    place.catalogue.append("verified", made.id, now, ok=True, how="content")
    note_covered(place.home, place.catalogue)
    return replace(made, verified=True, verified_at=now)


def note_covered(home: Home, catalogue: Catalogue) -> None:
    """Tell whoever trims the queue up to where the voter database is in the newest proven backup.

    One that adds to a backup found faulty since does not count, nor one of a time that a restore gave up, nor
    one that only the list beside the backups knows: whoever holds the target would have votes trimmed by it.
    Where none is left, nothing is covered.
    """
    if catalogue.what != "voterdb":
        return
    note = home.backup / COVERED
    restored = max((each.at for each in restores(catalogue.own_facts())), default=0)
    bases = [
        entry
        for entry in catalogue.own()
        if entry.kind in BASE_KINDS and entry.usable and entry.started >= restored
    ]
    whole = (entry for entry in reversed(bases) if _is_whole(catalogue.chain(entry.id)))
    newest = next(whole, None)
    if newest is None:
        note.unlink(missing_ok=True)
        return
    marks = [{"ballot": m.ballot, "shard": m.shard, "side": m.side, "entry": m.entry} for m in newest.covers]
    verified_at = format_time(newest.verified_at or newest.ended, decimals=6)
    told = {"backup": newest.id, "verified_at": verified_at, "marks": marks}
    home_files.replace(note, json.dumps(told, indent=1) + "\n")


def _is_whole(chain: Sequence[Entry]) -> bool:
    return bool(chain) and all(entry.usable for entry in chain)


def free_id(place: Place, kind: str, now_us: int) -> str:
    """An id that no backup has: one of the same kind and second takes the next second's."""
    taken = {entry.id for entry in place.catalogue.entries()}
    while (name := backup_id(kind, now_us)) in taken or place.holds_any(name):
        now_us += 1_000_000
    return name


def _keep_manifest(place: Place, name: str, manifest: Manifest) -> None:
    place.manifests.mkdir(mode=0o700, exist_ok=True)
    home_files.replace(place.manifest(name), manifest.text.decode("utf-8", "surrogateescape"))


def _stream(command: list[str], environment: dict[str, str], draft: Draft, manner: Manner) -> None:
    """Run pg_basebackup into the draft; it is ended when we are, or when it says nothing for too long."""
    child = subprocess.Popen(
        tethered(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    said: deque[str] = deque(maxlen=SAID_LINES)
    listener = threading.Thread(target=_listen, args=(child.stderr, said, manner.progress), daemon=True)
    listener.start()
    try:
        _copy(child, draft, manner)
        code = child.wait(STOP_WAIT_S)
    except subprocess.TimeoutExpired as error:
        raise ToolFailed("pg_basebackup does not end.") from error
    finally:
        end(child)
        listener.join(STOP_WAIT_S)
    if code != 0:
        raise ToolFailed(_reason(said))


def _copy(child: subprocess.Popen[bytes], draft: Draft, manner: Manner) -> None:
    out = child.stdout
    if out is None:
        raise RuntimeError("the child was started without a pipe")
    heard = time.monotonic()
    while True:
        if manner.stopped():
            raise BackupFailed(STOPPED)
        if select.select([out], [], [], POLL_S)[0]:
            block = out.read1(BLOCK_BYTES)  # type: ignore[attr-defined]  # a buffered reader
            if not block:
                return
            draft.write(block)
            heard = time.monotonic()
        elif time.monotonic() - heard > SILENCE_MAX_S:
            raise ToolFailed(f"pg_basebackup has said nothing for {SILENCE_MAX_S / 60:.0f} minutes.")


def _listen(errors: IO[bytes] | None, said: deque[str], progress: Callable[[int], None]) -> None:
    for line in errors or ():
        percent = PERCENT.search(line)
        if percent is not None:
            progress(int(percent[1]))
        else:
            said.append(line.decode("utf-8", "replace").strip())


def end(child: subprocess.Popen[bytes]) -> None:
    """End a child, kindly first."""
    if child.poll() is None:
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(STOP_WAIT_S)
    if child.poll() is None:
        child.kill()
        child.wait(STOP_WAIT_S)
    for pipe in (child.stdout,):
        if pipe is not None:
            pipe.close()


def _reason(said: Sequence[str]) -> str:
    """The line that most likely says why, cut to a bearable length."""
    faults = [line for line in said if "error:" in line or "ERROR" in line or "FATAL" in line]
    line = (faults or list(said) or ["no reason given"])[0]
    return line.removeprefix("pg_basebackup: ")[:300].rstrip(".") + "."
