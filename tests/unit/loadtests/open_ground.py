"""A small open-loop run without a network: a ballot served from memory, every habit, and the run's files."""

import csv
import json
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ballot.code import Code
from ballot.definition import parse_toml
from ballot.encoding import b64encode
from loadtests.crowds import ahead, opencrowd
from loadtests.crowds.ledger import HUNG_UP, Ledger
from loadtests.crowds.opencrowd import Electorate, OpenBooking
from loadtests.crowds.openloop import FIELDS, START_FILE, generator_file
from loadtests.crowds.timetable import BEFORE_CLOSE_S, Kind
from loadtests.published import plan, scenario
from loadtests.published.plan import Plan
from loadtests.published.scenario import PaperReturns
from loadtests.published.schedule import Schedule, Window
from loadtests.voting.voter import Answer
from tests.unit.loadtests.served import ACCEPTED_US, ServedBallot

START_US = ACCEPTED_US - 500_000
SCALE = 0.005
HABITS = (
    "double_click", "retry", "mistyped", "used_code", "foreign_code", "reissue", "later_repeat",
    "two_devices", "abandoned",
)  # fmt: skip
Tampering = Callable[[Kind, Answer], Answer]


def as_it_is(_kind: Kind, answer: Answer) -> Answer:
    """The server is honest."""
    return answer


@dataclass(frozen=True)
class Ground:
    """A run's files, and the ballot that its votes are for."""

    served: ServedBallot
    plan: Plan
    booking: OpenBooking

    def play(
        self,
        tampering: Tampering = as_it_is,
        *,
        late_s: float = 0.001,
        skip: int = 0,
        waited: bool = False,
        all_there_s: float | None = -1.0,
        own_failures: dict[str, int] | None = None,
    ) -> None:
        """Send every row but the last `skip` in their order, as a generator does, and keep what came."""
        booking = self.booking
        (booking.out / START_FILE).write_text(json.dumps({"start_us": START_US}), encoding="utf-8")
        for generator in range(booking.generators):
            rows = ahead.rows_of(booking.ahead, generator)
            bodies = ahead.bodies_file(booking.ahead, generator).read_bytes()
            ledger = Ledger(booking.out, generator, start_s=START_US / 1e6)
            columns = zip(*(rows[name].tolist() for name in FIELDS), strict=True)
            for number, (at_s, _, _, kind, offset, length) in enumerate(columns):
                if number >= len(rows) - skip:
                    break
                path = "/access" if kind == Kind.ACCESS else "/votes"
                answer = tampering(
                    Kind(kind), self.served.send("POST", path, bodies[offset : offset + length])
                )
                answer = {Kind.HUNG_UP: Answer(HUNG_UP), Kind.LATE: Answer(409)}.get(Kind(kind), answer)
                ledger.plan(at_s)
                ledger.note(
                    number, kind, 1, at_s, at_s + late_s, at_s + late_s + 0.002, answer, waited=waited
                )
            ledger.close()
            told = {"rows": len(rows), "sent": ledger.sent, "seconds": 2.0, "cpu_us": 50.0, "odd": ledger.odd}
            told |= {"late": {str(k): n for k, n in ledger.late.items()}, "cpu_share": 0.1}
            told |= {"late_ms_max": ledger.late_s_max * 1000, "cpu_share_max": 0.2, "memory_bytes": 1}
            told |= {"odd_count": ledger.odd_count, "waited": ledger.waited, "waited_ms_max": 0.0}
            told |= {"all_there_s": all_there_s, "own_failures": dict(own_failures or {})}
            generator_file(booking.out, generator).write_text(json.dumps(told), encoding="utf-8")


def ground(
    folder: Path,
    patch: pytest.MonkeyPatch,
    *,
    generators: int = 1,
    habits: float = 0.1,
    twice: float | None = None,
    at_first: int = 0,
    last: int = 0,
    both: float = 0.0,
) -> Ground:
    """Thirty voters with every habit over two seconds, sealed into `folder`; nothing is sent yet.

    `twice` is the share of those with two devices, if it is another; `at_first` aim at the first close,
    and `last` voters come in the last second; `both` is the share of those who send a paper as well.
    """
    tube = scenario.scaled(scenario.load("tube-two-questions"), SCALE)
    shares = dict.fromkeys(HABITS, habits) | {"two_devices": habits if twice is None else twice}
    behaviour = replace(tube.behaviour, **shares, late=0.05, at_close=3)
    paper = PaperReturns(share=0.1, also_paper=both, late=0.0, rejected=0.0) if both else None
    tube = replace(tube, behaviour=behaviour, paper=paper)
    definition = parse_toml(tube.definition_open_at(ACCEPTED_US))
    drawn = plan.draw(tube)
    served = ServedBallot(definition)
    first = dispatch(folder / "codes.csv", [person.member_id for person in drawn.people], served)
    dispatch(folder / "reissued.csv", list(drawn.reissues), served)
    for member in drawn.reissues:
        served.revoke(first[member])
    (folder / "desk.json").write_text(
        json.dumps({"use": "desk", "public_key": b64encode(served.desk.public)}), encoding="utf-8"
    )
    planned = scheduled(len(drawn.voters), len(drawn.late), len(drawn.at_close) - at_first, last=last)
    replace(planned, at_first_s=np.full(at_first, 1.0), extends_s=1.0).save(folder / "schedule.npz")
    patch.setattr(opencrowd, "HttpDoor", lambda _url, ca: Closing(served))  # noqa: ARG005  # as it is called
    booking = OpenBooking(
        electorates=(
            Electorate(tube, drawn, folder / "codes.csv", folder / "reissued.csv", returned=both > 0),
        ),
        schedule=folder / "schedule.npz",
        url="http://127.0.0.1:1",
        desk_key=folder / "desk.json",
        out=folder,
        close_run_s=2.0,
        generators=generators,
        sealers=1,
    )
    patch.setattr(ahead, "ProcessPoolExecutor", InThisProcess)
    opencrowd.prepare(booking)
    return Ground(served, drawn, booking)


class InThisProcess(Executor):
    """What would be done in processes is done here, at once."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Do it."""
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


@dataclass(frozen=True)
class Closing:
    """The served ballot as a door that can be closed."""

    served: ServedBallot

    def send(self, method: str, path: str, body: bytes | None = None) -> Answer:
        """What the ballot answers."""
        return self.served.send(method, path, body)

    def close(self) -> None:
        """Nothing to close."""


def dispatch(path: Path, members: list[str], served: ServedBallot) -> dict[str, Code]:
    """A dispatch file with a new code for each."""
    codes = {member: served.code() for member in members}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("member_id", "channel", "destination", "code", "link"))
        writer.writerows((member, "letter", "", code.text(), "") for member, code in codes.items())
    return codes


def scheduled(votes: int, late: int, at_close: int, *, seconds: float = 2.0, last: int = 0) -> Schedule:
    """So many votes evenly over `seconds`, one ballot, closing then; `last` of them in the last second."""
    run_s = np.linspace(0, seconds - BEFORE_CLOSE_S, votes, endpoint=False)
    run_s[votes - last :] = seconds - 0.2
    return Schedule(
        run_s=run_s,
        ballot_s=run_s,
        ballots=np.zeros(votes, np.int32),
        turns=np.arange(votes, dtype=np.int32),
        late_s=np.full(late, seconds + 0.5),
        at_close_s=np.full(at_close, seconds - 0.01),
        windows=(Window("all", 0.0, seconds, 0.0, seconds, 1.0),),
        close_run_s=seconds,
    )
