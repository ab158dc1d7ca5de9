"""The page's words in every language, from the same catalogue files that its scripts have within them."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup, escape

from intake.preferences import LANGUAGES, Language

Section = dict[str, Any]

_PLACE: Final = re.compile(r"\{([a-z_]+)\}")


def filled(text: str, params: Mapping[str, str]) -> str:
    """`text` with its placeholders replaced, each once: what is put in is never looked through again.

    Where something put in is Markup, the whole is: everything else in it is then escaped here.
    """
    if any(isinstance(value, Markup) for value in params.values()):
        return Markup(_PLACE.sub(lambda match: escape(params[match[1]]), str(escape(text))))  # noqa: S704  # both halves are escaped
    return _PLACE.sub(lambda match: str(params[match[1]]), text)


@dataclass(frozen=True, slots=True)
class Say:
    """The function by which a template gets its words, in one language."""

    language: Language
    _texts: Mapping[str, str]

    def __call__(self, key: str, **params: str) -> str:
        """The text of `key`; KeyError for one that is not there, and for a placeholder that nobody fills."""
        return filled(self._texts[key], params)


class Texts:
    """All catalogues, whole; KeyError for a text that is not there, ValueError for files that disagree."""

    def __init__(self, folder: Path) -> None:
        self._texts: dict[Language, dict[str, str]] = {}
        self._about: dict[Language, list[Section]] = {}
        for language in LANGUAGES:
            self._texts[language] = _read(folder / f"{language}.json", dict)
            self._about[language] = _read(folder / f"about.{language}.json", list)
        if len({frozenset(texts) for texts in self._texts.values()}) != 1:
            raise ValueError("The languages do not have the same texts.")

    def say(self, language: Language) -> Say:
        """What says everything in `language`."""
        return Say(language, self._texts[language])

    def about(self, language: Language, params: Mapping[str, str]) -> list[Section]:
        """The plain description of how the vote works, section by section."""
        return [
            {
                "heading": filled(section["heading"], params),
                "paragraphs": [filled(text, params) for text in section["paragraphs"]],
                "list": [filled(text, params) for text in section.get("list", ())],
            }
            for section in self._about[language]
        ]


def _read(path: Path, kind: type[Any]) -> Any:
    value = json.loads(path.read_bytes())
    if not isinstance(value, kind):
        raise ValueError(f"{path.name} is not a catalogue.")  # noqa: TRY004  # the file's fault, not a type's
    return value
