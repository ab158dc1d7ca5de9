"""A result exists only if the books balance: a difference of one and there is nothing to sign.

The same export and papers give the same result, byte for byte, except for its time and signature.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ballot import signed
from ballot.books import Books
from ballot.definition import Definition
from ballot.encoding import format_time
from ballot.suite import SigningKey
from tally.count import Count, QuestionCount
from tally.papers import Papers

DESK_TERMS = tuple(term.name for term in fields(Books))


class DoesNotBalance(Exception):  # noqa: N818  # named for what it says of the books
    """The books differ; the text names each difference, one a line."""


def differences(books: Mapping[str, Any], *, votes_cast: int, by_method: Mapping[str, int]) -> list[str]:
    """Return every difference in a result's books as a sentence; none if they balance.

    The desk's equations are `ballot.books.Books`; the ones from there to the count are here.
    """
    desk_books = Books.from_dict({term: books.get(term) for term in DESK_TERMS})
    found: list[str | None] = [
        f"book {name} is out by {out}" for name, out in desk_books.differences().items() if out
    ]
    counted = books["opened"] + books["papers"]
    found += [
        _difference("unacknowledged", desk_books.unacknowledged, "none", 0),
        _difference("stored", desk_books.stored, "opened + set aside", books["opened"] + books["set_aside"]),
        _difference("papers counted", books["papers"], "papers returned", desk_books.returned_other),
        _difference("votes cast", votes_cast, "opened + papers", counted),
        _difference("votes by method", sum(by_method.values()), "opened + papers", counted),
    ]
    found += [
        _difference(f"question {name}: valid + spoilt", q["valid"] + q["spoilt"], "opened + papers", counted)
        for name, q in books["questions"].items()
    ]
    return [sentence for sentence in found if sentence is not None]


def _difference(left: str, left_value: int, right: str, right_value: int) -> str | None:
    """Return a sentence if two sides that must be equal are not."""
    if left_value == right_value:
        return None
    return f"{left} ({left_value}) is not {right} ({right_value}): a difference of {left_value - right_value}"


def build(
    *,
    definition: Definition,
    desk_books: Books,
    by_method: Mapping[str, int],
    quarantined: Mapping[str, int],
    count: Count,
    papers: Papers,
) -> dict[str, Any]:
    """Return the result without time and signature, or raise DoesNotBalance naming every difference."""
    together = [_sum(ours, theirs) for ours, theirs in zip(count.questions, papers.questions, strict=True)]
    names = [question.id for question in definition.questions]
    votes_cast = count.opened + papers.total
    entitled = desk_books.entitled
    # Votes set aside say nothing that can be counted: they are in the books, not among the votes cast.
    methods = {**by_method, "electronic": count.opened}
    books = {
        **desk_books.to_dict(),
        "opened": count.opened,
        "set_aside": len(count.set_aside),
        "papers": papers.total,
        "questions": {
            name: {"valid": q.valid, "spoilt": q.spoilt} for name, q in zip(names, together, strict=True)
        },
    }
    found = differences(books, votes_cast=votes_cast, by_method=methods)
    if found:
        raise DoesNotBalance("\n".join(found))
    return {
        "ballot": definition.id,
        "definition_sha256": definition.sha256.hex(),
        "entitled": entitled,
        "votes_cast": votes_cast,
        "turnout": turnout(votes_cast, entitled),
        "by_method": methods,
        "questions": [
            {"id": question.id, "form": question.form, "counts": counted.counts, "spoilt": counted.spoilt}
            for question, counted in zip(definition.questions, together, strict=True)
        ],
        "set_aside": count.reasons(),
        "quarantined": dict(quarantined),
        "books": books,
    }


def turnout(votes_cast: int, entitled: int) -> float:
    """Return the fraction of those entitled whose vote was cast; 0 where nobody is entitled."""
    return votes_cast / entitled if entitled else 0.0


def sign(result: Mapping[str, Any], *, key: SigningKey, now_us: int) -> dict[str, Any]:
    """Return the result with its time, signature and key id."""
    return signed.sign_object(
        {**result, "generated_at": format_time(now_us)}, label=signed.RESULT_LABEL, key=key
    )


def _sum(ours: QuestionCount, theirs: QuestionCount) -> QuestionCount:
    """Return the electronic and paper counts of one question together."""
    counts = {option: number + theirs.counts[option] for option, number in ours.counts.items()}
    return QuestionCount(counts, valid=ours.valid + theirs.valid, spoilt=ours.spoilt + theirs.spoilt)
