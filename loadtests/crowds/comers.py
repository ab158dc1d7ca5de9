"""Who comes to an open-loop run, by number, and what they cast: a table in a file, not a plan in memory.

What the run found is reckoned from it in processes of their own, which never see a code.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ballot.definition import Definition
from loadtests.crowds.timetable import GOING_ON_EVERY, Rows, Timetable
from loadtests.published.plan import Paper, Plan, other_paper
from loadtests.published.scenario import SPOILT

COMER = np.dtype([("member_id", "S24"), ("paper", "<u4"), ("other", "<u4"), ("ballot", "<u2")])
"""A person: `paper` is what they vote, `other` what a second device or a second try says."""

CountedFor = Mapping[str, Sequence[str]]
"""For each question the options that a paper counts for, or that it is spoilt."""

Counts = dict[str, dict[str, int]]
"""Votes by question and option."""


@dataclass(frozen=True, slots=True)
class Comers:
    """The table, and the papers that its columns point to."""

    table: Rows
    papers: Sequence[CountedFor]


class _Papers:
    """Every paper once, by how it counts."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, Paper], int] = {}
        self.told: list[CountedFor] = []

    def number(self, ballot: int, paper: Paper, definition: Definition) -> int:
        """The number of `paper` of ballot number `ballot`."""
        key = (ballot, paper)
        if key not in self._numbers:
            self._numbers[key] = len(self.told)
            self.told.append(counted_for(paper, definition))
        return self._numbers[key]


def counted_for(paper: Paper, definition: Definition) -> CountedFor:
    """How `paper` is counted, each question on its own, as the tally does."""
    questions = {question.id: question for question in definition.questions}
    told = {}
    for name, marks in paper.answers:
        question = questions[name]
        known = {option.id for option in question.options}
        most = 1 if question.form == "single" else len(known)
        told[name] = list(marks) if 0 < len(marks) <= most and set(marks) <= known else [SPOILT]
    return told


def first_choices(definition: Definition) -> Paper:
    """A legal paper with each question's first option."""
    blank = Paper(tuple((question.id, ()) for question in definition.questions), legal=True)
    return other_paper(blank, definition)


def drawn_up(
    timetable: Timetable,
    plans: Sequence[Plan],
    definitions: Sequence[Definition],
    *,
    going_on: Callable[[], None] = lambda: None,
) -> Comers:
    """Everybody, voters first, ballot after ballot, then the extras; `going_on` is called now and then."""
    papers = _Papers()
    table = np.zeros(timetable.voters + len(timetable.extras), COMER)
    number = 0
    for ballot, (plan, definition) in enumerate(zip(plans, definitions, strict=True)):
        for voter in plan.voters:
            if number % GOING_ON_EVERY == 0:
                going_on()
            own = papers.number(ballot, voter.paper, definition)
            other = papers.number(ballot, other_paper(voter.paper, definition), definition)
            table[number] = (voter.member_id.encode(), own, other, ballot)
            number += 1
    for extra in timetable.extras:
        own = papers.number(extra.ballot, extra.voter.paper, definitions[extra.ballot])
        table[number] = (extra.voter.member_id.encode(), own, own, extra.ballot)
        number += 1
    return Comers(table=table, papers=papers.told)


def added_up(numbers: Mapping[tuple[int, int], int], papers: Sequence[CountedFor]) -> dict[int, Counts]:
    """For each ballot, question and option the votes of so many papers: `numbers` by ballot and paper."""
    told: dict[int, Counts] = {}
    for (ballot, paper), votes in sorted(numbers.items()):
        questions = told.setdefault(ballot, {})
        for question, options in papers[paper].items():
            counts = questions.setdefault(question, {})
            for option in options:
                counts[option] = counts.get(option, 0) + votes
    return told
