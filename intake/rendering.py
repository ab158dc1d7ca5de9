"""Templates and words made into whole pages; everything that could be missing is looked for at start."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ballot.definition import Definition, shown
from intake.preferences import LANGUAGES, Language
from intake.texts import Texts
from runtime.built_page import BuiltPage

FOLDER: Final = Path(__file__).resolve().parent / "page"
TEMPLATES: Final = ("vote", "about", "check", "complaint", "problem", "home")
OTHER: Final[dict[Language, Language]] = {"en": "cy", "cy": "en"}


@dataclass(frozen=True, slots=True)
class Shown:
    """A ballot as its pages name it, in one language."""

    id: str
    title: str
    kind: str
    union: str
    employer: str
    scrutineer: str
    contact: str
    methods: tuple[str, ...]

    def words(self) -> dict[str, str]:
        """What the description may mention."""
        return {name: getattr(self, name) for name in ("title", "union", "employer", "scrutineer", "contact")}


def shown_in(definition: Definition, language: Language) -> Shown:
    """What pages in `language` say about a ballot."""
    return Shown(
        id=definition.id,
        title=shown(definition.title, language),
        kind=definition.kind,
        union="" if definition.union is None else shown(definition.union, language),
        employer="" if definition.employer is None else shown(definition.employer, language),
        scrutineer=shown(definition.scrutineer, language),
        contact=shown(definition.contact, language),
        methods=definition.methods,
    )


SAMPLE: Final = Shown("sample", "Sample", "other", "", "", "Sample", "sample@example.org", ("electronic",))
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
        self._templates = {name: environment.get_template(f"{name}.html") for name in TEMPLATES}
        for language in LANGUAGES:
            self._try(language, whole=built is not None)

    def page(
        self, template: str, language: Language, *, ballot: Shown | None = None, **more: object
    ) -> bytes:
        """The page; `more` are further names that its template knows."""
        words = {} if ballot is None else ballot.words()
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
