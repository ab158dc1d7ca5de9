"""A crowd that keeps to a schedule: votes sealed ahead, sent at their moments by Locust, verified afterwards.

    booking = OpenBooking(electorates=(Electorate(scenario, plan, codes),), schedule=FILE, url=URL, …)
    prepare(booking)                                # seals every vote, on all cores; the ballot must be open
    with OpenCrowd(booking, start_us=…) as crowd:   # run second 0 of the schedule is at start_us
        summary = crowd.finish()                    # waits for the last voter, verifies, merges

What comes of it stands in `out`: `seconds.jsonl`, `casts.npz`, `receipts.jsonl`, `sealed.jsonl`,
`unsettled.jsonl` and `summary.json`.
"""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from ballot.encoding import b64encode
from loadtests.crowds import ahead, casts, comers
from loadtests.crowds.crowd import LAST_WORDS, LOCUSTFILE
from loadtests.crowds.openloop import (
    ANSWER_SECONDS_MAX,
    START_FILE,
    USERS_MAX,
    generator_file,
    progress_file,
    ready_file,
)
from loadtests.crowds.timetable import BEFORE_CLOSE_S, RETRY_S, Habits, Timetable, draw_up
from loadtests.published import schedule
from loadtests.published.plan import Plan
from loadtests.published.scenario import Scenario
from loadtests.published.schedule import Schedule
from loadtests.staging.stage import STOP_SECONDS_MAX, StageFault, end, wait_until
from loadtests.voting.desk import pinned_key
from loadtests.voting.door import HttpDoor
from loadtests.voting.voter import Booth, Patience, enter

Told = Callable[[int, int], None]
READY_SECONDS_MAX = 120.0
RECKONING_SECONDS_MAX = 900.0
STARTS_AFTER_S = 2.0
USERS_MIN = 32
USER_SECONDS = ANSWER_SECONDS_MAX
"""So long a user may be busy with a request of a service that hangs; the others come all the same."""

LEFT_BEHIND = (
    *("seconds*.jsonl", "answers-*.bin", "came-*.jsonl", "ready-*", "progress-*", "generator-*.json"),
    casts.FILE,
)


def in_silence(_done: int, _of: int) -> None:
    """Nobody watches."""


@dataclass(frozen=True, slots=True)
class Electorate:
    """One ballot of the run: its scenario, who votes what, and the codes they hold.

    With `reissued` (the dispatch file of `ballot codes reissue` for `plan.reissues`, made before the votes
    are sealed) those voters vote with their second code, and their first must be refused. `returned`: the
    papers of `plan.posted.first` have been told to the gate, and what their voters cast must be refused.
    """

    scenario: Scenario
    plan: Plan
    codes: Path
    reissued: Path | None = None
    returned: bool = False


@dataclass(frozen=True, slots=True)
class OpenBooking:
    """What an open-loop crowd plays.

    `schedule` is the file that `Schedule.save` wrote; its ballots are the `electorates` in order, its turns
    their plans' voters. `close_run_s` is the run second at which the ballots close, None if they do not: then
    nobody comes late or aims at it. `users` 0: as many as the worst second may need. `access`: each device
    asks for the paper before it votes, as the page does. `give_up` is the share of the unsettled attempts
    after which a voter does not come back (the model's is 0.3).
    """

    electorates: tuple[Electorate, ...]
    schedule: Path
    url: str
    desk_key: Path
    out: Path
    seed: int = 0
    close_run_s: float | None = None
    generators: int = 1
    users: int = 0
    ca: Path | None = None
    access: bool = False
    give_up: float = 0.0
    retries_max: int = 6
    web_port: int | None = None  # Locust's own page, on 127.0.0.1
    sealers: int = 0  # 0: one process a core

    @property
    def ahead(self) -> Path:
        """Where the sealed votes are."""
        return self.out / ahead.FOLDER


