"""A ballot's own words on a page: marked with their language where it is another, the contact as links.

A screen reader speaks each text in the language that is marked. A definition has every text in English and
some in Welsh too, so that a Welsh page may hold English words.
"""

import re
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

from ballot.question import Text, shown
from intake.preferences import Language

_REACHABLE: Final = re.compile(
    r"(?P<web>https?://[^\s,;<>()]+[^\s,;<>().])"
    r"|(?P<email>[^\s,;<>()]+@[^\s,;<>()]+\.[a-z]{2,})"
    r"|(?P<telephone>\+?[0-9][0-9 ()-]{7,}[0-9])",
    re.IGNORECASE,
)
_TAG: Final = Markup('<span lang="{}">{}</span>')
_LINK: Final = Markup('<a href="{}">{}</a>')
_CONTACT: Final = Markup('<span class="contact">{}</span>')
_CONTACT_IN: Final = Markup('<span class="contact" lang="{}">{}</span>')


@dataclass(frozen=True, slots=True)
class Wording:
    """A text of a ballot's definition, and the language it is in."""

    text: str
    language: Language = "en"

    def __str__(self) -> str:
        """The text alone, for where no element can say its language."""
        return self.text


def wording(text: Text | None, language: Language) -> Wording:
    """What voters who read `language` see of `text`; nothing if there is none."""
    if text is None:
        return Wording("", language)
    within = not isinstance(text, str) and language in text
    return Wording(shown(text, language), language if within else "en")


def said(words: Wording, language: Language) -> Markup:
    """`words` in a sentence in `language`."""
    return escape(words.text) if words.language == language else _TAG.format(words.language, words.text)


def reach(words: Wording, language: Language) -> Markup:
    """A contact, its addresses and telephone numbers as links."""
    parts, done = [], 0
    for match in _REACHABLE.finditer(words.text):
        parts += [escape(words.text[done : match.start()]), _LINK.format(_target(match), match[0])]
        done = match.end()
    linked = Markup("").join([*parts, escape(words.text[done:])])
    if words.language == language:
        return _CONTACT.format(linked)
    return _CONTACT_IN.format(words.language, linked)


def _target(match: re.Match[str]) -> str:
    if match["email"]:
        return f"mailto:{match[0]}"
    if match["web"]:
        return match[0]
    number = match[0].replace("(0)", "") if match[0].startswith("+") else match[0]
    return "tel:" + re.sub(r"[^+0-9]", "", number)
