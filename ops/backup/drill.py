"""`ballot drill`: the whole restore, tried out beside the living, checked there, and removed again.

(1) all three are restored into a home of the drill's own; (2) its servers start; (3) the gate learns what
voterdb knows, as in a real recovery; (4) a worker stores what waits; (5) `ballot check` looks at every
ballot. A drill is a success only if a ballot was checked, no check ends in a difference, all was compared
with the living (unless there are none: `--no-living`), every living ballot was restored, there are copies of
the queue, and no more would be lost than may be. Whatever else comes of it is written down as failed.
"""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import click
from redis.exceptions import RedisError

from ballot.encoding import format_time
from ballot.handoff import RECOVERING_KEY
from ops.backup import drill_loss, drill_receipts, drill_report, restore_database, restore_queue
from ops.backup.catalogue import compact
from ops.backup.cluster import ClusterSource
from ops.backup.drill_scratch import WORK, environment, scratch_home
from ops.backup.keys import WHATS, What, read_private
from ops.backup.restore import backups_directory, ended_in_order, moment, time_or_none
from ops.backup.restore_cluster import Scratch
from ops.backup.restore_database import Wanted
from ops.backup.restore_home import data_of, now_us, put_in_place
from ops.backup.restore_source import Source
from ops.backup.restore_steps import Steps
from ops.pinned import pinned_key
from ops.recovery import fence, record
from ops.recovery.merge import Sources, merge
from ops.supervisor import ballot_command, tethered
from runtime import home as home_files
from runtime import postgres, valkey
from runtime.addresses import ADMIN
from runtime.home import Home
from runtime.lifecycle import run_async
from runtime.servers import Servers, servers

if TYPE_CHECKING:
    from ops.backup.opening import BackupKey

NICE: Final = 10
"""The living go first."""

SETTLED_US: Final = 5 * 60_000_000
"""A vote that was accepted longer ago than that is in every backup, if backups are what they should be."""

