"""Everybody on a roll, made up: columns of numbers from which each person is written out when asked for.

1.3 million people are a few megabytes. No contact is anybody's, and each is one person's only.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TextIO, overload

import numpy as np
from numpy.typing import NDArray

ROLL_COLUMNS = ("member_id", "name", "email", "mobile", "address")
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
HOUSES = 199
Numbers = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Person:
    """One row of the roll; all of it made up, on domains and numbers that reach nobody."""

    member_id: str
    name: str
    email: str
    mobile: str
    address: str


class People(Sequence[Person]):
    """The roll, drawn from `rng`; person `number` is always the same."""

    def __init__(self, count: int, rng: np.random.Generator) -> None:
        self._number = np.arange(count, dtype=np.int32)
        self._first = rng.integers(len(FIRST_NAMES), size=count, dtype=np.uint8)
        self._last = rng.integers(len(SURNAMES), size=count, dtype=np.uint8)
        self._street = rng.integers(len(STREETS), size=count, dtype=np.uint8)
        self._house = rng.integers(1, HOUSES + 1, size=count, dtype=np.uint8)
        chance = rng.random(count, dtype=np.float32)
        self._email = chance >= WITHOUT_EMAIL
        self._mobile = chance >= WITHOUT_MOBILE_EITHER

    def __len__(self) -> int:
        return len(self._number)

    @overload
    def __getitem__(self, index: int) -> Person: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Person]: ...
    def __getitem__(self, index: int | slice) -> Person | Sequence[Person]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        number = int(self._number[index])
        first, last = FIRST_NAMES[self._first[index]], SURNAMES[self._last[index]]
        street = STREETS[self._street[index]]
        return Person(
            member_id=member_id(number),
            name=f"{first} {last}",
            email=f"{first}.{last}.{number + 1}@members.example".lower() if self._email[index] else "",
            # The range kept for drama, 07700 900xxx, carried on so that each number stays unique.
            mobile=f"07700 9{number:05d}" if self._mobile[index] else "",
            address=f"{self._house[index]} {street}, Exampleton, ZZ{number % 90 + 10} 9ZZ",
        )

    def __iter__(self) -> Iterator[Person]:
        return (self[number] for number in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, People):
            return NotImplemented
        mine, theirs = vars(self), vars(other)
        return all(np.array_equal(column, theirs[name]) for name, column in mine.items())

    def __hash__(self) -> int:
        return hash(len(self))

    def write(self, file: TextIO) -> None:
        """The roll as the desk imports it, row by row."""
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(ROLL_COLUMNS)
        writer.writerows(
            (person.member_id, person.name, person.email, person.mobile, person.address) for person in self
        )


def member_id(number: int) -> str:
    """The membership number of person `number` of a roll."""
    return f"M{number + 1:07d}"