def prepare(booking: OpenBooking, *, told: Told = in_silence) -> dict[str, Any]:
    """Seal every vote of the schedule into `out`/ahead; what that took. `told`: so many sealed of so many."""
    booking.ahead.mkdir(parents=True, exist_ok=True)
    played = schedule.load(booking.schedule)
    if booking.close_run_s is None:
        played = _without_close(played)

    def going_on() -> None:
        told(0, played.votes)

    going_on()
    desk_public = pinned_key(booking.desk_key)
    booths = [_booth(booking, electorate, desk_public) for electorate in booking.electorates]
    plans = [electorate.plan for electorate in booking.electorates]
    habits = Habits(
        [each.reissued is not None for each in booking.electorates],
        access=booking.access,
        returned=[each.returned for each in booking.electorates],
    )
    timetable = draw_up(
        played, plans, habits, generators=booking.generators, seed=booking.seed, going_on=going_on
    )
    definitions = [booth.document.definition for booth in booths]
    coming = comers.drawn_up(timetable, plans, definitions, going_on=going_on)
    np.save(booking.ahead / ahead.PEOPLE, coming.table)
    files = [(each.codes, each.reissued) for each in booking.electorates]
    codes = ahead.codes_by_number(timetable, plans, files, going_on=going_on)
    bodies = ahead.write_rows(booking.ahead, timetable.drafts, booths)
    hands = ahead.Hands(booking.ahead, booths, plans, timetable, *codes)
    sealed = ahead.seal_all(hands, bodies, processes=booking.sealers or os.cpu_count() or 1, told=told)
    _describe(booking, played, booths, timetable, coming, sealed)
    return sealed


def _without_close(played: Schedule) -> Schedule:
    """The same when nothing closes: nobody aims at the close, and the last habits end with the last votes."""
    nobody = np.empty(0)
    return Schedule(
        run_s=played.run_s,
        ballot_s=played.ballot_s,
        ballots=played.ballots,
        turns=played.turns,
        late_s=nobody,
        at_close_s=nobody,
        windows=played.windows,
        close_run_s=float(played.run_s[-1]) + 2 * BEFORE_CLOSE_S if len(played.run_s) else 0.0,
    )


def _booth(booking: OpenBooking, electorate: Electorate, desk_public: bytes) -> Booth:
    """The ballot as served, its document signed by the desk."""
    door = HttpDoor(booking.url, ca=booking.ca)
    try:
        return enter(door, electorate.scenario.ballot, desk_public, patience=Patience(sleep=time.sleep))
    finally:
        door.close()


def _describe(
    booking: OpenBooking,
    played: Schedule,
    booths: list[Booth],
    timetable: Timetable,
    coming: comers.Comers,
    sealed: dict[str, Any],
) -> None:
    """Write what generators and reckoning have to know, but no code."""
    rows = [ahead.rows_of(booking.ahead, number) for number in range(booking.generators)]
    first_s = min((float(part["at_s"][0]) for part in rows if len(part)), default=0.0)
    last_s = max((float(part["at_s"][-1]) for part in rows if len(part)), default=0.0)
    moments = np.concatenate([part["at_s"] for part in rows])
    worst = int(np.bincount(moments.astype(np.int64)).max()) if len(moments) else 0
    access_bytes = len(json.dumps({"credential_sha256": "0" * 64}))
    ahead.write_description(
        booking.ahead,
        {
            "scenario": booking.electorates[0].scenario.name,
            "generators": booking.generators,
            "requests": sum(len(part) for part in rows),
            "worst_second": worst,
            "first_s": first_s,
            "last_s": last_s,
            "voters": played.votes,
            "people": len(coming.table),
            "close_run_s": booking.close_run_s,
            "seed": booking.seed,
            "give_up": booking.give_up,
            "retries_max": booking.retries_max,
            "sealed": sealed,
            "ballots": [
                {
                    "id": booth.ballot,
                    "path": booth.path,
                    "vote_bytes": ahead.vote_bytes(booth),
                    "access_bytes": access_bytes,
                }
                for booth in booths
            ],
            "keys": {name: b64encode(key) for booth in booths for name, key in booth.receipt_keys.items()},
            "papers": coming.papers,
            "extras": [[extra.ballot, extra.voter.member_id] for extra in timetable.extras],
        },
    )


