"""Who is on the roll, who votes what, and who does what people do: drawn from a seed and exact.

The same scenario and seed give the same plan; per question the papers always add up to the published figures.
"""

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ballot.definition import Definition, Question
from loadtests.published.people import ROLL_COLUMNS, Numbers, People, Person, member_id
from loadtests.published.posted import Posted
from loadtests.published.scenario import SPOILT, Scenario, random_of
from loadtests.published.voters import Afterwards, Habit, Lost, Marks, Paper, Voter, Voters

if TYPE_CHECKING:
    from loadtests.published.scenario import Behaviour

__all__ = [
    "ROLL_COLUMNS",
    "UNKNOWN_OPTION",
    "Afterwards",
    "Lost",
    "Paper",
    "People",
    "Person",
    "Plan",
    "Posted",
    "Voter",
    "Voters",
    "draw",
    "other_paper",
]

UNKNOWN_OPTION = "maybe"


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Everybody on the roll, and those of them who vote online, in the order in which they come.

    Beside them `late` come after the close and `at_close` at that very moment; `posted` is what comes on
    paper. Nobody is in two of these but those who also post a paper.
    """

    people: People
    voters: Voters
    late: Voters
    at_close: Voters
    posted: Posted
    spare: Numbers
    """Everybody else on the roll, by number: who does nothing at all."""

    def outsiders(self, count: int) -> list[str]:
        """The member ids of so many who do not vote, those who come late first; all, if there are fewer."""
        people = np.concatenate([self.late.people, self.at_close.people, self.spare])
        return [member_id(int(person)) for person in people[:count]]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Plan):
            return NotImplemented
        names = ("people", "voters", "late", "at_close", "posted")
        return np.array_equal(self.spare, other.spare) and all(
            getattr(self, name) == getattr(other, name) for name in names
        )

    def __hash__(self) -> int:
        return hash((len(self.people), len(self.voters)))

    @property
    def reissues(self) -> tuple[str, ...]:
        """The member ids of those who ask for a new code before they vote."""
        return self.voters.member_ids(self.voters.having(Habit.REISSUE))

    def roll_csv(self) -> str:
        """The roll as the desk imports it."""
        out = io.StringIO()
        self.people.write(out)
        return out.getvalue()

    def write_roll(self, path: Path) -> None:
        """Write the roll as the desk imports it, person by person."""
        with path.open("w", encoding="utf-8", newline="") as file:
            self.people.write(file)


def draw(scenario: Scenario, *, seed: int | None = None) -> Plan:
    """The plan of `scenario`; another `seed` than the scenario's changes who does what, never a total."""
    rng = random_of(scenario, "plan", seed)
    people = People(scenario.entitled, rng)
    order = rng.permutation(scenario.entitled).astype(np.int32)
    kinds = {question.id: _kinds(question) for question in scenario.definition.questions}
    papers = np.stack([_choices(scenario, question, rng) for question in scenario.definition.questions])
    online, votes = scenario.online_votes, scenario.votes
    voters = Voters(
        kinds,
        papers[:, :online],
        order[:online],
        _habits(scenario.behaviour, online, rng),
        _think(scenario.behaviour, online, rng),
    )
    late = votes + scenario.late_casts
    at_close = late + scenario.at_close_casts
    posted = Posted.of(
        scenario, voters, counted=order[online:votes], papers=papers[:, online:], spare=order[at_close:]
    )
    return Plan(
        people=people,
        voters=voters,
        late=_beside(scenario, kinds, order[votes:late], rng),
        at_close=_beside(scenario, kinds, order[late:at_close], rng),
        posted=posted,
        spare=order[at_close + len(posted.late) + len(posted.rejected) :],
    )


def _kinds(question: Question) -> list[Marks]:
    """The ways to mark `question`: each option alone, left blank, and what only a dishonest page sends."""
    options: list[Marks] = [((option.id,), True) for option in question.options]
    spoilt: list[Marks] = [((), True)]
    if question.form == "single":
        first_two = tuple(option.id for option in question.options[:2])
        spoilt += [(first_two, False), ((UNKNOWN_OPTION,), False)]
    return options + spoilt


def _choices(scenario: Scenario, question: Question, rng: np.random.Generator) -> NDArray[np.uint16]:
    """As many marks as votes on `question`: the published figures exactly, shuffled apart from the others."""
    figures = scenario.published[question.id]
    options = len(question.options)
    ways = len(_kinds(question)) - options
    column = np.concatenate(
        [
            np.repeat(np.arange(options), [figures[option.id] for option in question.options]),
            options + np.arange(figures[SPOILT]) % ways,
        ]
    ).astype(np.uint16)
    rng.shuffle(column)
    return column


def _habits(behaviour: "Behaviour", votes: int, rng: np.random.Generator) -> NDArray[np.uint16]:
    """The habits of so many voters; at one moment nobody does two of what excludes each other."""
    habits = np.zeros(votes, dtype=np.uint16)
    lost = _share(behaviour.retry, votes)
    dropped = int(rng.binomial(lost, 0.5))
    groups: list[list[tuple[Habit, int]]] = [
        [
            (Habit.DOUBLE_CLICK, _share(behaviour.double_click, votes)),
            (Habit.DROPPED, dropped),
            (Habit.UNREAD, lost - dropped),
            (Habit.TWO_DEVICES, _share(behaviour.two_devices, votes)),
        ],
        [
            (Habit.OTHER_CHOICE, _share(behaviour.used_code, votes)),
            (Habit.SAME_AGAIN, _share(behaviour.later_repeat, votes)),
        ],
        [(Habit.MISTYPED, _share(behaviour.mistyped, votes))],
        [(Habit.FOREIGN_CODE, _share(behaviour.foreign_code, votes))],
        [(Habit.REISSUE, _share(behaviour.reissue, votes))],
        [(Habit.ABANDONED, _share(behaviour.abandoned, votes))],
    ]
    for apart in groups:
        if any(wanted for _, wanted in apart):
            numbers, taken = rng.permutation(votes), 0
            for habit, wanted in apart:
                habits[numbers[taken : taken + wanted]] |= habit.value
                taken += wanted
    return habits


def _share(share: float, votes: int) -> int:
    """That share of the votes, rounded up."""
    return math.ceil(round(share * votes, 6))


def _think(behaviour: "Behaviour", votes: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """How long each of so many voters thinks, lognormal."""
    deviations = rng.standard_normal(votes, dtype=np.float32)
    seconds = behaviour.think_median_s * np.exp(behaviour.think_sigma * deviations)
    return np.asarray(seconds, dtype=np.float32)


def _beside(
    scenario: Scenario, kinds: dict[str, list[Marks]], people: NDArray[np.int32], rng: np.random.Generator
) -> Voters:
    """People beside the voters, each with a legal paper of some kind and no clumsy habit."""
    count = len(people)
    options = [len(question.options) for question in scenario.definition.questions]
    return Voters(
        kinds,
        np.stack([rng.integers(many, size=count, dtype=np.uint16) for many in options]),
        people,
        np.zeros(count, dtype=np.uint16),
        _think(scenario.behaviour, count, rng),
    )


def other_paper(paper: Paper, definition: Definition) -> Paper:
    """A legal paper unlike `paper`: each question's first option, or blank if it says that already."""
    first = Paper(tuple((known.id, (known.options[0].id,)) for known in definition.questions), legal=True)
    blank = Paper(tuple((known.id, ()) for known in definition.questions), legal=True)
    return blank if paper.answers == first.answers else first
