"""Templates and words made into whole pages; everything that could be missing is looked for at start."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ballot.definition import Definition
from intake.preferences import LANGUAGES, Language
from intake.texts import Texts
from intake.wording import Wording, reach, said, wording
from runtime.built_page import BuiltPage

FOLDER: Final = Path(__file__).resolve().parent / "page"
TEMPLATES: Final = ("vote", "about", "check", "complaint", "problem", "home")
OTHER: Final[dict[Language, Language]] = {"en": "cy", "cy": "en"}


@dataclass(frozen=True, slots=True)
class Shown:
    """A ballot as its pages name it, in one language."""

    id: str
    title: Wording
    kind: str
    union: Wording
    employer: Wording
    scrutineer: Wording
    contact: Wording
    methods: tuple[str, ...]

    def words(self, language: Language) -> dict[str, str]:
        """What a description in `language` may mention."""
        names = ("title", "union", "employer", "scrutineer")
        marked = {name: said(getattr(self, name), language) for name in names}
        return {**marked, "contact": reach(self.contact, language)}


def shown_in(definition: Definition, language: Language) -> Shown:
    """What pages in `language` say about a ballot."""
    return Shown(
        id=definition.id,
        title=wording(definition.title, language),
        kind=definition.kind,
        union=wording(definition.union, language),
        employer=wording(definition.employer, language),
        scrutineer=wording(definition.scrutineer, language),
        contact=wording(definition.contact, language),
        methods=definition.methods,
    )


SAMPLE: Final = Shown(
    id="sample",
    title=Wording("Sample"),
    kind="other",
    union=Wording(""),
    employer=Wording(""),
    scrutineer=Wording("Sample"),
    contact=Wording("sample@example.org"),
    methods=("electronic",),
)
"""What every page is tried with at start."""


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as a template refers to it."""

    url: str
    integrity: str


class Renderer:
    """Makes pages; with `built` None they refer to no script and no style sheet, which only errors may."""

    def __init__(self, built: BuiltPage | None, folder: Path = FOLDER) -> None:
        self._texts = Texts(folder / "text")
        files = {} if built is None else built.files
        assets = {name: Asset(f"/assets/{file.path}", file.integrity) for name, file in files.items()}
        environment = Environment(
            loader=FileSystemLoader(folder / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            auto_reload=False,
        )
        environment.globals.update(
            asset=assets.get, page_version="" if built is None else built.version, island=None, t_other=None
        )
        environment.filters.update(said=said, reach=reach)
        self._templates = {name: environment.get_template(f"{name}.html") for name in TEMPLATES}
        for language in LANGUAGES:
            self._try(language, whole=built is not None)

    def page(
        self, template: str, language: Language, *, ballot: Shown | None = None, **more: object
    ) -> bytes:
        """The page; `more` are further names that its template knows."""
        words = {} if ballot is None else ballot.words(language)
        given: dict[str, Any] = {
            "t": self._texts.say(language),
            "lang": language,
            "other_lang": OTHER[language],
            "ballot": ballot,
            "about": [] if template != "about" else self._texts.about(language, words),
            "path": "",
            "status": 200,
            "key_fingerprint": "",
        }
        return self._templates[template].render({**given, **more}).encode()

    def problem(self, status: int, language: Language | None, ballot: Shown | None) -> bytes:
        """An error; said in both languages when the voter's is not known. Its links lead back to itself."""
        both = {"t_other": self._texts.say("cy")} if language is None else {}
        return self.page("problem", language or "en", ballot=ballot, status=status, **both)

    def _try(self, language: Language, *, whole: bool) -> None:
        for status in (400, 404, 405, 503):
            for ballot in (None, SAMPLE):
                self.problem(status, language, ballot)
                self.problem(status, None, ballot)
        self.page("home", language)
        if whole:
            for template in ("vote", "about", "check", "complaint"):
                self.page(template, language, ballot=SAMPLE, island={})
            self.page("complaint", language, island={})
