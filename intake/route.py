"""Which addresses there are, by exact spelling, and what may be done there."""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal

from intake import replies

READ: Final = frozenset({"GET", "HEAD"})
WRITE: Final = frozenset({"POST"})

Name = Literal[
    "", "votes", "access", "ballot", "document", "receipt", "keys", "complaints", "openapi", "livez", "readyz"
]

_BALLOT: Final = re.compile(
    r"/api/v1/ballots/([a-z0-9-]{1,40})(?:/(document|access|votes|receipts/([^/]{1,40})))?"
)
_FIXED: Final[dict[str, Name]] = {
    "/api/v1/keys": "keys",
    "/api/v1/complaints": "complaints",
    "/api/v1/openapi.json": "openapi",
    "/livez": "livez",
    "/readyz": "readyz",
}
_TAILS: Final[dict[str | None, Name]] = {
    None: "ballot",
    "document": "document",
    "access": "access",
    "votes": "votes",
}
_METHODS: Final = {"access": WRITE, "votes": WRITE, "complaints": WRITE}


@dataclass(frozen=True, slots=True)
class Route:
    """What is asked for: `name` of the resource, and the ballot and reference in its path."""

    name: Name
    ballot: str = ""
    reference: str = ""
    methods: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Note the methods it has."""
        object.__setattr__(self, "methods", _METHODS.get(self.name, READ))


NOWHERE: Final = Route("")
"""Of a request whose address we do not have, or have not looked at."""


@lru_cache(maxsize=4_096)
def route(path: str) -> Route:
    """The resource at `path`; Rejected(NOT_FOUND) when there is none."""
    match = _BALLOT.fullmatch(path)
    if match is not None:
        ballot, tail, reference = match.groups()
        if reference is not None:
            return Route("receipt", ballot, reference)
        return Route(_TAILS[tail], ballot)
    name = _FIXED.get(path)
    if name is None:
        raise replies.not_found()
    return Route(name)
