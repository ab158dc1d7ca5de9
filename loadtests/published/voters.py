"""Who votes what and how clumsily, in columns: a voter is written out when asked for.

A choice is a number into the question's kinds of marks, a habit a bit; so 1.3 million voters are some 20
megabytes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from loadtests.published.people import Numbers, member_id


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
class Paper:
    """What one voter marks, in the definition's order; no honest page would send an illegal one."""

    answers: tuple[tuple[str, tuple[str, ...]], ...]
    legal: bool


@dataclass(frozen=True, slots=True)
class Voter:
    """One voter's choice and habits.

    With `two_devices` another paper is cast from elsewhere at the same moment, and one of the two is
    accepted; who has `abandoned` has come once before and left without casting; `think_s` passes between
    opening the paper and casting it.
    """

    member_id: str
    paper: Paper
    double_click: bool
    lost: Lost
    mistyped: bool
    foreign_code: bool
    reissue: bool
    afterwards: Afterwards
    two_devices: bool = False
    abandoned: bool = False
    think_s: float = 0.0


class Habit(Enum):
    """A bit each."""

    DOUBLE_CLICK = 1 << 0
    DROPPED = 1 << 1
    UNREAD = 1 << 2
    MISTYPED = 1 << 3
    FOREIGN_CODE = 1 << 4
    REISSUE = 1 << 5
    OTHER_CHOICE = 1 << 6
    SAME_AGAIN = 1 << 7
    TWO_DEVICES = 1 << 8
    ABANDONED = 1 << 9


Marks = tuple[tuple[str, ...], bool]
"""The options marked on one question, and whether an honest page would send that."""


@dataclass(frozen=True, slots=True, eq=False)
class Voters(Sequence[Voter]):
    """So many voters, in the order in which they come; `choices` name marks among `kinds` of the question."""

    kinds: Mapping[str, Sequence[Marks]]
    choices: NDArray[np.uint16]
    """One row a question, one column a voter."""
    people: Numbers
    habits: NDArray[np.uint16]
    think_s: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.people)

    @overload
    def __getitem__(self, index: int) -> Voter: ...
    @overload
    def __getitem__(self, index: slice) -> "Voters": ...
    def __getitem__(self, index: int | slice) -> "Voter | Voters":
        if isinstance(index, slice):
            columns: dict[str, Any] = {"choices": self.choices[:, index]}
            columns |= {name: getattr(self, name)[index] for name in ("people", "habits", "think_s")}
            return Voters(self.kinds, **columns)
        habits = int(self.habits[index])
        return Voter(
            member_id=member_id(int(self.people[index])),
            paper=self.paper(index),
            double_click=_has(habits, Habit.DOUBLE_CLICK),
            lost=_lost(habits),
            mistyped=_has(habits, Habit.MISTYPED),
            foreign_code=_has(habits, Habit.FOREIGN_CODE),
            reissue=_has(habits, Habit.REISSUE),
            afterwards=_afterwards(habits),
            two_devices=_has(habits, Habit.TWO_DEVICES),
            abandoned=_has(habits, Habit.ABANDONED),
            think_s=float(self.think_s[index]),
        )

    def __iter__(self) -> Iterator[Voter]:
        return (self[index] for index in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Voters):
            return NotImplemented
        names = ("choices", "people", "habits", "think_s")
        return self.kinds == other.kinds and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in names
        )

    def __hash__(self) -> int:
        return hash(len(self))

    def paper(self, index: int) -> Paper:
        """What voter `index` marks."""
        marks = [
            (question, kinds[self.choices[row, index]])
            for row, (question, kinds) in enumerate(self.kinds.items())
        ]
        return Paper(
            answers=tuple((question, options) for question, (options, _) in marks),
            legal=all(legal for _, (_, legal) in marks),
        )

    def having(self, habit: Habit) -> NDArray[np.intp]:
        """The numbers of the voters with `habit`, in order."""
        return np.flatnonzero(self.habits & habit.value)

    def member_ids(self, indices: NDArray[np.intp]) -> tuple[str, ...]:
        """The membership numbers of the voters at `indices`."""
        return tuple(member_id(int(person)) for person in self.people[indices])


def _has(habits: int, habit: Habit) -> bool:
    return bool(habits & habit.value)


def _lost(habits: int) -> Lost:
    if _has(habits, Habit.DROPPED):
        return Lost.DROPPED
    return Lost.UNREAD if _has(habits, Habit.UNREAD) else Lost.NO


def _afterwards(habits: int) -> Afterwards:
    if _has(habits, Habit.OTHER_CHOICE):
        return Afterwards.OTHER_CHOICE
    return Afterwards.SAME_AGAIN if _has(habits, Habit.SAME_AGAIN) else Afterwards.NOTHING
