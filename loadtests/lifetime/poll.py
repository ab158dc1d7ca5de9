"""The ballot around a load run's votes: set up, kept open until the run is ready, closed, counted, checked.

The desk moves the closing time, by `ballot extend`: no definition knows how long it takes to seal all votes.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ballot.encoding import format_time, parse_time
from loadtests.crowds import unconfirmed
from loadtests.lifetime.life import THRESHOLD, Figure, Life
from loadtests.published.people import member_id
from loadtests.published.plan import Plan
from loadtests.published.posted import write_returns
from loadtests.published.scenario import OPENED_BEFORE_US, SPOILT, Scenario
from loadtests.staging.kept import US, now_us
from loadtests.staging.stage import Stage, StageFault, wait_until

SETTING_UP_US = 90 * US
SETTING_UP_A_PERSON_US = 400
"""How long the desk may take before the votes are sealed; a closed ballot could not be extended."""

KEPT_OPEN_US = 90 * US
RUNS_OUT_US = 45 * US
LONG_SECONDS_MAX = 3_600.0
CLOSE_SECONDS_MAX = 660.0
CLOSE_TRIES = 10
TURNOUT_SECONDS_MAX = 60.0
AFTER_US = 24 * 3_600 * US
Told = Mapping[str, Any]
Marks = Mapping[str, Mapping[str, int]]


class Poll(Life):
    """One ballot of a load run; with `closes` its closing time is a moment of the run."""

    command_seconds = LONG_SECONDS_MAX

    def __init__(
        self, stage: Stage, scenario: Scenario, plan: Plan, *, seed: int | None, closes: bool
    ) -> None:
        super().__init__(stage, scenario, plan, seed=seed)
        self.closes = closes
        self.closes_us = 0
        self.reissued: Path | None = None
        self.returned = False
        self.voters = self.files / "voters"

    def set_up(self) -> None:
        """From the definition to an open ballot; those who lost their codes get new ones."""
        self.stage.run("create", self.define())
        self.keys()
        self.roll()
        self.issue()
        self.open()
        self.reissue()
        self.returned_first()

    def define(self, window_us: tuple[int, int] | None = None) -> Path:
        """Write the definition.

        With `window_us` it opens and closes then, as all of a group do; without, it is open at once.
        """
        now = now_us()
        people_us = self.scenario.entitled * SETTING_UP_A_PERSON_US
        closes_us = now + (SETTING_UP_US + people_us if self.closes else AFTER_US)
        opens_us, closes_us = window_us or (now - OPENED_BEFORE_US, closes_us)
        self.closes_us = closes_us - closes_us % US  # a definition knows whole seconds
        definition = self.files / "definition.toml"
        definition.write_text(
            self.scenario.definition_open_at(opens_us + OPENED_BEFORE_US, closes_us=self.closes_us),
            encoding="utf-8",
        )
        return definition

    def reissue(self) -> None:
        """New codes for those who lost theirs, if anybody did."""
        if self.plan.reissues:
            reissued = self.files / "reissued.csv"
            self._reissue(reissued)
            self.reissued = reissued

    def stay_open(self) -> None:
        """See that the ballot does not close while the votes are sealed; to be called often."""
        if self.closes and self.closes_us - now_us() < RUNS_OUT_US:
            self.extend(now_us() + KEPT_OPEN_US)

    def extend(self, until_us: int) -> None:
        """Move the closing time to a later one."""
        self.stage.run("extend", self.ballot, "--until", format_time(until_us, decimals=6))
        self.closes_us = until_us

    def plays(self, voters: Path) -> Callable[[str], bool]:
        """Whether anybody of this run is that member: a voter, who comes late, or who sends a paper."""
        drawn, posted = self.plan, self.plan.posted
        playing = np.zeros(self.scenario.entitled, dtype=bool)
        for people in (drawn.voters.people, drawn.late.people, drawn.at_close.people):
            playing[people] = True
        for people in (posted.counted, posted.also, posted.late, posted.rejected):
            playing[people] = True
        ahead = voters / "ahead" / "ahead.json"
        told = json.loads(ahead.read_text(encoding="utf-8")) if ahead.exists() else {}
        others = {member for _, member in told.get("extras", ())}
        spare = {member_id(int(number)) for number in np.flatnonzero(~playing)} - others
        return lambda member: member not in spare

    def earliest_start_us(self, close_run_s: float, *, lead_us: int) -> int:
        """When the run's clock may be 0 at the earliest: no ballot can be made to close before its time."""
        earliest_us = now_us() + lead_us
        return max(earliest_us, self.closes_us - round(close_run_s * US)) if self.closes else earliest_us

    def wait_for_close(self) -> None:
        """Wait for the closing time, if the ballot has one in the run."""
        if self.closes and (left := self.closes_us - now_us()) > 0:
            wait_until(
                lambda: now_us() > self.closes_us, seconds=left / US + 1, what="the ballot's closing time"
            )

    def close(self) -> None:
        """Close, unless its time has come already; wait until all is stored, for minutes if need be."""
        for attempt in range(CLOSE_TRIES):
            done = self.stage.attempt("close", self.ballot, seconds=CLOSE_SECONDS_MAX)
            if done.returncode == 0:
                self.closes_us = parse_time(done.stdout.split()[-1])
                return
            if "not stored yet" not in done.stderr.replace("\n", " ") or attempt == CLOSE_TRIES - 1:
                raise StageFault(f"`ballot close` failed: {done.stderr.strip()[-300:]}")

    def turnout(self) -> Told:
        """The streaming turnout beside the books at a quiet moment, once the counting has come after."""
        told: dict[str, Any] = {}

        def exact() -> bool:
            try:
                told.update(quiet(json.loads(self.stage.run("status", self.ballot, "--json"))))
            except (StageFault, ValueError, KeyError):
                return False  # a database that has just been killed: ask again
            return bool(told["turnout"] == told["books"])

        try:
            wait_until(exact, seconds=TURNOUT_SECONDS_MAX, what="the turnout")
        except StageFault:
            told["waited_s"] = TURNOUT_SECONDS_MAX  # what it said last stands: the verdict judges it
        return told

    def tally(self) -> None:
        """Count with as many shares as are needed, and the papers as they were counted by hand."""
        shares = [word for path in self.shares()[:THRESHOLD] for word in ("--share", str(path))]
        papers = self.papers()
        by_hand = () if papers is None else ("--papers", papers)
        self.stage.run(
            "tally", self.ballot, *shares, *by_hand, "--out", self.result, seconds=self.command_seconds
        )

    def returned_first(self) -> None:
        """Tell the gate of the papers that are there before their voters come online, if there are any."""
        if len(first := self.plan.posted.first):
            path = self.files / "returns-first.csv"
            write_returns(path, first, received_us=now_us() - US)
            self.stage.run("returns", self.ballot, path, "--method", "postal", seconds=self.command_seconds)
            self.returned = True

    def returns(self) -> bool:
        """Tell the gate of every other paper that came in time, some a second vote; whether there are any."""
        posted = self.plan.posted
        people = np.concatenate([posted.counted, posted.also])
        if not len(people):
            return False
        path = self.files / "returns.csv"
        # Whole seconds; no paper is received in the future.
        write_returns(path, people, received_us=min(now_us(), self.closes_us) - US)
        self.stage.run("returns", self.ballot, path, "--method", "postal", seconds=self.command_seconds)
        return True

    def papers(self) -> Path | None:
        """The hand count of the papers that are good, as `ballot tally` takes it; None without any."""
        if not self.plan.posted.counts:
            return None
        path = self.files / "papers.csv"
        self.plan.posted.write_count(path)
        return path

    def by_hand(self) -> Marks:
        """The hand count by question and option; nothing without papers."""
        posted = self.plan.posted
        return posted.hand_count if posted.counts else {}

    def counted(self) -> Marks:
        """The signed result by question and option."""
        result = json.loads(self.result.read_text(encoding="utf-8"))
        return {each["id"]: each["counts"] | {SPOILT: each["spoilt"]} for each in result["questions"]}

    def check(self) -> None:
        """Not here: a load run's check is told, not obeyed."""
        raise NotImplementedError

    def checked(self) -> Told:
        """What `ballot check` found, as a program reads it; StageFault when it did not finish."""
        options: list[str | Path] = ["--receipts", self.voters / "receipts.jsonl", "--signatures", "--json"]
        for option, path in (("--attempts", self.voters / unconfirmed.FILE), ("--result", self.result)):
            options += [option, path] if path.exists() else []
        done = self.stage.attempt("check", self.ballot, *options, seconds=self.command_seconds)
        try:
            told: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            raise StageFault(f"`ballot check` did not finish: {done.stderr.strip()[-300:]}") from None
        return told

    def compared(self, beyond: Marks, moved: Marks) -> list[Figure]:
        """The signed result beside the published figures, without what was voted on top of them (`beyond`).

        Votes that went to another option because a voter's second device was first (`moved`) stand where the
        voter's first device would have put them, and so do those that came in the last second and too late.
        """
        figures = []
        more_votes = added(beyond, moved)
        for figure in self.figures():
            more = more_votes.get(figure.what, {}).get(figure.option, 0)
            if figure.what == "votes cast":
                more = max((sum(options.values()) for options in beyond.values()), default=0)
                more += min((sum(options.values()) for options in moved.values()), default=0)
            figures.append(Figure(figure.what, figure.option, figure.published, figure.counted - more))
        return figures


def quiet(status: Told) -> dict[str, Any]:
    """From `ballot status --json`: what the turnout says, and what the books say of the same."""
    electronic = {side: status["turnout"][side].get("electronic", 0) for side in ("accepted", "stored")}
    books = {side: status["books"][side] for side in ("accepted", "stored")}
    return {"at_us": now_us(), "turnout": electronic, "books": books}


def added(*marks: Marks) -> dict[str, dict[str, int]]:
    """Votes by question and option, all of them together."""
    total: dict[str, dict[str, int]] = {}
    for each in marks:
        for question, options in each.items():
            into = total.setdefault(question, {})
            for option, count in options.items():
                into[option] = into.get(option, 0) + count
    return total
