"""The page's words in every language, from the same catalogue files that its scripts have within them."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from intake.preferences import LANGUAGES, Language

Section = dict[str, Any]
Say = Callable[..., str]

_PLACE: Final = re.compile(r"\{([a-z_]+)\}")


def filled(text: str, params: Mapping[str, str]) -> str:
    """`text` with its placeholders replaced, each once: what is put in is never looked through again."""
    return _PLACE.sub(lambda match: str(params[match[1]]), text)


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
        """The function by which a template gets its words."""
        texts = self._texts[language]

        def t(key: str, **params: str) -> str:
            return filled(texts[key], params)

        return t

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
