"""Who is on the roll, who votes what, and who does what people do: drawn from a seed, exact, no I/O.

The same scenario and seed give the same plan; per question the papers always add up to the published figures.
"""

import csv
import io
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from ballot.definition import Definition, Question
from loadtests.scenario import SPOILT, Scenario

ROLL_COLUMNS = ("member_id", "name", "email", "mobile", "address")
UNKNOWN_OPTION = "maybe"
# Of the roll, who has no e-mail address and gets a text message, and who has neither and gets a letter.
WITHOUT_EMAIL = 0.10
WITHOUT_MOBILE_EITHER = 0.05
# fmt: off
FIRST_NAMES = (
    "Aisha", "Alan", "Bridget", "Callum", "Chidi", "Daisy", "Derek", "Eilidh", "Farah", "Gareth", "Grace",
    "Harjit", "Imogen", "Jamal", "Kirsty", "Leroy", "Megan", "Nadia", "Olwen", "Patrick", "Priya", "Rhys",
    "Shanice", "Siobhan", "Tomasz", "Una", "Victor", "Winston", "Yasmin", "Zofia",
)
SURNAMES = (
    "Adeyemi", "Ahmed", "Baker", "Begum", "Campbell", "Chowdhury", "Clarke", "Davies", "Evans", "Fraser",
    "Gallagher", "Griffiths", "Hughes", "Iqbal", "Jones", "Kaur", "Kowalska", "MacLeod", "Morgan",
    "Murphy", "Nguyen", "Okafor", "Patel", "Price", "Quinn", "Roberts", "Singh", "Taylor", "Walsh",
    "Wilson",
)
# fmt: on
STREETS = ("Sample Street", "Model Road", "Specimen Terrace", "Pattern Lane", "Example Close")


class Lost(Enum):
    """How the first answer to a cast is lost before the identical request goes again."""

    NO = "no"
    DROPPED = "dropped"  # the connection breaks once the request is sent
    UNREAD = "unread"  # the answer comes and nobody looks at it


class Afterwards(Enum):
    """What is tried with the code later, once it has voted."""

    NOTHING = "nothing"
    OTHER_CHOICE = "other choice"  # refused
    SAME_AGAIN = "same again"  # the same reference again


@dataclass(frozen=True, slots=True)
class Person:
    """One row of the roll; all of it made up, on domains and numbers that reach nobody."""

    member_id: str
    name: str
    email: str
    mobile: str
    address: str


@dataclass(frozen=True, slots=True)
class Paper:
    """What one voter marks, in the definition's order; no honest page would send an illegal one."""

    answers: tuple[tuple[str, tuple[str, ...]], ...]
    legal: bool


@dataclass(frozen=True, slots=True)
class Voter:
    """One voter's choice and habits."""

    member_id: str
    paper: Paper
    double_click: bool
    lost: Lost
    mistyped: bool
    foreign_code: bool
    reissue: bool
    afterwards: Afterwards
    two_devices: bool = False
    """Casts `other_paper` from another device at the same moment: one of the two is accepted."""
    abandoned: bool = False
    """Has come once before and left without casting."""
    think_s: float = 0.0
    """Seconds between opening the paper and casting it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everybody on the roll, and those of them who vote, in the order in which they come."""

    people: tuple[Person, ...]
    voters: tuple[Voter, ...]

    @property
    def reissues(self) -> tuple[str, ...]:
        """The member ids of those who ask for a new code before they vote."""
        return tuple(voter.member_id for voter in self.voters if voter.reissue)

    def roll_csv(self) -> str:
        """The roll as the desk imports it."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(ROLL_COLUMNS)
        writer.writerows(
            (person.member_id, person.name, person.email, person.mobile, person.address)
            for person in self.people
        )
        return out.getvalue()


def draw(scenario: Scenario, *, seed: int | None = None) -> Plan:
    """The plan of `scenario`; another `seed` than the scenario's changes who does what, never a total."""
    rng = random.Random(f"{scenario.name}/{scenario.seed if seed is None else seed}")
    people = tuple(_person(number, rng) for number in range(scenario.entitled))
    turnout = rng.sample(people, scenario.votes)
    return Plan(people=people, voters=_voters(scenario, turnout, rng))


