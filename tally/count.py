"""A count is numbers only: once a vote is added, nothing of it is left but what it added."""

from dataclasses import dataclass, field
from typing import Self

from ballot.definition import Definition
from ballot.rejection import Rejection
from ballot.sealing import hpke_info
from tally.answers import MalformedAnswers, judge, read_answers
from tally.opening import DoesNotOpen, OpeningKey

DOES_NOT_OPEN = Rejection.DOES_NOT_OPEN.value
MALFORMED_ANSWERS = Rejection.MALFORMED_ANSWERS.value


@dataclass(frozen=True, slots=True)
class SealedVote:
    """One vote as exported: its line in the export file, and the two things needed to open it."""

    line: int
    bind: bytes
    sealed: bytes


@dataclass(slots=True)
class QuestionCount:
    """The count of one question: valid answers, spoilt ones, and how often each option was chosen."""

    counts: dict[str, int]
    valid: int = 0
    spoilt: int = 0

    def add(self, chosen: tuple[str, ...] | None) -> None:
        """Count one answer: the options it chose, or None if it is spoilt."""
        if chosen is None:
            self.spoilt += 1
            return
        self.valid += 1
        for option in chosen:
            self.counts[option] += 1


@dataclass(slots=True)
class Count:
    """The count of some of a ballot's votes; counts of disjoint parts add up to the count of the whole."""

    questions: list[QuestionCount]
    opened: int = 0
    set_aside: list[tuple[int, str]] = field(default_factory=list)
    """Line in the export and reason of every vote that could not be counted at all."""

    @classmethod
    def empty(cls, definition: Definition) -> Self:
        """Return a count of no votes, with every option at zero."""
        return cls([QuestionCount({option.id: 0 for option in q.options}) for q in definition.questions])

    def merge(self, part: Self) -> None:
        """Add the count of another part of the votes to this one."""
        self.opened += part.opened
        self.set_aside += part.set_aside
        for mine, theirs in zip(self.questions, part.questions, strict=True):
            mine.valid += theirs.valid
            mine.spoilt += theirs.spoilt
            for option, number in theirs.counts.items():
                mine.counts[option] += number

    def reasons(self) -> dict[str, int]:
        """Return how many votes were set aside for each reason that occurred."""
        found: dict[str, int] = {}
        for _, reason in self.set_aside:
            found[reason] = found.get(reason, 0) + 1
        return dict(sorted(found.items()))


def open_and_count(votes: list[SealedVote], *, definition: Definition, key: OpeningKey) -> Count:
    """Open, judge and count each vote; one that cannot be counted is set aside and never stops the rest."""
    count = Count.empty(definition)
    # The definition works its padded size out afresh each time it is asked.
    questions, padded_size = definition.questions, definition.padded_size
    # The same words have the same verdict, and most votes say the same few; forgotten with this call.
    judged: dict[bytes, list[tuple[str, ...] | None]] = {}
    for vote in votes:
        try:
            plaintext = key.open(vote.sealed, info=hpke_info(definition.id, definition.sha256, vote.bind))
            if plaintext not in judged:
                answers = read_answers(plaintext, questions=questions, padded_size=padded_size)
                judged[plaintext] = judge(answers, questions=questions)
        except DoesNotOpen:
            count.set_aside.append((vote.line, DOES_NOT_OPEN))
            continue
        except MalformedAnswers:
            count.set_aside.append((vote.line, MALFORMED_ANSWERS))
            continue
        count.opened += 1
        for question, chosen in zip(count.questions, judged[plaintext], strict=True):
            question.add(chosen)
    return count
