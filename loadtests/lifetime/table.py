"""How a run shows its figures: to a person as a table, to a program as JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

from loadtests.lifetime.life import Figure


def table(figures: Sequence[Figure]) -> str:
    """The figures as aligned text, one line each under a heading."""
    heading = ("question", "option", "published", "counted", "difference")
    rows = [
        (
            figure.what,
            figure.option,
            f"{figure.published:,}",
            f"{figure.counted:,}",
            f"{figure.difference:+,}".lstrip("+"),
        )
        for figure in figures
    ]
    widths = [max(len(row[column]) for row in (heading, *rows)) for column in range(len(heading))]

    def line(row: Sequence[str]) -> str:
        texts = [row[column].ljust(widths[column]) for column in range(2)]
        numbers = [row[column].rjust(widths[column]) for column in range(2, len(heading))]
        return "  ".join((*texts, *numbers))

    return "\n".join([line(heading), "  ".join("-" * width for width in widths), *map(line, rows)])


def differences(figures: Sequence[Figure]) -> int:
    """How many figures are not what they must be."""
    return sum(figure.difference != 0 for figure in figures)


def books_lines(books: Mapping[str, Any]) -> str:
    """The books, one term a line."""
    terms = [(term.replace("_", " "), value) for term, value in books.items() if isinstance(value, int)]
    for question, sums in books.get("questions", {}).items():
        terms += [(f"{question}, {term}", value) for term, value in sums.items()]
    width = max((len(term) for term, _ in terms), default=0)
    return "\n".join(f"  {term.ljust(width)}  {value:>9,}" for term, value in terms)


def as_json(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """The figures as JSON values."""
    return [
        {
            "question": figure.what,
            "option": figure.option,
            "published": figure.published,
            "counted": figure.counted,
            "difference": figure.difference,
        }
        for figure in figures
    ]
