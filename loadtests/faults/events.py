"""What was done and what came of it, one record a fault; and the whole run as one line of a history."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from loadtests.faults.draw import Fault
from loadtests.faults.tape import US, Tape

ASKED_LATER = (429, 503)
"""Honest answers that say: not now, and it is safe to try again."""


@dataclass(frozen=True, slots=True)
class Done:
    """A fault that was done: when it began, from when votes had to be accepted again, when that was seen."""

    fault: Fault
    began_us: int
    back_us: int
    over_us: int


@dataclass(frozen=True, slots=True)
class Event:
    """A fault with what the voters saw of it, from its beginning to that of the next."""

    number: int
    kind: str
    kills: int
    began_us: int
    lasted_s: float
    resumed_s: float
    pause_s: float
    votes: int
    asked_later: int
    unanswered: int
    lost: int
    doubled: int


def events(
    done: Sequence[Done], tape: Tape, *, end_us: int, lost: Sequence[str], doubled: Sequence[str]
) -> list[Event]:
    """Every fault with its figures; `lost` and `doubled`: references, put down to where they were given."""
    ends = [*(each.began_us for each in done[1:]), end_us]
    return [_event(each, tape, to_us, lost, doubled) for each, to_us in zip(done, ends, strict=True)]


def _event(each: Done, tape: Tape, to_us: int, lost: Sequence[str], doubled: Sequence[str]) -> Event:
    from_us = each.began_us
    answers = tape.answers(from_us, to_us)
    later = tape.since(each.back_us)

    def given(references: Sequence[str]) -> int:
        return sum(from_us <= tape.when.get(reference, 0) < to_us for reference in references)

    return Event(
        number=each.fault.number,
        kind=each.fault.kind.name,
        kills=each.fault.kind.kills,
        began_us=from_us,
        lasted_s=round((each.back_us - from_us) / US, 3),
        resumed_s=round((later[0] - each.back_us) / US, 3) if later else -1.0,
        pause_s=round(tape.longest_pause_s(from_us, to_us), 3),
        votes=tape.between(from_us, to_us),
        asked_later=sum(answers[status] for status in ASKED_LATER),
        unanswered=answers[0],
        lost=given(lost),
        doubled=given(doubled),
    )


@dataclass(slots=True)
class Account:
    """A run and its verdict: it is good when nothing is `wrong`, with each fault of it in one sentence."""

    seed: int
    began: str
    events: list[Event] = field(default_factory=list)
    votes: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0
    notes: dict[str, float] = field(default_factory=dict)

    @property
    def kills(self) -> int:
        """Processes that were killed."""
        return sum(event.kills for event in self.events)

    def to_dict(self) -> dict[str, Any]:
        """The run as one line of a history."""
        return {
            "seed": self.seed,
            "began": self.began,
            "seconds": self.seconds,
            "faults": dict(sorted(Counter(event.kind for event in self.events).items())),
            "kills": self.kills,
            "kills_by_kind": _kills_by_kind(self.events),
            "votes": self.votes,
            "lost": len(self.lost),
            "doubled": len(self.doubled),
            "slowest_s": _slowest(self.events),
            "wrong": self.wrong,
            **({"notes": self.notes} if self.notes else {}),
        }

    def lines(self) -> Iterable[dict[str, Any]]:
        """Every event, then the run."""
        yield from ({"event": asdict(event)} for event in self.events)
        yield {"run": self.to_dict() | {"lost": self.lost, "doubled": self.doubled}}


def _kills_by_kind(done: Sequence[Event]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for event in done:
        if event.kills:
            counts[event.kind] += event.kills
    return dict(sorted(counts.items()))


def _slowest(done: Sequence[Event]) -> dict[str, float]:
    slowest: dict[str, float] = {}
    for event in done:
        slowest[event.kind] = max(event.resumed_s, slowest.get(event.kind, 0.0))
    return dict(sorted(slowest.items()))