def _person(number: int, rng: random.Random) -> Person:
    """Person `number` of the roll. Every contact is unique, and none can reach anyone."""
    first, last = rng.choice(FIRST_NAMES), rng.choice(SURNAMES)
    chance = rng.random()
    return Person(
        member_id=f"M{number + 1:07d}",
        name=f"{first} {last}",
        email="" if chance < WITHOUT_EMAIL else f"{first}.{last}.{number + 1}@members.example".lower(),
        # The range kept for drama, 07700 900xxx, carried on so that each number stays unique.
        mobile="" if chance < WITHOUT_MOBILE_EITHER else f"07700 {900_000 + number:06d}",
        address=f"{rng.randint(1, 199)} {rng.choice(STREETS)}, Exampleton, ZZ{number % 90 + 10} 9ZZ",
    )


def _voters(scenario: Scenario, turnout: Sequence[Person], rng: random.Random) -> tuple[Voter, ...]:
    """The voters of `turnout` with their papers and habits."""
    habits, votes = scenario.behaviour, len(turnout)
    papers = _papers(scenario, rng)
    double, retry = _apart(votes, (habits.double_click, habits.retry), rng)
    used, repeat = _apart(votes, (habits.used_code, habits.later_repeat), rng)
    (mistyped,), (foreign,), (reissue,) = (
        _apart(votes, (share,), rng) for share in (habits.mistyped, habits.foreign_code, habits.reissue)
    )
    return tuple(
        Voter(
            member_id=person.member_id,
            paper=papers[number],
            double_click=number in double,
            lost=rng.choice((Lost.DROPPED, Lost.UNREAD)) if number in retry else Lost.NO,
            mistyped=number in mistyped,
            foreign_code=number in foreign,
            reissue=number in reissue,
            afterwards=Afterwards.OTHER_CHOICE
            if number in used
            else Afterwards.SAME_AGAIN
            if number in repeat
            else Afterwards.NOTHING,
        )
        for number, person in enumerate(turnout)
    )


def _apart(votes: int, shares: Sequence[float], rng: random.Random) -> list[set[int]]:
    """For each share that many of `votes` numbers, rounded up; no number is in two of them."""
    numbers = rng.sample(range(votes), votes)
    taken, sets = 0, []
    for share in shares:
        wanted = math.ceil(round(share * votes, 6))
        sets.append(set(numbers[taken : taken + wanted]))
        taken += wanted
    return sets


def _papers(scenario: Scenario, rng: random.Random) -> list[Paper]:
    """As many papers as votes: per question the published figures exactly, questions shuffled apart."""
    columns = []
    for question in scenario.definition.questions:
        column: list[tuple[tuple[str, ...], bool]] = []
        for option, votes in scenario.published[question.id].items():
            if option == SPOILT:
                kinds = _spoilt(question)
                column += [kinds[number % len(kinds)] for number in range(votes)]
            else:
                column += [((option,), True)] * votes
        rng.shuffle(column)
        columns.append(column)
    ids = [question.id for question in scenario.definition.questions]
    return [
        Paper(
            answers=tuple((question, marks) for question, (marks, _) in zip(ids, row, strict=True)),
            legal=all(legal for _, legal in row),
        )
        for row in zip(*columns, strict=True)
    ]


def _spoilt(question: Question) -> list[tuple[tuple[str, ...], bool]]:
    """The ways to spoil `question`: left blank, and what only a dishonest page sends."""
    if question.form != "single":
        return [((), True)]
    return [
        ((), True),
        (tuple(option.id for option in question.options[:2]), False),
        ((UNKNOWN_OPTION,), False),
    ]


def other_paper(paper: Paper, definition: Definition) -> Paper:
    """A legal paper unlike `paper`: each question's first option, or blank if it says that already."""
    first = Paper(tuple((known.id, (known.options[0].id,)) for known in definition.questions), legal=True)
    blank = Paper(tuple((known.id, ()) for known in definition.questions), legal=True)
    return blank if paper.answers == first.answers else first
