"""Which addresses there are, by exact spelling, and what may be done there."""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal

from intake import replies

READ: Final = frozenset({"GET", "HEAD"})
WRITE: Final = frozenset({"POST"})

Name = Literal[
    "",
    "votes",
    "access",
    "ballot",
    "document",
    "receipt",
    "keys",
    "complaints",
    "openapi",
    "livez",
    "readyz",
    "home page",
    "vote page",
    "about page",
    "check page",
    "complaint page",
    "asset",
    "hashes",
]
PAGES: Final[frozenset[Name]] = frozenset(
    {"home page", "vote page", "about page", "check page", "complaint page", "asset", "hashes"}
)
"""What is for people, or for the page that people look at; its errors are pages too."""

_BALLOT: Final = re.compile(
    r"/api/v1/ballots/([a-z0-9-]{1,40})(?:/(document|access|votes|receipts/([^/]{1,40})))?"
)
_FIXED: Final[dict[str, Name]] = {
    "/api/v1/keys": "keys",
    "/api/v1/complaints": "complaints",
    "/api/v1/openapi.json": "openapi",
    "/": "home page",
    "/complaint": "complaint page",
    "/assets/hashes.json": "hashes",
    "/livez": "livez",
    "/readyz": "readyz",
}
_TAILS: Final[dict[str | None, Name]] = {
    None: "ballot",
    "document": "document",
    "access": "access",
    "votes": "votes",
}
_PAGE: Final = re.compile(r"/b/([a-z0-9-]{1,40})(?:/(about|check|complaint)?)?")
"""A slash at the end, as some programs add it to a link, leads to the same page."""

_PAGE_TAILS: Final[dict[str | None, Name]] = {
    None: "vote page",
    "about": "about page",
    "check": "check page",
    "complaint": "complaint page",
}
_ASSET: Final = re.compile(r"/assets/([a-z]{1,20}-[0-9a-f]{12}\.(?:js|css|svg))")
_NOT_FOR_PEOPLE: Final = re.compile(r"/(?:api|livez|readyz)(?:/.*)?", re.DOTALL)
_METHODS: Final = {"access": WRITE, "votes": WRITE, "complaints": WRITE}


@dataclass(frozen=True, slots=True)
class Route:
    """What is asked for: `name` of the resource, and the ballot and reference, or the file, in its path."""

    name: Name
    ballot: str = ""
    reference: str = ""
    file: str = ""
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
    match = _PAGE.fullmatch(path)
    if match is not None:
        return Route(_PAGE_TAILS[match[2]], match[1])
    match = _ASSET.fullmatch(path)
    if match is not None:
        return Route("asset", file=match[1])
    name = _FIXED.get(path)
    if name is None:
        raise replies.not_found()
    return Route(name)


def for_people(found: Route, path: str) -> bool:
    """Whether an error at `path`, which is `found` or nowhere, is shown to a person and not to a program."""
    if found.name:
        return found.name in PAGES
    return _NOT_FOR_PEOPLE.fullmatch(path) is None