COMMAND_WAIT_S: Final = 3600.0
SAID_BYTES_MAX: Final = 2000


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of a drill: the moment, what is checked, and how many votes of a ballot may be lost."""

    wanted: Wanted
    signatures: bool
    receipts: Path | None
    attempts: Path | None
    lost_max: int | None


@dataclass(slots=True)
class Drill:
    """One drill: what it restores from, its own home, and what it has found so far."""

    home: Home
    scratch: Home
    sources: dict[What, Source]
    asked: Asked
    settled_us: int
    queue_us: int | None = None
    """When the copy of the queue was begun that was restored."""
    steps: Steps = field(default_factory=Steps)
    restored: dict[str, Any] = field(default_factory=dict)
    checks: list[dict[str, Any]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def run(self) -> drill_loss.Held:
        """Steps 1 to 5; what the restored home holds."""
        for what in WHATS:
            if what in self.sources:
                self._restore(what)
        with ExitStack() as stack:
            with self.steps.step("start the restored servers"):
                running = stack.enter_context(servers(self.scratch, {}))
            ballots = self._merge(running)
            self._store()
            held = drill_loss.of(running, self.settled_us)
            self._check_all(ballots)
            return held

    def _restore(self, what: What) -> None:
        source, place = self.sources[what], self.scratch.path / WORK
        if what == "queue":
            entry = restore_queue.choose(source, at=self.asked.wanted.at, base=None)
            self.queue_us = entry.started
            restore_queue.rebuild(source, entry, place, self.steps, home=self.home)
            put_in_place(self.scratch, what, data_of(Home(place), what), now_us())
            restore_queue.remove(place)
            self.restored[what] = {"last_transaction": format_time(entry.started), "reached": True}
            return
        chain = restore_database.plan(source, self.asked.wanted)
        work = Scratch(place, what)
        made = restore_database.rebuild(source, self.asked.wanted, work, self.steps, chain=chain)
        self.restored[what] = {"last_transaction": time_or_none(made.last_us), "reached": made.reached}
        restore_database.take_over(work, self.scratch, "drill", {"drill": True})
        put_in_place(self.scratch, what, work.server.data, now_us())
        work.remove()

    def _merge(self, running: Servers) -> list[str]:
        """Step 3, with the latch that keeps workers away until it is done."""
        with self.steps.step("merge voterdb into the gate") as step, valkey.plainly():
            reports = run_async(lambda: self._merge_all(running))
            restored = sum(each.marks_restored + each.credentials_restored for each in reports)
            conflicts = sum(len(each.conflicts) for each in reports)
            step.note = f"{len(reports)} ballots, {restored} marks and codes put back, {conflicts} conflicts"
        return sorted(each.ballot for each in reports)

    async def _merge_all(self, running: Servers) -> list[Any]:
        client: Any = valkey.connect(running, ADMIN, timeout_s=60.0)
        connection = await postgres.connect(running, "voterdb", record.ROLE)
        try:
            await client.set(RECOVERING_KEY, b"drill")
            given = Sources(
                desk_public=pinned_key(self.scratch.public_key_file), roots=self.scratch.desk / "roots"
            )
            async with fence.raised(client, connection):
                reports = await merge(client, connection, sources=given, jump=False)
            await client.delete(RECOVERING_KEY)
            return reports
        finally:
            await client.aclose()
            await connection.close()

    def _store(self) -> None:
        with self.steps.step("store what waits in the queue"):
            done = self._ballot("worker", "--until-drained")
            if done.returncode != 0:
                raise click.ClickException(f"The worker in the restored home failed: {_last(done.stderr)}")

    def _check_all(self, ballots: list[str]) -> None:
        folder = self.scratch.path
        receipts = drill_receipts.by_ballot(self.asked.receipts, folder, "receipts")
        attempts = drill_receipts.by_ballot(self.asked.attempts, folder, "attempts")
        for ballot in ballots:
            options = ["--signatures"] if self.asked.signatures else []
            options += ["--receipts", str(receipts[ballot])] if ballot in receipts else []
            options += ["--attempts", str(attempts[ballot])] if ballot in attempts else []
            self._check(ballot, options)
        if not ballots:
            self.faults.append("No ballot was restored, so that nothing was checked.")
        given = ("Receipts", self.asked.receipts, receipts), ("Attempts", self.asked.attempts, attempts)
        for kind, file, found in given:
            if file is not None and not found:
                self.faults.append(f"{kind} were given, and there are none in {file.name}.")
            self.faults += [
                f"{kind} of the ballot {ballot} were given, and it was not restored."
                for ballot in sorted(found.keys() - {*ballots})
            ]

    def _check(self, ballot: str, options: list[str]) -> None:
        with self.steps.step(f"check {ballot}") as step:
            done = self._ballot("check", ballot, *options, "--json")
            try:
                found = json.loads(done.stdout)
                differences = int(found["differences"])
            except (ValueError, KeyError, TypeError):
                raise click.ClickException(
                    f"`ballot check {ballot}` failed in the restored home: {_last(done.stderr)}"
                ) from None
            step.note = f"differences: {differences}"
        counts = {kind: count for kind, count in found["counts"].items() if count}
        self.checks.append({"ballot": ballot, "differences": differences, "counts": counts})
        if differences:
            self.faults.append(f"{ballot}: the restored books have {differences} differences.")

    def _ballot(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """Run one of our commands in the restored home; it ends when we do."""
        return subprocess.run(
            tethered(ballot_command(*arguments)),
            env=environment(self.scratch),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=COMMAND_WAIT_S,
        )


@click.command("drill")
@click.option(
    "--key",
    "key_files",
    required=True,
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The private half of a backup key; once for each of the three.",
)
@click.option(
    "--at", "at_text", help="The moment to go back to, such as 2025-07-01T09:00:00Z; else the newest."
)
@click.option(
    "--from",
    "from_dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The directory with the backups, if not BALLOT_BACKUP.",
)
@click.option(
    "--in",
    "in_dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the scratch home is made; default: in BALLOT_HOME.",
)
@click.option("--signatures", is_flag=True, help="Also verify every signature, as `ballot check` does.")
@click.option(
    "--receipts",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Receipts that voters hold, of all ballots, one JSON object a line: each must have its vote.",
)
@click.option(
    "--attempts",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Every vote that voters say they sent, of all ballots, as for `ballot check`.",
)
@click.option(
    "--lost-max",
    type=click.IntRange(min=0),
    help="Fail if more accepted votes of a ballot would be lost; default: any stored one that was accepted "
    "more than 5 minutes before the drill, or before --at.",
)
@click.option(
    "--no-living",
    is_flag=True,
    help="Compare nothing with the living servers, because there are none any more.",
)
@click.option("--keep", is_flag=True, help="Leave the scratch home there, copies of the secrets included.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def drill(
    key_files: tuple[Path, ...],
    at_text: str | None,
    from_dir: Path | None,
    in_dir: Path | None,
    *,
    receipts: Path | None,
    attempts: Path | None,
    lost_max: int | None,
    signatures: bool,
    no_living: bool,
    keep: bool,
    as_json: bool,
) -> None:
    """Restore everything into a scratch place beside the living, check it there, and say what would be lost.

    Changes nothing. Exit 0 only when the restored books balance to the last vote, every living ballot is
    there, and no more would be lost than may be.
    """
    if no_living and lost_max is not None:
        raise click.UsageError(
            "--lost-max counts what the living servers have: it goes not with --no-living."
        )
    home = Home.from_environment(os.environ)
    target, own = backups_directory(from_dir)
    keys = [read_private(path) for path in key_files]
    asked = Asked(Wanted(moment(at_text)), signatures, receipts, attempts, lost_max)
    os.nice(NICE)
    began = now_us()
    settled_us = min(began, asked.wanted.at or began) - SETTLED_US
    with ended_in_order():
        living = None if no_living else drill_loss.of_the_living(home, settled_us)
        try:
            sources = _sources(home, target, keys, own=own)
            with scratch_home(home, in_dir, keep=keep) as scratch:
                trial = Drill(home, scratch, sources, asked, settled_us)
                held = trial.run()
        except BaseException as error:
            _keep_failed(home, began, error, reachable=living is not None)
            raise
        trial.faults += [] if no_living else drill_report.compared(trial, living, held)
        trial.faults += drill_report.queue_faults(trial, began, own=own)
        report = drill_report.of(trial, began, living, held)
        report["kept"] = str(scratch.path) if keep else None
        _keep(home, report, began)
    click.echo(
        json.dumps(report, indent=1, sort_keys=True) if as_json else drill_report.as_text(trial, report)
    )
    raise SystemExit(0 if not report["faults"] else 1)


def _sources(home: Home, target: Path, keys: list[BackupKey], *, own: bool) -> dict[What, Source]:
    """Where each of the three is restored from; the key of its newest backup must be among `keys`."""
    found: dict[What, Source] = {}
    for what in WHATS:
        if what == "queue" and not (target / what).is_dir():
            click.echo("There are no copies of the queue: the gate is rebuilt from voterdb alone.", err=True)
            continue
        found[what] = Source(home, what, target, keys, own=own)
        entries = found[what].entries()
        if not entries:
            raise click.ClickException(f"There is no backup of {what} in {target}.")
        wanted = max(entries, key=lambda entry: (entry.started, entry.id)).key_id
        if wanted not in {key.key_id for key in keys}:
            raise click.ClickException(
                f"The backups of {what} are sealed to the key {wanted}: give its private half with --key too."
            )
    return found


def _keep(home: Home, report: dict[str, Any], began: int) -> None:
    """Keep the report, and write into the living audit log that there was a drill, if it can be reached."""
    path = home.recovery / f"{compact(began)}-drill.json"
    home_files.replace(path, json.dumps(report, indent=1, sort_keys=True) + "\n")
    report["report"] = str(path)
    if report["lost"] is None:
        return
    said = {name: report[name] for name in ("at", "asked", "seconds", "checks", "differences", "faults")}
    said["lost"] = {row["ballot"]: row["lost"] for row in report["lost"]}
    with servers(home) as running:
        kind = "drill.failed" if report["faults"] else "drill.performed"
        ClusterSource(running, "voterdb").event(kind, said)


def _keep_failed(home: Home, began: int, error: BaseException, *, reachable: bool) -> None:
    """Keep what a drill died of, as far as that can be; its own error is not to be hidden by another."""
    why = error.message if isinstance(error, click.ClickException) else f"ended by {type(error).__name__}"
    report: dict[str, object] = {"at": format_time(began), "faults": [why]}
    with suppress(click.ClickException, OSError, RedisError, asyncpg.PostgresError):
        path = home.recovery / f"{compact(began)}-drill.json"
        home_files.replace(path, json.dumps(report, indent=1, sort_keys=True) + "\n")
        if reachable:
            with servers(home) as running:
                ClusterSource(running, "voterdb").event("drill.failed", report)


def _last(said: bytes) -> str:
    lines = said[-SAID_BYTES_MAX:].decode("utf-8", "replace").strip().splitlines()
    return (lines or ["it said nothing"])[-1]
