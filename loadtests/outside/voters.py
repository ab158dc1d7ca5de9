"""What voters met of a deployment, second by second, as one of those who saw the run.

They wait longer than a monitor and come by another way, so that some seconds tell nothing certain.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadtests.crowds.buckets import upper_ms
from loadtests.outside.observed import DOWN, PARTLY, UP, Interval, merged
from loadtests.outside.observers import Mark
from loadtests.outside.outpost import DEADLINE_SECONDS

#: What the generator calls an attempt that nobody answered, and one that it did not wait for.
UNANSWERED, HUNG_UP = "none", "hung up"
UNAVAILABLE = "503"
ASKED_AGAIN = "all were asked to come again"
SERVER_FAULTS = 500
PARTLY_SHARE_MIN = 0.2
US = 1_000_000


@dataclass(slots=True)
class _Met:
    """What became of the attempts of one second."""

    answered: int = 0
    failed: int = 0
    asked_again: int = 0
    slow: int = 0

    def add(self, line: Mapping[str, Any]) -> None:
        """What one generator's line says."""
        for outcome, count in line["outcomes"].items():
            if outcome != HUNG_UP:
                fails = is_failure(outcome)
                self.failed += int(count) * fails
                self.answered += int(count) * (not fails)
                self.asked_again += int(count) * (outcome == UNAVAILABLE)
        for answers in ("service", "turned_away"):
            self.slow += sum(
                int(count)
                for index, count in line.get(answers, {}).items()
                if upper_ms(int(index)) > DEADLINE_SECONDS * 1000
            )

    @property
    def tried(self) -> int:
        """All of them."""
        return self.answered + self.failed


def voters_saw(lines: Iterable[Mapping[str, Any]], pressed: Sequence[Mark] = ()) -> list[Interval]:
    """What voters met, by whole seconds, all generators together: down is a second without any answer.

    A second in which nobody tried tells nothing. Nothing certain tells one in which a fifth or more failed,
    but not all; one in which a fifth or more were answered later than a monitor waits; and, while the
    deployment is `pressed`, one in which all were asked to come again: somebody else may have got in.
    """
    seconds: dict[int, _Met] = {}
    for line in lines:
        seconds.setdefault(int(line["s"]), _Met()).add(line)
    found = []
    for second in sorted(seconds):
        met = seconds[second]
        if met.tried == 0:
            continue
        state, reason = UP, ""
        refused = met.asked_again == met.failed and _meets(second, pressed)
        if not met.answered:
            state, reason = (PARTLY, ASKED_AGAIN) if refused else (DOWN, "no attempt was answered")
        elif met.failed >= met.tried * PARTLY_SHARE_MIN:
            state, reason = PARTLY, "some attempts were answered, others not"
        elif met.slow >= met.tried * PARTLY_SHARE_MIN:
            state, reason = PARTLY, "some attempts were answered later than a monitor waits"
        found.append(Interval(second * US, (second + 1) * US, state, reason))
    return merged(found)


def _meets(second: int, marks: Sequence[Mark]) -> bool:
    return any(mark.from_us < (second + 1) * US and mark.to_us > second * US for mark in marks)


def is_failure(outcome: str) -> bool:
    """Whether the service did not do its part: no answer, or one of its own faults, as `not_confirmed`."""
    return outcome == UNANSWERED or (outcome.isdecimal() and int(outcome) >= SERVER_FAULTS)
