"""What comes on paper: who sends one, what a count by hand finds, and the files that the desk takes."""

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ballot.encoding import format_time
from loadtests.published.people import Numbers, member_id
from loadtests.published.scenario import SPOILT, Scenario
from loadtests.published.voters import Voters


@dataclass(frozen=True, slots=True, eq=False)
class Posted:
    """People by number: whose paper counts, who votes online as well, whose is late, and whose is no good.

    Of those who vote online as well, half send a paper afterwards (`also`), of which the desk says that they
    have voted already; the paper of the others is there before (`first`), counts, and their online vote must
    be refused: they are the voters right after `also`. `hand_count` is of all papers that count, per question
    and option; late papers and rejected covers are never recorded.
    """

    counted: Numbers
    also: Numbers
    first: Numbers
    late: Numbers
    rejected: Numbers
    hand_count: dict[str, dict[str, int]]

    @classmethod
    def of(
        cls,
        scenario: Scenario,
        voters: Voters,
        *,
        counted: Numbers,
        papers: NDArray[np.uint16],
        spare: Numbers,
    ) -> "Posted":
        """The papers of `scenario`: of `counted` those marked as `papers` say, of `spare` those that fail."""
        told = scenario.paper
        shares = (told.also_paper, told.late, told.rejected) if told is not None else (0.0, 0.0, 0.0)
        sizes = (len(voters), len(counted), len(counted))
        also, late, rejected = (
            math.ceil(round(share * size, 6)) for share, size in zip(shares, sizes, strict=True)
        )
        after = also - also // 2
        return cls(
            counted=counted,
            also=voters.people[:after],
            first=voters.people[after:also],
            late=spare[:late],
            rejected=spare[late : late + rejected],
            hand_count={
                question.id: _count(
                    [option.id for option in question.options],
                    np.concatenate([papers[row], voters.choices[row, after:also]]),
                )
                for row, question in enumerate(scenario.definition.questions)
            },
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Posted):
            return NotImplemented
        names = ("counted", "also", "first", "late", "rejected")
        return self.hand_count == other.hand_count and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in names
        )

    def __hash__(self) -> int:
        return hash(len(self.counted))

    def came_first(self, turn: int) -> bool:
        """Whether a paper of voter number `turn` is there before that voter comes."""
        return len(self.also) <= turn < len(self.also) + len(self.first)

    @property
    def counts(self) -> bool:
        """Whether any paper counts."""
        return bool(len(self.counted) or len(self.first))

    def write_count(self, path: Path) -> None:
        """Write what `ballot tally --papers` reads: question,option,count."""
        rows = [
            (question, option, count)
            for question, figures in self.hand_count.items()
            for option, count in figures.items()
        ]
        _write(path, ("question", "option", "count"), rows)


def _count(options: list[str], column: NDArray[np.uint16]) -> dict[str, int]:
    """How often each option is marked in `column`; every other way to mark is spoilt."""
    counts = np.bincount(column, minlength=len(options))
    figures = {option: int(counts[number]) for number, option in enumerate(options)}
    return figures | {SPOILT: int(counts[len(options) :].sum())}


def write_returns(path: Path, people: Numbers, *, received_us: int) -> None:
    """Write what `ballot returns` reads: the papers of `people`, all received at that time."""
    received_at = format_time(received_us)
    rows = ((member_id(int(person)), received_at) for person in people)
    _write(path, ("member_id", "received_at"), rows)


def _write(path: Path, heading: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    """A CSV file, row by row."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(heading)
        writer.writerows(rows)
