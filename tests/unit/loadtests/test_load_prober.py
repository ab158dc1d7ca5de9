"""What the outside monitor says of a service is what a voter would have met there."""

import json
import threading
from pathlib import Path

import pytest

from ballot.definition import parse_toml
from loadtests.outside import watch
from loadtests.outside.observed import DOWN, SLOW, UNKNOWN, UP
from loadtests.outside.prober import CLOSED, NO_CODES, Pace, Prober
from loadtests.voting.voter import Answer
from tests.unit.loadtests.served import ServedBallot, told

PACE = Pace(period_s=0.02, deadline_s=5.0, store_deadline_s=0.0)


class Service(ServedBallot):
    """The served ballot with a voter database behind it, which stores unless told not to."""

    def __init__(self) -> None:
        super().__init__(parse_toml(watch.DEFINITION))
        self.state = "stored"
        self.faults: dict[str, Answer] = {}
        self.closed = 0

    def send(self, method: str, path: str, body: bytes | None = None) -> Answer:
        """What the API would answer, or the fault of that step."""
        step = path.rpartition("/")[2]
        if step in self.faults:
            if step == "votes" and self.faults[step].status == 0:
                super().send(method, path, body)  # it arrived; its answer was lost
            return self.faults[step]
        if "/receipts/" in path:
            return told(200, {"state": self.state})
        return super().send(method, path, body)

    def close(self) -> None:
        """A connection was closed."""
        self.closed += 1


@pytest.fixture
def service() -> Service:
    """A working one."""
    return Service()


def prober(service: Service, *, codes: int = 3) -> Prober:
    """The outside monitor with so many codes."""
    return Prober(
        lambda: service,
        ballot=watch.OUTSIDE,
        desk_public=service.desk.public,
        codes=[service.code().text() for _ in range(codes)],
        pace=PACE,
        sleep=lambda _: None,
    )


def test_a_working_service_is_up(service: Service) -> None:
    """Each look casts a vote of its own, over a connection of its own, and sees it stored."""
    looking = prober(service)
    seen = [looking.look() for _ in range(3)]
    assert [(look.state, look.reason) for look in seen] == [(UP, "")] * 3
    assert len(service.voted) == service.closed == 3


@pytest.mark.parametrize(
    ("step", "answer", "state", "reason"),
    [
        ("document", Answer(0), DOWN, "no answer"),
        ("keys", Answer(500), DOWN, "http 500"),
        ("document", Answer(503), DOWN, "http 503"),
        ("document", told(200, {"another": "document"}), DOWN, "the ballot document is not the desk's"),
        ("access", Answer(403), DOWN, "http 403"),
        ("access", Answer(409), UNKNOWN, CLOSED),
        ("votes", Answer(503), DOWN, "http 503"),
        ("votes", Answer(0), DOWN, "no answer"),
        ("votes", told(201, {"reference": "made up"}), DOWN, "the receipt does not verify"),
        ("votes", Answer(409), UNKNOWN, CLOSED),
    ],
)
def test_what_stops_a_voter_is_down(
    service: Service, step: str, answer: Answer, state: str, reason: str
) -> None:
    """Every step that fails makes it down and names why; a closed ballot says nothing of the service."""
    service.faults[step] = answer
    look = prober(service).look()
    assert (look.state, look.reason) == (state, reason)
    assert look.started_us <= look.ended_us


def test_an_answer_after_the_deadline_is_none(service: Service) -> None:
    """Who waits longer than a voter would, and then gets a receipt, was not served."""
    looking = prober(service)
    looking._pace = Pace(period_s=1, deadline_s=0.0, store_deadline_s=0)
    look = looking.look()
    assert (look.state, look.reason) == (DOWN, "timeout")


def test_a_vote_not_stored_is_slow(service: Service) -> None:
    """Accepted, and not in the voter database in time; or put aside there."""
    service.state = "accepted"
    looking = prober(service)
    assert looking.look().reason == "not stored in time"
    service.state = "held"
    look = looking.look()
    assert (look.state, look.reason) == (SLOW, "held")


def test_a_vote_whose_fate_is_unknown_goes_again(service: Service) -> None:
    """The next look sends the identical vote, which counts once, and uses no further code."""
    looking = prober(service, codes=1)
    service.faults["votes"] = Answer(0)
    assert looking.look().state == DOWN
    service.faults.clear()
    assert looking.look().state == UP
    assert len(service.voted) == 1


def test_without_codes_nothing_is_known(service: Service) -> None:
    """A monitor that cannot vote does not call the service down."""
    look = prober(service, codes=0).look()
    assert (look.state, look.reason) == (UNKNOWN, NO_CODES)


def test_it_looks_every_period_until_told_to_stop(service: Service, tmp_path: Path) -> None:
    """The file has a line a look, read back as intervals; a torn line is left out."""
    stop = threading.Event()
    looking = prober(service, codes=1000)
    path = tmp_path / watch.LOOKS_FILE

    class Counted:
        """Stops after five looks."""

        def look(self) -> object:
            """Look, and stop if that was the last."""
            seen = looking.look()
            if len(service.voted) >= 5:
                stop.set()
            return seen

    watch.watch(Counted(), PACE, path, stop, seconds_max=60.0)  # type: ignore[arg-type]
    lines = path.read_text().splitlines()
    assert len(lines) >= 5
    assert {json.loads(line)["state"] for line in lines} == {UP}
    with path.open("a") as file:
        file.write('{"started_us": 1, "end')
    (seen,) = watch.seen(path, period_s=60.0)
    assert (seen.state, seen.from_us) == (UP, min(json.loads(line)["started_us"] for line in lines))


def test_a_watch_has_a_longest_time(service: Service, tmp_path: Path) -> None:
    """Nobody has to tell it to stop."""
    watch.watch(prober(service), PACE, tmp_path / "looks", threading.Event(), seconds_max=0.05)
    assert (tmp_path / "looks").read_text().count("\n") <= 4


def test_the_post_survives_being_told() -> None:
    """What the process reads is what was booked."""
    post = watch.Post("http://127.0.0.1:1", Path("desk.json"), Path("codes.csv"), 0.5, 60.0)
    assert watch.Post.from_json(post.to_json()) == post
    secure = watch.Post("https://x", Path("d"), Path("c"), 0.5, 60.0, ca=Path("ca.pem"))
    assert watch.Post.from_json(secure.to_json()) == secure


def test_the_pace_is_told_with_the_looks(tmp_path: Path) -> None:
    """Whoever judges the looks later must know how far apart they were meant to be."""
    assert watch.pace_of(tmp_path).period_s == watch.PERIOD_SECONDS
    (tmp_path / watch.PACE_FILE).write_text('{"period_s": 2.5, "deadline_s": 1, "store_deadline_s": 9}')
    assert watch.pace_of(tmp_path) == Pace(2.5, 1.0, 9.0)
