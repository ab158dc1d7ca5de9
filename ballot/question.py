"""A question and its options as every process sees them."""

from dataclasses import dataclass
from typing import Any, TypeAlias

Text: TypeAlias = str | dict[str, str]
"""What a voter reads: one language, or several by their code, always with English ("en")."""

FORMS = ("single", "multiple", "ranked")


@dataclass(frozen=True, slots=True)
class Option:
    """One thing a voter can choose."""

    id: str
    text: Text


@dataclass(frozen=True, slots=True)
class Question:
    """One question. `max` is the most options a voter may choose, for the form `multiple` only."""

    id: str
    text: Text
    form: str
    options: tuple[Option, ...]
    max: int | None = None

    @property
    def choices_max(self) -> int:
        """The most options a legal answer may hold; an empty answer (left blank) is always legal to send."""
        if self.form == "single":
            return 1
        return len(self.options) if self.max is None else self.max

    def to_dict(self) -> dict[str, Any]:
        """As in the canonical definition: absent fields omitted."""
        value: dict[str, Any] = {
            "id": self.id,
            "text": self.text,
            "form": self.form,
            "options": [{"id": option.id, "text": option.text} for option in self.options],
        }
        if self.max is not None:
            value["max"] = self.max
        return value


def shown(text: Text, language: str = "en") -> str:
    """`text` in `language`, else in English."""
    if isinstance(text, str):
        return text
    return text.get(language, text["en"])
