"""`ballot drill`: the whole restore, tried out beside the living, checked there, and removed again.

(1) all three are restored into a home of the drill's own; (2) its servers start; (3) the gate learns what
voterdb knows, as in a real recovery; (4) a worker stores what waits; (5) `ballot check` looks at every
ballot. Only a drill whose checks end in no difference is a success.
"""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ballot.encoding import format_time
from ballot.handoff import RECOVERING_KEY
from ops.backup import drill_loss, restore_database, restore_queue
from ops.backup.catalogue import compact
from ops.backup.cluster import ClusterSource
from ops.backup.drill_scratch import WORK, environment, scratch_home
from ops.backup.keys import WHATS, What, read_private
from ops.backup.restore import backups_directory, ended_in_order, moment
from ops.backup.restore_cluster import Scratch
from ops.backup.restore_database import Wanted
from ops.backup.restore_home import data_of, now_us, put_in_place
from ops.backup.restore_source import Source
from ops.backup.restore_steps import Steps
from ops.pinned import pinned_key
from ops.recovery import record
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

COMMAND_WAIT_S: Final = 3600.0
SAID_BYTES_MAX: Final = 2000


@dataclass(slots=True)
class Drill:
    """One drill: what it restores from, its own home, and what it has found so far."""

    home: Home
    scratch: Home
    sources: dict[What, Source]
    wanted: Wanted
    signatures: bool
    steps: Steps = field(default_factory=Steps)
    checks: list[dict[str, Any]] = field(default_factory=list)

    def run(self) -> drill_loss.Holdings:
        """Steps 1 to 5; what the restored home holds."""
        for what in WHATS:
            if what in self.sources:
                self._restore(what)
        with ExitStack() as stack:
            with self.steps.step("start the restored servers"):
                running = stack.enter_context(servers(self.scratch, {}))
            ballots = self._merge(running)
            self._store()
            holdings = drill_loss.of(running)
            for ballot in ballots:
                self._check(ballot)
            return holdings

    def _restore(self, what: What) -> None:
        source, place = self.sources[what], self.scratch.path / WORK
        if what == "queue":
            entry = restore_queue.choose(source, at=self.wanted.at, base=None)
            restore_queue.rebuild(source, entry, place, self.steps, home=self.home)
            put_in_place(self.scratch, what, data_of(Home(place), what), now_us())
            restore_queue.remove(place)
            return
        chain = restore_database.plan(source, self.wanted)
        work = Scratch(place, what)
        restore_database.rebuild(source, self.wanted, work, self.steps, chain=chain)
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
            reports = await merge(client, connection, sources=given)
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

    def _check(self, ballot: str) -> None:
        options = ["--signatures"] if self.signatures else []
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
@click.option("--keep", is_flag=True, help="Leave the scratch home there, copies of the secrets included.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def drill(
    key_files: tuple[Path, ...],
    at_text: str | None,
    from_dir: Path | None,
    in_dir: Path | None,
    *,
    signatures: bool,
    keep: bool,
    as_json: bool,
) -> None:
    """Restore everything into a scratch place beside the living, check it there, and say what would be lost.

    Changes nothing. Exit 0 only when the restored books balance to the last vote.
    """
    home = Home.from_environment(os.environ)
    target, own = backups_directory(from_dir)
    sources = _sources(home, target, [read_private(path) for path in key_files], own=own)
    os.nice(NICE)
    began = now_us()
    with ended_in_order():
        living = drill_loss.of_the_living(home)
        with scratch_home(home, in_dir, keep=keep) as scratch:
            trial = Drill(home, scratch, sources, Wanted(moment(at_text)), signatures)
            holdings = trial.run()
        report = _report(trial, began, None if living is None else drill_loss.lost(living, holdings))
        report["kept"] = str(scratch.path) if keep else None
        _keep(home, report, began)
    click.echo(json.dumps(report, indent=1, sort_keys=True) if as_json else _as_text(trial, report))
    raise SystemExit(0 if report["differences"] == 0 else 1)


def _sources(home: Home, target: Path, keys: list[BackupKey], *, own: bool) -> dict[What, Source]:
    """Where each of the three is restored from, and the key that its newest backup was sealed to."""
    found: dict[What, Source] = {}
    for what in WHATS:
        if what == "queue" and not (target / what).is_dir():
            click.echo("There are no copies of the queue: the gate is rebuilt from voterdb alone.", err=True)
            continue
        entries = Source(home, what, target, keys[0], own=own).entries()
        if not entries:
            raise click.ClickException(f"There is no backup of {what} in {target}.")
        wanted = max(entries, key=lambda entry: (entry.started, entry.id)).key_id
        key = next((key for key in keys if key.key_id == wanted), None)
        if key is None:
            raise click.ClickException(
                f"The backups of {what} are sealed to the key {wanted}: give its private half with --key too."
            )
        found[what] = Source(home, what, target, key, own=own)
    return found


def _report(trial: Drill, began: int, lost: list[dict[str, Any]] | None) -> dict[str, Any]:
    return {
        "at": format_time(began),
        "asked": None if trial.wanted.at is None else format_time(trial.wanted.at, decimals=6),
        "steps": [step.as_json() for step in trial.steps.done],
        "seconds": round(trial.steps.seconds, 2),
        "checks": trial.checks,
        "differences": sum(check["differences"] for check in trial.checks),
        "lost": lost,
    }


def _keep(home: Home, report: dict[str, Any], began: int) -> None:
    """Keep the report, and write into the living audit log that there was a drill, if it can be reached."""
    path = home.recovery / f"{compact(began)}-drill.json"
    home_files.replace(path, json.dumps(report, indent=1, sort_keys=True) + "\n")
    report["report"] = str(path)
    if report["lost"] is None:
        return
    said = {name: report[name] for name in ("at", "asked", "seconds", "checks", "differences")}
    with servers(home) as running:
        ClusterSource(running, "voterdb").event("drill.performed", said)


def _as_text(trial: Drill, report: dict[str, Any]) -> str:
    lines = [trial.steps.as_text()]
    if report["lost"] is not None:
        lines.append(drill_loss.as_text(report["lost"]))
    for check in report["checks"]:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(check["counts"].items()))
        lines.append(
            f"{check['ballot']}: differences: {check['differences']}" + (f" ({kinds})" if kinds else "")
        )
    if report["kept"]:
        lines.append(f"Kept in {report['kept']}, copies of the secrets included: remove it when done.")
    return "\n".join([*lines, f"differences: {report['differences']}", f"Report: {report['report']}"])


def _last(said: bytes) -> str:
    lines = said[-SAID_BYTES_MAX:].decode("utf-8", "replace").strip().splitlines()
    return (lines or ["it said nothing"])[-1]
