"""A crowd that keeps to a schedule: votes sealed ahead, sent at their moments by Locust, verified afterwards.

    booking = OpenBooking(electorates=(Electorate(scenario, plan, codes),), schedule=FILE, url=URL, out=DIR, …)
    prepare(booking)                                  # seals every vote, on all cores; the ballot must be open
    with OpenCrowd(booking, start_us=…) as crowd:     # run second 0 of the schedule is at start_us
        summary = crowd.finish()                      # waits for the last voter, verifies, merges

What comes of it stands in `out`: `seconds.jsonl`, `receipts.jsonl`, `sealed.jsonl`, `unsettled.jsonl` and
`summary.json`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from loadtests.plan import Plan
from loadtests.scenario import Scenario

Told = Callable[[int, int], None]


def in_silence(_done: int, _of: int) -> None:
    """Nobody watches."""


@dataclass(frozen=True, slots=True)
class Electorate:
    """One ballot of the run: its scenario, who votes what, and the codes they hold.

    With `reissued` (the dispatch file of `ballot codes reissue` for `plan.reissues`, made before the votes
    are sealed) those voters vote with their second code, and their first must be refused.
    """

    scenario: Scenario
    plan: Plan
    codes: Path
    reissued: Path | None = None


@dataclass(frozen=True, slots=True)
class OpenBooking:
    """What an open-loop crowd plays.

    `schedule` is the file `schedule.npz` of `Schedule.save`: sorted `run_s`, and with several electorates
    `ballot` (uint16 index into `electorates`); arrival number n of a ballot is that plan's voter number n.
    `close_run_s` is the run second in which the ballot closes, None if nobody aims at it.
    """

    electorates: tuple[Electorate, ...]
    schedule: Path
    url: str
    desk_key: Path
    out: Path
    seed: int = 0
    close_run_s: float | None = None
    generators: int = 1
    users: int = 0  # 0: as many as the schedule's worst second needs
    ca: Path | None = None
    access: bool = False  # whether each device asks for the paper first, as the page does
    give_up: float = (
        0.0  # the share of unsettled attempts after which a voter does not come back (model: 0.3)
    )
    retries_max: int = 6
    web_port: int | None = None  # Locust's own page, on 127.0.0.1
    sealers: int = field(default=0)  # 0: one process a core


def prepare(booking: OpenBooking, *, told: Told = in_silence) -> dict[str, Any]:
    """Seal every vote of the schedule into `out`/ahead; returns what that took. `told`: (sealed, of)."""
    raise NotImplementedError


class OpenCrowd:
    """A running open-loop crowd; use as a context manager. It ends with the last voter, or with the block."""

    def __init__(self, booking: OpenBooking, *, start_us: int, told: Told = in_silence) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        raise NotImplementedError

    def __exit__(self, *_: object) -> None:
        raise NotImplementedError

    @property
    def running(self) -> bool:
        """Whether there are voters left."""
        raise NotImplementedError

    def receipts(self) -> int:
        """How many first receipts the generators have so far (what turnout `accepted` must say when quiet)."""
        raise NotImplementedError

    def finish(self) -> dict[str, Any]:
        """Wait for the last voter, verify every receipt, merge the generators' files; the summary.

        Never raises for what voters saw; the summary tells it:

        - `voters`, `voted` (voters with a verified receipt), `seconds`, `counts` (by name), `unexpected`
          (list of sentences, at most 50), `unexpected_count`
        - `planned`, `sent`, `unsent`, `late_ms` {p50, p99, max}, `void` (bool), `void_reasons` (list of str)
        - `latency_ms` {p50, p99, max} from the planned moment, `service_ms` the same from the sending,
          `refused_ms` for refusals (429, 503) from the sending; all of votes
        - `generator_cpu`: [share of one core per process], `generator_cpu_us` microseconds a request,
          `client_was_bottleneck` (bool)
        - `papers`: {ballot: {question: {option or "spoilt": n}}} for `receipted` (what holders of receipts
          chose), `unconfirmed` (sent, never settled: each may or may not be counted) and `beyond` (receipted
          votes that are not in the published figures: aimed at close by people who were not to vote);
          counted must be between receipted and receipted + unconfirmed, option by option
        - `gave_up`: voters without a receipt who tried; `first_gave_up` member ids (at most 50)
        - `accepted_last_us`, `accepted_first_us`: from the receipts
        """
        raise NotImplementedError
