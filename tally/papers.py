"""The papers counted by hand: a CSV `question,option,count`, every fault named with its line.

The option `spoilt` is the papers on which that question was blank or unclear. For a question with one choice
a paper the rows add up to the papers; where several may be chosen only the bounds can be checked.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from ballot.definition import Definition
from tally.count import QuestionCount

HEADER = ["question", "option", "count"]
SPOILT = "spoilt"
PAPERS_FILE_BYTES_MAX = 1024 * 1024  # a definition's options at a line each are far below this
COUNT_DIGITS_MAX = 9


@dataclass(frozen=True, slots=True)
class Papers:
    """The hand count: `total` papers, and the count of each question in definition order."""

    total: int
    questions: tuple[QuestionCount, ...]


class PapersFaults(ValueError):  # noqa: N818  # it carries all of them
    """Everything that is wrong with the file, at once; each line of the text names a line of the file."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


def none_of(definition: Definition) -> Papers:
    """Return the hand count of a ballot without papers."""
    return Papers(0, tuple(QuestionCount({o.id: 0 for o in q.options}) for q in definition.questions))


def read(path: Path) -> str:
    """Return the text of the papers file, bounded."""
    try:
        with path.open("rb") as file:
            data = file.read(PAPERS_FILE_BYTES_MAX + 1)
    except OSError as fault:
        raise click.ClickException(f"{path} cannot be read: {fault.strerror}") from None
    if len(data) > PAPERS_FILE_BYTES_MAX:
        raise click.ClickException(f"{path} is too long to be a count of papers")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise click.ClickException(f"{path} is not UTF-8 text") from None


def parse(content: str, *, definition: Definition, returned: int) -> Papers:
    """Return the hand count of a ballot to which `returned` papers came back, or raise PapersFaults."""
    reader = csv.reader(io.StringIO(content, newline=""))
    faults: list[str] = []
    found: dict[tuple[str, str], int] = {}
    wanted = {q.id: [*(o.id for o in q.options), SPOILT] for q in definition.questions}
    try:
        header = next(reader, [])
        if [cell.strip() for cell in header] != HEADER:
            raise PapersFaults([f"line 1: the header must be {','.join(HEADER)}"])
        for row in reader:
            fault = _row_fault(row, wanted=wanted, found=found) if any(cell.strip() for cell in row) else None
            if fault is not None:
                faults.append(f"line {reader.line_num}: {fault}")
    except csv.Error as fault:
        faults.append(f"line {reader.line_num}: not a CSV row: {fault}")
    # A row left out is a zero where a paper has one choice, as the total proves; elsewhere nothing proves it.
    faults += [
        f"there is no row for {question.id},{option}"
        for question in definition.questions
        if question.choices_max > 1
        for option in wanted[question.id]
        if (question.id, option) not in found
    ]
    if faults:
        raise PapersFaults(faults)
    return _totals(found, definition=definition, returned=returned)


def _row_fault(
    row: list[str], *, wanted: Mapping[str, Sequence[str]], found: dict[tuple[str, str], int]
) -> str | None:
    """Add one row to `found`, or say what is wrong with it."""
    if len(row) != len(HEADER):
        return f"there must be {len(HEADER)} fields, and there are {len(row)}"
    question, option, number = (cell.strip() for cell in row)
    if question not in wanted:
        return f"'{question}' is not a question of this ballot"
    if option not in wanted[question]:
        return f"'{option}' is not an option of question '{question}'"
    if (question, option) in found:
        return f"{question},{option} is there twice"
    if not (number.isascii() and number.isdigit() and len(number) <= COUNT_DIGITS_MAX):
        return f"'{number}' is not a count: a whole number, zero or more"
    found[question, option] = int(number)
    return None


def _totals(found: dict[tuple[str, str], int], *, definition: Definition, returned: int) -> Papers:
    """Check each question against the number of papers returned."""
    faults: list[str] = []
    questions: list[QuestionCount] = []
    for question in definition.questions:
        spoilt = found.get((question.id, SPOILT), 0)
        chosen = {option.id: found.get((question.id, option.id), 0) for option in question.options}
        valid = returned - spoilt
        most = question.choices_max
        marks = sum(chosen.values())
        if most == 1 and marks + spoilt != returned:
            faults.append(
                f"question {question.id}: {marks + spoilt} papers are counted and {returned} were returned "
                f"by post or at the workplace"
            )
        elif spoilt > returned or not valid <= marks <= valid * most or max(chosen.values()) > valid:
            faults.append(
                f"question {question.id}: {marks} choices and {spoilt} spoilt cannot come from {returned} "
                f"papers with 1 to {most} choices each"
            )
        questions.append(QuestionCount(chosen, valid=valid, spoilt=spoilt))
    if faults:
        raise PapersFaults(faults)
    return Papers(returned, tuple(questions))
