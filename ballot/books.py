"""The books of a ballot (promise 12): every term, and by how much each equation is out."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ballot.encoding import Malformed


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What was counted where.

    Codes: `issued` to `revoked`. Electronic votes: `accepted` to `released`. Voters: the rest. A code is used
    when its vote was accepted and not released, revoked when the gate no longer takes it, else unused.
    """

    entitled: int
    issued: int
    used: int
    unused: int
    revoked: int
    accepted: int
    unacknowledged: int
    stored: int
    quarantined: int
    released: int
    voted_electronic: int
    returned_other: int

    def differences(self) -> dict[str, int]:
        """Left side minus right side of each equation, by the book's name; all zero when the books balance.

        `entitled` is no equation but a bound: by how many more voters have voted than may.
        """
        return {
            "issued": self.issued - (self.used + self.unused + self.revoked),
            "accepted": self.accepted - (self.unacknowledged + self.stored + self.quarantined),
            "electronic": self.accepted - self.released - self.voted_electronic,
            "entitled": max(0, self.voted_electronic + self.returned_other - self.entitled),
        }

    @property
    def balanced(self) -> bool:
        """Whether no book is out."""
        return not any(self.differences().values())

    def to_dict(self) -> dict[str, int]:
        """Every term by name."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "Books":
        """The books in `value`; Malformed unless it has exactly the terms, as whole numbers from 0."""
        names = {term.name for term in fields(cls)}
        if value.keys() != names or any(type(term) is not int or term < 0 for term in value.values()):
            raise Malformed("These are not the books of a ballot.")
        return cls(**value)
