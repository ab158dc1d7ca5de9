"""What was counted: the signed result, its books, the checker's findings, the turnout when all was quiet."""

from dataclasses import fields
from typing import Any, Final

from ballot.books import Books
from ballot.encoding import Malformed
from loadtests.report.axis import Axis
from loadtests.report.reading import RunDirectory, listed, number, whole

LINES_MAX: Final = 10_000
FINDINGS_MAX: Final = 100


def result(files: RunDirectory) -> dict[str, Any]:
    """The signed result's own numbers, and by how much each of its books is out."""
    value = files.table("result.json")
    kept: dict[str, Any] = {
        name: value.get(name)
        for name in ("ballot", "entitled", "votes_cast", "turnout", "by_method", "set_aside", "quarantined")
        if name in value
    }
    return kept | _books(value.get("books"))


def _books(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {}
    terms = {name: term for name, term in value.items() if type(term) is int}
    ours = {field.name: terms[field.name] for field in fields(Books) if field.name in terms}
    try:
        return {"books": ours | terms, "books_differences": Books.from_dict(ours).differences()}
    except Malformed:
        return {"books": ours | terms, "books_differences": None}


def check(files: RunDirectory) -> dict[str, Any]:
    """What the checker found, after the run and independently of it."""
    value = files.table("check.json")
    counts = value.get("counts")
    return {
        "differences": whole(value.get("differences")),
        "counts": {name: whole(count) for name, count in counts.items()} if isinstance(counts, dict) else {},
        "findings": [
            {name: str(row.get(name, ""))[:200] for name in ("kind", "where", "what")}
            for row in listed(value.get("findings"))[:FINDINGS_MAX]
            if isinstance(row, dict)
        ],
        **_books(value.get("books")),
    }


def quiet(files: RunDirectory, axis: Axis | None) -> list[dict[str, Any]]:
    """The streaming turnout and the books, at moments when nobody was voting."""
    told = []
    for row in files.rows("quiet.json")[:LINES_MAX]:
        at, turnout, books = number(row.get("at_us")), row.get("turnout"), row.get("books")
        if at is not None and isinstance(turnout, dict) and isinstance(books, dict):
            at_s = None if axis is None else round(axis.run_s(at), 3)
            told.append({"at_s": at_s, "turnout": turnout, "books": books})
    return told
