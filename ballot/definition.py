"""A ballot definition: parsed with every fault at once, or not at all; one canonical form, one digest."""

import hashlib
import re
import tomllib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ballot import limits
from ballot.answers import padded_size
from ballot.definition_check import Check
from ballot.encoding import Malformed, canonical_json, canonical_object, parse_time
from ballot.question import Option, Question, Text, shown
from ballot.toml_lines import LineIndex, Path

__all__ = [
    "Definition",
    "DefinitionFaults",
    "Fault",
    "Option",
    "Question",
    "Text",
    "from_canonical",
    "parse_toml",
    "shown",
]

_TOML_PLACE: Final = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing wrong with a definition, and the line (from 1) it stands on."""

    line: int
    message: str


class DefinitionFaults(ValueError):  # noqa: N818  # it carries all of them
    """Everything wrong with a definition, by line."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__(faults)
        self.faults = faults

    def __str__(self) -> str:
        return "\n".join(f"line {fault.line}: {fault.message}" for fault in self.faults)


@dataclass(frozen=True, slots=True)
class Definition:
    """A checked definition; `sha256` is the digest of its `canonical` RFC 8785 form.

    `union` and `employer` are None where the kind does not ask for them and none was given.
    """

    id: str
    title: Text
    kind: str
    union: Text | None
    employer: Text | None
    scrutineer: Text
    contact: Text
    opens_us: int
    closes_us: int
    methods: tuple[str, ...]
    precedence: str
    questions: tuple[Question, ...]
    canonical: bytes = field(repr=False)
    sha256: bytes = field(repr=False)

    @property
    def padded_size(self) -> int:
        """Bytes of every padded plaintext on this ballot."""
        return padded_size(self.questions)

    def question(self, question_id: str) -> Question:
        """The question called `question_id`; KeyError if there is none."""
        for question in self.questions:
            if question.id == question_id:
                return question
        raise KeyError(question_id)


def parse_toml(text: str) -> Definition:
    """The definition in a TOML `text`; DefinitionFaults with every fault and its line otherwise."""
    text = text.removeprefix("\ufeff")  # some editors put it before everything they save
    if len(text.encode(errors="replace")) > limits.DEFINITION_BYTES_MAX:
        raise DefinitionFaults((Fault(1, f"a definition has at most {limits.DEFINITION_BYTES_MAX} bytes"),))
    try:
        tree = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise DefinitionFaults((_syntax_fault(error, text),)) from error
    return _checked(tree, LineIndex(text))


def from_canonical(data: bytes) -> Definition:
    """The definition whose canonical bytes are `data`; Malformed otherwise."""
    tree = canonical_object(data, bytes_max=limits.DEFINITION_BYTES_MAX)
    ballot = tree.get("ballot")
    if not isinstance(ballot, dict):
        raise Malformed("This is not a ballot definition.")
    times = {name: _read_time(ballot.get(name)) for name in ("opens", "closes")}
    try:
        definition = _checked({**tree, "ballot": ballot | times}, LineIndex(""))
    except DefinitionFaults as faults:
        raise Malformed(f"This is not a ballot definition: {faults.faults[0].message}.") from faults
    if definition.canonical != data:
        raise Malformed("This ballot definition is not in its canonical form.")
    return definition


def _syntax_fault(error: ValueError | RecursionError, text: str) -> Fault:
    """The one fault of a text that is not TOML."""
    if isinstance(error, RecursionError):
        return Fault(1, "this is not TOML that we read: it is nested too deeply")
    place = _TOML_PLACE.search(str(error))
    if place is None:
        return Fault(1, "this is not TOML that we read")
    line = int(place.group(1)) if place.group(1) else max(1, len(text.splitlines()))
    reason = str(error)[: place.start()]
    return Fault(line, f"this is not TOML: {reason[:1].lower()}{reason[1:]}")


def _checked(tree: dict[str, Any], lines: LineIndex) -> Definition:
    """The definition of `tree`, or all its faults."""
    faults: set[Fault] = set()

    def note(path: Path, message: str) -> None:
        faults.add(Fault(lines.line(path), _located(path, message)))

    clean = Check(note).tree(tree)
    if faults:
        raise DefinitionFaults(tuple(sorted(faults)))
    definition = _definition(clean)
    if definition.padded_size > limits.PADDED_BYTES_MAX:
        note(("question",), f"the longest answer would be longer than {limits.PADDED_BYTES_MAX} bytes")
    if len(definition.canonical) > limits.DEFINITION_BYTES_MAX:
        note((), f"a definition has at most {limits.DEFINITION_BYTES_MAX} bytes")
    if faults:
        raise DefinitionFaults(tuple(sorted(faults)))
    return definition


def _located(path: Path, message: str) -> str:
    """`message`, saying which question and option it is about, counted from 1."""
    names = {"question": "question", "options": "option"}
    places = [
        f"{names[str(path[i])]} {int(part) + 1}"
        for i, part in enumerate(path[1:])
        if isinstance(part, int) and path[i] in names
    ]
    return f"{', '.join(places)}: {message}" if places else message


def _definition(clean: dict[str, Any]) -> Definition:
    """A clean tree as values."""
    ballot = clean["ballot"]
    canonical = canonical_json(clean)
    return Definition(
        id=ballot["id"],
        title=ballot["title"],
        kind=ballot["kind"],
        union=ballot.get("union"),
        employer=ballot.get("employer"),
        scrutineer=ballot["scrutineer"],
        contact=ballot["contact"],
        opens_us=parse_time(ballot["opens"]),
        closes_us=parse_time(ballot["closes"]),
        methods=tuple(ballot["methods"]),
        precedence=ballot.get("precedence", "first-recorded"),
        questions=tuple(_question(question) for question in clean["question"]),
        canonical=canonical,
        sha256=hashlib.sha256(canonical).digest(),
    )


def _question(question: dict[str, Any]) -> Question:
    options = tuple(Option(id=option["id"], text=option["text"]) for option in question["options"])
    return Question(question["id"], question["text"], question["form"], options, question.get("max"))


def _read_time(value: object) -> datetime | None:
    """A canonical time as the TOML reader would give it."""
    if not isinstance(value, str):
        return None
    return _EPOCH + timedelta(microseconds=parse_time(value))