class OpenCrowd:
    """A running open-loop crowd; use as a context manager. It ends with the last voter, or with the block.

    Without `start_us` it starts when all its users are there; `start_us` tells when that is.
    """

    def __init__(self, booking: OpenBooking, *, start_us: int | None = None, told: Told = in_silence) -> None:
        self.booking = booking
        self._told = told
        self._ahead = ahead.description(booking.ahead)
        self._read = 0
        for pattern in LEFT_BEHIND:
            for old in booking.out.glob(pattern):
                old.unlink()
        (booking.out / START_FILE).unlink(missing_ok=True)
        with (booking.out / "locust.txt").open("wb") as out, (booking.out / "locust.err").open("wb") as err:
            self._process = subprocess.Popen(
                self.command(start_us), stdin=subprocess.DEVNULL, stdout=out, stderr=err, process_group=0
            )
        try:
            self.start_us = self._start(start_us)
        except BaseException:
            end(self._process, seconds=STOP_SECONDS_MAX)
            raise

    def command(self, start_us: int | None) -> list[str]:
        """The Locust command line; it counts its run-time from now on, whenever the run's second 0 is."""
        booking = self.booking
        users = self.users
        until_start_s = 0.0 if start_us is None else max(start_us / 1e6 - time.time(), 0.0)
        seconds = until_start_s + READY_SECONDS_MAX + float(self._ahead["last_s"]) + self._patience_s
        page = ["--headless", "--only-summary", "--run-time", f"{math.ceil(seconds)}s"]
        if booking.web_port is not None:
            page = ["--autostart", "--web-host", "127.0.0.1", "--web-port", str(booking.web_port)]
        return [
            *(sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), *page, "--loglevel", "WARNING"),
            *("--users", str(users), "--spawn-rate", str(users), "--pool", str(users), "--tethered"),
            *("--host", booking.url, "--ahead", str(booking.ahead), "--out", str(booking.out)),
            *(("--ca", str(booking.ca)) if booking.ca else ()),
            *(("--processes", str(booking.generators)) if booking.generators > 1 else ()),
        ]

    @property
    def users(self) -> int:
        """How many users there are, in all generators together."""
        wanted = self.booking.users or int(self._ahead["worst_second"] * USER_SECONDS)
        return min(max(wanted, USERS_MIN * self.booking.generators), USERS_MAX)

    @property
    def _patience_s(self) -> float:
        """How long after the last planned request the last retry may have its answer."""
        return (int(self._ahead["retries_max"]) + 1) * (RETRY_S[1] + ANSWER_SECONDS_MAX)

    def _start(self, start_us: int | None) -> int:
        """Say when the run's second 0 is; if nobody has said so, soon after everybody is there."""
        if start_us is None:
            count = self.booking.generators
            ready = [ready_file(self.booking.out, number) for number in range(count)]
            wait_until(
                lambda: self._over() or all(file.exists() for file in ready),
                seconds=READY_SECONDS_MAX,
                what="the crowd to be there",
            )
            start_us = time.time_ns() // 1000 + round(STARTS_AFTER_S * 1e6)
        draft = self.booking.out / "start.draft"
        draft.write_text(json.dumps({"start_us": start_us}), encoding="utf-8")
        draft.replace(self.booking.out / START_FILE)
        return start_us

    def _over(self) -> bool:
        """Whether Locust has ended, which before the start is a fault."""
        if self._process.poll() is None:
            return False
        raise StageFault("The crowd never started: " + " / ".join(self._last_words()))

    def _last_words(self) -> list[str]:
        """The end of Locust's log."""
        log = (self.booking.out / "locust.err").read_text(encoding="utf-8", errors="replace")
        return log.strip().splitlines()[-LAST_WORDS:]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Break off what is still going on; `finish` then tells of what has been sent."""
        end(self._process, seconds=STOP_SECONDS_MAX)

    @property
    def running(self) -> bool:
        """Whether there are voters left."""
        return self._process.poll() is None

    def receipts(self) -> int:
        """How many votes were answered with 201 so far, up to a second ago."""
        total = 0
        for number in range(self.booking.generators):
            try:
                text = progress_file(self.booking.out, number).read_text(encoding="utf-8")
            except FileNotFoundError:
                continue
            total += json.loads(text)["accepted"]
        return total

    def finish(self) -> dict[str, Any]:
        """Wait for the last voter, verify every receipt, merge the generators' files; the summary.

        Never raises for what voters saw; the summary tells it:

        - `voters`, `voted` (voters with a verified receipt), `seconds`, `counts` (by name), `unexpected`
          (sentences, at most 50), `unexpected_count`
        - `planned`, `sent`, `unsent` (requests, retries aside), `late_ms` {p50, p99, max}, `void` (bool),
          `void_reasons` (sentences); `waited` {count, max_ms}: what found every user waiting for an answer
          was not the generator's to send in time; `odd`, `odd_count`: answers of a form that none should have
        - `latency_ms` {p50, p99, max, never}: of votes, from the moment they were first due to the receipt,
          null what falls among the `never` many without one; `service_ms` of each attempt with a receipt,
          `refused_ms` of 429 and 503, `turned_away_ms` of 403 and 409, all three from the sending
        - `generator_cpu`: [share of one core per process], `generator_cpu_max` the worst ten seconds of any,
          `generator_cpu_us` microseconds a request per process, `client_was_bottleneck` (bool)
        - `papers`: {name: {ballot id: {question: {option or "spoilt": n}}}} for `receipted` (what holders of
          receipts chose), `unconfirmed` (sent, no receipt: each may or may not be counted) and `beyond`
          (receipted votes that are not in the published figures: aimed at the close by people who were not
          to vote). Counted must be receipted + beyond, and up to unconfirmed more, option by option. Where a
          second device was first, its paper is `in_place` of the one `displaced`, which was to be published
        - `gave_up`: how many people sent a vote and hold no receipt; `first_gave_up`: members, at most 50
        - `accepted_first_us`, `accepted_last_us`: from the receipts; `sealed`: what sealing ahead took
        """
        left_s = self.start_us / 1e6 - time.time() + self._ahead["last_s"] + self._patience_s
        wait_until(self._told_and_over, seconds=max(left_s, 0.0) + STOP_SECONDS_MAX, what="the last voter")
        if not any(generator_file(self.booking.out, n).exists() for n in range(self.booking.generators)):
            raise StageFault("The voters never started: " + " / ".join(self._last_words()))
        folders = ("--ahead", str(self.booking.ahead), "--out", str(self.booking.out))
        done = subprocess.run(
            [sys.executable, "-m", "loadtests.crowds.openresult", *folders],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RECKONING_SECONDS_MAX,
            check=False,
        )
        if done.returncode != 0:
            told = done.stderr.strip().splitlines() or ["no word"]
            raise StageFault(f"The run's receipts could not be reckoned: {told[-1]}")
        summary: dict[str, Any] = json.loads((self.booking.out / "summary.json").read_text(encoding="utf-8"))
        return summary

    def _told_and_over(self) -> bool:
        """Tell the progress; whether nobody is left. A page of Locust's stays until everybody has sent."""
        self._told(self.receipts(), self._ahead["voters"])
        if not self.running:
            return True
        everybody = [generator_file(self.booking.out, number) for number in range(self.booking.generators)]
        return self.booking.web_port is not None and all(file.exists() for file in everybody)
