"""Everything a ballot definition must be: every fault is noted and none stops the rest.

What comes out is the clean tree: text in NFC, times as canonical text, nothing added that was not written.
"""

import re
import unicodedata
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from ballot import limits, methods
from ballot.encoding import format_time, time_us
from ballot.question import FORMS
from ballot.toml_lines import Path

ID: Final = re.compile(r"[a-z0-9-]{1,40}")
LANGUAGES: Final = ("en", "cy")
RESERVED_OPTIONS: Final = frozenset({"spoilt"})
"""Means spoilt papers in a count of papers, so it cannot name a choice."""

_BALLOT_TEXTS: Final = ("title", "union", "employer", "scrutineer", "contact")
_BALLOT_FIELDS: Final = ("id", *_BALLOT_TEXTS, "kind", "opens", "closes", "methods", "precedence")
_QUESTION_FIELDS: Final = ("id", "text", "form", "options", "max")
_OPTION_FIELDS: Final = ("id", "text")
_TEXT_CONTROLS: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")


class Check:
    """One pass over a definition's tree; `note(path, message)` is called for every fault."""

    def __init__(self, note: Callable[[Path, str], None]) -> None:
        self._note = note

    def tree(self, tree: dict[str, Any]) -> dict[str, Any]:
        """The clean tree; worthless if a fault was noted."""
        self._known((), tree, ("ballot", "question"))
        ballot = tree.get("ballot")
        questions = tree.get("question")
        clean: dict[str, Any] = {}
        if isinstance(ballot, dict):
            clean["ballot"] = self._ballot(ballot)
        else:
            self._note(("ballot",), "the table [ballot] is missing")
        if not isinstance(questions, list) or not questions:
            self._note(("question",), "there must be at least one [[question]]")
        elif len(questions) > limits.QUESTIONS_MAX:
            self._note(("question",), f"there may be at most {limits.QUESTIONS_MAX} questions")
        else:
            clean["question"] = [
                self._question(("question", i), question) for i, question in enumerate(questions)
            ]
            self._unique(("question",), clean["question"], "question")
        return clean

    def _ballot(self, ballot: dict[str, Any]) -> dict[str, Any]:
        at: Path = ("ballot",)
        self._known(at, ballot, _BALLOT_FIELDS)
        clean = {"id": self._id((*at, "id"), ballot.get("id"))}
        kind = self._one_of((*at, "kind"), ballot.get("kind"), tuple(methods.LEGAL_METHODS))
        optional = {"union"} if kind in methods.WITHOUT_UNION else set()
        optional |= {"employer"} if kind in methods.WITHOUT_EMPLOYER else set()
        for name in _BALLOT_TEXTS:
            if name in ballot or name not in optional:
                clean[name] = self._text((*at, name), ballot.get(name))
        clean |= {"kind": kind} | self._window(at, ballot) | self._methods(at, ballot, kind)
        return clean

    def _window(self, at: Path, ballot: dict[str, Any]) -> dict[str, Any]:
        opens = self._time((*at, "opens"), ballot.get("opens"))
        closes = self._time((*at, "closes"), ballot.get("closes"))
        if opens is None or closes is None:
            return {}
        if closes <= opens:
            self._note((*at, "closes"), "closes must come after opens")
        return {"opens": format_time(opens), "closes": format_time(closes)}

    def _time(self, path: Path, value: object) -> int | None:
        name = path[-1]
        if value is None:
            self._note(path, f"{name} is missing")
        elif not isinstance(value, datetime):
            self._note(path, f"{name} must be a time such as 2025-07-01T09:00:00+01:00, without quotes")
        elif value.tzinfo is None:
            self._note(path, f"{name} must say its offset from UTC, such as Z or +01:00")
        elif value.microsecond:
            self._note(path, f"{name} must be a whole second")
        elif not limits.CLOCK_YEAR_MIN <= value.year <= limits.CLOCK_YEAR_MAX:
            self._note(
                path, f"{name} must be between the years {limits.CLOCK_YEAR_MIN} and {limits.CLOCK_YEAR_MAX}"
            )
        else:
            return time_us(value)
        return None

    def _methods(self, at: Path, ballot: dict[str, Any], kind: str) -> dict[str, Any]:
        path = (*at, "methods")
        value = ballot.get("methods")
        clean: dict[str, Any] = {}
        if not isinstance(value, list) or not value:
            self._note(path, "methods must be a list of " + _listed(methods.METHODS))
        elif any(not isinstance(method, str) or method not in methods.METHODS for method in value):
            self._note(path, "methods may only hold " + _listed(methods.METHODS))
        elif len(set(value)) != len(value):
            self._note(path, "methods names a method twice")
        else:
            clean["methods"] = list(value)
            fault = methods.fault(kind, tuple(value)) if kind in methods.LEGAL_METHODS else None
            if fault is not None:
                self._note(path, fault)
        several = len(clean.get("methods", ())) > 1
        if "precedence" in ballot or several:
            clean["precedence"] = self._one_of(
                (*at, "precedence"), ballot.get("precedence"), methods.PRECEDENCES
            )
        return clean

    def _question(self, at: Path, question: object) -> dict[str, Any]:
        if not isinstance(question, dict):
            self._note(at, "a question must be a table")
            return {}
        self._known(at, question, _QUESTION_FIELDS)
        clean: dict[str, Any] = {
            "id": self._id((*at, "id"), question.get("id")),
            "text": self._text((*at, "text"), question.get("text")),
            "form": self._one_of((*at, "form"), question.get("form"), FORMS),
            "options": self._options((*at, "options"), question.get("options")),
        }
        highest = question.get("max")
        if clean["form"] == "multiple":
            count = max(1, len(clean["options"]))
            if type(highest) is not int or not 1 <= highest <= count:
                self._note(
                    (*at, "max"), f"max must be a whole number from 1 to {count}, the number of options"
                )
        elif highest is not None and clean["form"]:
            self._note((*at, "max"), 'max belongs only to a question of form "multiple"')
        if highest is not None:
            clean["max"] = highest
        return clean

    def _options(self, at: Path, options: object) -> list[dict[str, Any]]:
        if not isinstance(options, list) or not options:
            self._note(at, "options must be a list with at least one option")
            return []
        if len(options) > limits.OPTIONS_MAX:
            self._note(at, f"there may be at most {limits.OPTIONS_MAX} options")
            return []
        clean = []
        for i, option in enumerate(options):
            if not isinstance(option, dict):
                self._note((*at, i), 'an option must be a table such as {id = "yes", text = "Yes"}')
                continue
            self._known((*at, i), option, _OPTION_FIELDS)
            identity = self._id((*at, i, "id"), option.get("id"))
            if identity in RESERVED_OPTIONS:
                self._note(
                    (*at, i, "id"), f'an option may not be called "{identity}": it means spoilt papers'
                )
            clean.append({"id": identity, "text": self._text((*at, i, "text"), option.get("text"))})
        self._unique(at, clean, "option")
        return clean

    def _known(self, at: Path, table: dict[str, Any], fields: tuple[str, ...]) -> None:
        for name in table:
            if name not in fields:
                self._note((*at, name), f'"{_short(name)}" is not known here; known are {", ".join(fields)}')

    def _unique(self, at: Path, items: list[dict[str, Any]], what: str) -> None:
        seen = set()
        for i, item in enumerate(items):
            identity = item.get("id")
            if identity and identity in seen:
                self._note((*at, i, "id"), f'two {what}s have the id "{identity}"')
            seen.add(identity)

    def _id(self, path: Path, value: object) -> str:
        """A legal id, or "" with a fault noted."""
        if isinstance(value, str) and ID.fullmatch(value):
            return value
        state = "is missing" if value is None else "must be 1 to 40 of the characters a-z, 0-9 and -"
        self._note(path, f"id {state}")
        return ""

    def _one_of(self, path: Path, value: object, allowed: tuple[str, ...]) -> str:
        """One of `allowed`, or "" with a fault noted."""
        if isinstance(value, str) and value in allowed:
            return value
        state = "is missing; it must be" if value is None else "must be"
        self._note(path, f"{path[-1]} {state} {_listed(allowed)}")
        return ""

    def _text(self, path: Path, value: object) -> Any:
        if isinstance(value, dict):
            self._known(path, value, LANGUAGES)
            if "en" not in value:
                self._note(path, f'{path[-1]} must have its English text, "en"')
            return {language: self._plain((*path, language), text) for language, text in value.items()}
        return self._plain(path, value)

    def _plain(self, path: Path, value: object) -> str:
        name = path[-1]
        if value is None:
            self._note(path, f"{name} is missing")
        elif not isinstance(value, str) or not value.strip():
            self._note(path, f'{name} must be text, or {{en = "…", cy = "…"}}')
        elif len(value) > limits.TEXT_CHARS_MAX:
            self._note(path, f"{name} may have at most {limits.TEXT_CHARS_MAX} characters")
        elif _TEXT_CONTROLS.search(value) or any(
            unicodedata.category(c) == "Cc" and c != "\n" for c in value
        ):
            self._note(path, f"{name} holds a control character")
        else:
            return unicodedata.normalize("NFC", value)
        return ""


def _listed(names: tuple[str, ...]) -> str:
    """`a`, `b` or `c`, in quotes."""
    quoted = [f'"{name}"' for name in names]
    return quoted[0] if len(quoted) == 1 else ", ".join(quoted[:-1]) + " or " + quoted[-1]


def _short(name: str) -> str:
    """`name` short and printable enough for a message."""
    return "".join(c if c.isprintable() else "?" for c in name[: limits.ID_CHARS_MAX])
