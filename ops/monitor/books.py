"""Runs the checker over every published ballot, again and again, and shows by how much the books are out.

The checker is a process of its own with rights of its own: the monitor can read neither queue nor votes. A
check that could not be made is never taken for books that balance.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge

from ballot.books import Books
from ops.supervisor import ballot_command, tethered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runtime.clock import Clock
    from runtime.lifecycle import Stop
    from runtime.logs import Log

PERIOD_SECONDS = 300.0
FIRST_SECONDS = 10.0
#: A million stored votes are checked in minutes; whatever takes longer than this is stuck.
LIMIT_SECONDS = 900.0
#: What a check that was told to end has for removing its scratch file; less than the monitor has itself.
END_SECONDS = 5.0
NICENESS = 10
US = 1_000_000
SAID_CHARACTERS_MAX = 300

#: The books by name, as the checker reports them.
BOOKS = tuple(Books(**{term.name: 0 for term in fields(Books)}).differences())


class CheckFailed(Exception):  # noqa: N818  # the check, not the books
    """The checker gave no report; nothing is known about the books."""


@dataclass(frozen=True, slots=True)
class Report:
    """What the checker says of one ballot: the absolute difference of each book, and findings by kind."""

    differences: dict[str, int]
    findings: dict[str, int]

    @property
    def clean(self) -> bool:
        """Whether everything fits."""
        return not any(self.differences.values()) and not any(self.findings.values())


class BooksGauges:
    """Sums over all published ballots, because a ballot's own numbers would tell of it while it is open."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.difference = Gauge(
            "ballot_books_difference",
            "By how much the book is out, all published ballots together; anything but 0 is an alarm: see"
            " ops/runbooks/books.md. NaN: not checked since the monitor's start",
            ["book"],
            registry=registry,
        )
        for book in BOOKS:
            self.difference.labels(book).set(math.nan)
        self.findings = Gauge(
            "ballot_books_findings",
            "Votes, credentials and entries that do not fit, all published ballots together; anything but 0"
            " is an alarm: `ballot check BALLOT` names them. NaN: not checked since the monitor's start",
            registry=registry,
        )
        self.findings.set(math.nan)
        self.checked = Gauge(
            "ballot_books_checked_seconds",
            "Unix time at which every published ballot had been checked, 0 if not since the monitor's start;"
            " when older than three periods, run `ballot check BALLOT` by hand and look for"
            " `books not checked` in logs/monitor.log",
            registry=registry,
        )
        self.failures = Counter(
            "ballot_books_check_failures",
            "Runs of the checker that gave no report; the gauges of the books keep what they showed",
            registry=registry,
        )
        self._shown = dict.fromkeys(BOOKS, math.nan)
        self._shown_findings = math.nan

    def show(self, reports: Sequence[Report], *, complete: bool) -> None:
        """Show the sums; when a ballot's report is missing they can only make it look worse."""
        for book in BOOKS:
            found = sum(report.differences[book] for report in reports)
            self._shown[book] = found if complete else worse(self._shown[book], found)
            self.difference.labels(book).set(self._shown[book])
        found = sum(sum(report.findings.values()) for report in reports)
        self._shown_findings = found if complete else worse(self._shown_findings, found)
        self.findings.set(self._shown_findings)


def worse(shown: float, found: int) -> float:
    """What to show when only part was looked at: `found` if it is more than `shown`, and 0 is no finding."""
    if math.isnan(shown):
        return found or math.nan
    return max(shown, found)


class BooksCheck:
    """Checks the published ballots one after the other; `command` is the checker's command line."""

    def __init__(
        self,
        *,
        gauges: BooksGauges,
        clock: Clock,
        log: Log,
        command: Sequence[str] | None = None,
        limit_s: float = LIMIT_SECONDS,
    ) -> None:
        self._gauges = gauges
        self._clock = clock
        self._log = log
        self._command = tuple(command or ballot_command("check"))
        self._limit_s = limit_s

    async def run(self, stop: Stop, *, period_s: float) -> None:
        """Check soon after the start, then `period_s` after the end of each check; 0: not at all."""
        if period_s == 0:
            return
        wait_s = min(FIRST_SECONDS, period_s)
        while not await stop.wait(wait_s):
            await self.check_all()
            wait_s = period_s

    async def check_all(self) -> None:
        """Check every published ballot once; a failure is counted and keeps no other from its check."""
        try:
            ballots = await self._published()
        except CheckFailed as error:
            self._failed("the list of ballots", error)
            return
        reports = []
        for ballot in ballots:
            try:
                report = await self._check(ballot)
            except CheckFailed as error:
                self._failed(ballot, error)
                continue
            reports.append(report)
            if not report.clean:
                self._log.alarm(
                    "books out",
                    ballot=ballot,
                    differences={book: value for book, value in report.differences.items() if value},
                    findings={kind: count for kind, count in report.findings.items() if count},
                )
        complete = len(reports) == len(ballots)
        self._gauges.show(reports, complete=complete)
        if complete:
            self._gauges.checked.set(self._clock.now_us() / US)

    def _failed(self, what: str, error: CheckFailed) -> None:
        self._gauges.failures.inc()
        self._log.error("books not checked", ballot=what, error=error)

    async def _published(self) -> list[str]:
        status, output, said = await self._ask("--list", "--json")
        try:
            ballots = json.loads(output)["ballots"]
        except (ValueError, KeyError, TypeError) as error:
            raise CheckFailed(f"no list, {_ending(status, said)}") from error
        if status != 0 or not isinstance(ballots, list):
            raise CheckFailed(f"no list, {_ending(status, said)}")
        return [str(ballot) for ballot in ballots]

    async def _check(self, ballot: str) -> Report:
        status, output, said = await self._ask("--json", "--", ballot)
        try:
            given = json.loads(output)
            report = Report(
                {book: abs(int(given["books_differences"][book])) for book in BOOKS},
                {str(kind): int(count) for kind, count in given["counts"].items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckFailed(f"no report, {_ending(status, said)}") from error
        if status != (0 if report.clean else 1):
            raise CheckFailed(f"report and exit disagree, {_ending(status, said)}")
        return report

    async def _ask(self, *arguments: str) -> tuple[int, bytes, bytes]:
        """Run the checker behind everybody else, tied to this process, for a bounded time."""
        try:
            process = await asyncio.create_subprocess_exec(
                *("nice", "-n", str(NICENESS), *tethered((*self._command, *arguments))),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise CheckFailed(f"it does not start: {error}") from error
        try:
            async with asyncio.timeout(self._limit_s):
                output, said = await process.communicate()
        except TimeoutError as error:
            raise CheckFailed(f"not done within {self._limit_s:g} s") from error
        finally:
            if process.returncode is None:
                await _end(process)
        return process.returncode or 0, output, said


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ask it and whatever it started to end, and insist; returns when it is gone."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), END_SECONDS)
            return


def _ending(status: int, said: bytes) -> str:
    """How it ended, and the last line it wrote to stderr."""
    last = (said.decode("utf-8", "replace").strip().splitlines() or ["no message"])[-1]
    return f"exit status {status}: {last[:SAID_CHARACTERS_MAX]}"
