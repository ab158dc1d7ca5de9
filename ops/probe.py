"""The standing probe ballot: made with the desk's own commands, topped up as its codes are used.

Its key shares are thrown away once the ceremony has rehearsed them: probe votes prove that votes are taken
and stored, and are never counted. Every step can be run again, so a kill anywhere is finished by the next
run.
"""

from __future__ import annotations

import csv
import fcntl
import json
import os
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING

import click

from ops.backoff import POLL_SECONDS
from ops.monitor.codes import CODES_BATCH, CODES_LEFT_MIN, code_files, codes_left
from ops.monitor.journal import write_durably
from ops.monitor.voter import PROBE_BALLOT
from ops.private import private
from ops.supervisor import STOP_SECONDS, ballot_command, tethered
from runtime.home import Home

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFINITION = Path(__file__).parent / "monitor" / "probe.toml"
ROLL_COLUMNS = ("member_id", "name", "email", "mobile", "address")
COMMAND_SECONDS = 600
OPENED = "opened"
SHARDS = "shards"
CHECK_SECONDS = 30.0
NICENESS = 10


@click.group()
def probe() -> None:
    """Prepare the standing ballot that the availability monitor votes on."""


@probe.command()
@click.option(
    "--codes",
    "count",
    default=CODES_BATCH,
    show_default=True,
    type=click.IntRange(1, 20_000),
    help="Codes a batch.",
)
@click.option("--shards", default="1", show_default=True, type=click.Choice(["1", "2", "4", "8", "16", "32"]))
def prepare(count: int, shards: str) -> None:
    """Make the probe ballot, or give it new codes when few are left; finishes what an earlier run began.

    Its key shares are discarded after their rehearsal: probe votes are never counted.
    """
    home = Home.from_environment(os.environ)
    with _alone(home.monitor):
        if not (home.monitor / OPENED).exists():
            _make(home.monitor, count=count, shards=shards)
            click.echo("the probe ballot is open; its key shares were discarded, its votes are never counted")
        elif _unfinished(home.monitor) or codes_left(home.monitor) < CODES_LEFT_MIN:
            _issue(home.monitor, _number(home.monitor), count)
        click.echo(f"{codes_left(home.monitor)} probe codes left")


def _make(directory: Path, *, count: int, shards: str) -> None:
    """(1) registered, (2) keyed, (3) on the roll with codes, (4) open."""
    if not _desk("keyring", "show", PROBE_BALLOT, check=False):  # (1)
        write_durably(directory / SHARDS, shards.encode())
        _desk("create", str(DEFINITION), "--shards", shards)
    if json.loads(_desk("keyring", "show", PROBE_BALLOT, "--json"))["public_key"] is None:  # (2)
        with TemporaryDirectory(prefix="probe-shares-") as shares:
            _desk("keys", "create", PROBE_BALLOT, "--threshold", "2", "--shares", "3", "--out", shares)
    if not code_files(directory):  # (3)
        _issue(directory, 1, count)
    if "is already open" not in _desk("open", PROBE_BALLOT, refusal="is already open"):  # (4)
        click.echo("the probe ballot was opened")
    write_durably(directory / OPENED, b"1")


def _number(directory: Path) -> int:
    """Return the number of the batch to issue: the unfinished one, or the next."""
    numbers = [int(path.stem.partition("-")[2]) for path in code_files(directory)]
    return max(numbers, default=0) + 1


def _unfinished(directory: Path) -> bool:
    return any(directory.glob("issuing-*.csv"))


def _issue(directory: Path, number: int, count: int) -> None:
    """Add members and give them codes. The monitor sees `codes-NNN.csv` only when its codes work."""
    issuing = directory / f"issuing-{number:03d}.csv"
    roll = directory / f"roll-{number:03d}.csv"
    if not roll.exists():
        draft = roll.with_suffix(".draft")
        with os.fdopen(private(draft, os.O_TRUNC), "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(ROLL_COLUMNS)
            for member in range(count):
                name = f"probe-{number:03d}-{member:05d}"
                writer.writerow((name, name, f"{name}@probe.invalid", "", ""))
        draft.rename(roll)
    _desk("roll", "import", PROBE_BALLOT, str(roll))
    try:
        _desk("codes", "issue", PROBE_BALLOT, "--out", str(issuing))
    except click.ClickException:
        if not issuing.exists():
            raise
        # Left by a run that died while drawing: codes the register never learned of, so nobody can use them.
        issuing.unlink()
        _desk("codes", "issue", PROBE_BALLOT, "--out", str(issuing))
    issuing.rename(directory / f"codes-{number:03d}.csv")
    roll.unlink()


def _desk(*arguments: str, check: bool = True, refusal: str | None = None) -> str:
    """Run one desk command and return what it printed; nothing if it failed and `check` is off."""
    with subprocess.Popen(
        tethered(ballot_command(*arguments)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,  # it hears of Ctrl-C from us, once
    ) as process:
        try:
            printed, said = process.communicate(timeout=COMMAND_SECONDS)
        except BaseException:
            # Its own way out counts down the servers and finishes no half step; a kill would not.
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=STOP_SECONDS)
            process.kill()
            raise
    if process.returncode == 0:
        return printed
    if refusal is not None and refusal in said:
        return said
    if not check:
        return ""
    last = (said.strip().splitlines() or ["no message"])[-1]
    raise click.ClickException(f"`ballot {' '.join(arguments[:2])}` failed: {last}")


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    with os.fdopen(private(directory / "prepare.lock"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise click.ClickException("the probe ballot is being prepared by another process") from error
        yield


class ProbeKeeper:
    """Runs `ballot probe prepare` in the background when the probe ballot is missing or short of codes."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None
        self._due = 0.0

    def tend(self) -> None:
        """Look at the codes every half minute; never waits."""
        now = time.monotonic()
        if self._process is not None:
            status = self._process.poll()
            if status is None:
                return
            self._process = None
            if status != 0:
                click.echo("the probe ballot could not be prepared; see probe.out among the logs", err=True)
        if now < self._due:
            return
        self._due = now + CHECK_SECONDS
        directory = self._home.monitor
        ready = (directory / OPENED).exists() and not _unfinished(directory)
        if not ready or codes_left(directory) < CODES_LEFT_MIN:
            with os.fdopen(private(self._home.logs / "probe.out", os.O_APPEND), "ab") as output:
                self._process = self._start(output)

    def _start(self, output: IO[bytes]) -> subprocess.Popen[bytes]:
        # Behind everybody else: topping up must not slow the taking of votes.
        command = ["nice", "-n", str(NICENESS), *tethered(ballot_command("probe", "prepare"))]
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    def stop(self) -> None:
        """End a preparation under way, the desk command it runs included; the next run goes on from there."""
        process, self._process = self._process, None
        if process is None:
            return
        deadline = time.monotonic() + STOP_SECONDS
        process.terminate()  # it passes that on
        with suppress(ProcessLookupError):
            while time.monotonic() < deadline:
                process.poll()
                os.killpg(process.pid, 0)
                time.sleep(POLL_SECONDS)
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
