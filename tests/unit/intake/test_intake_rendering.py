"""Pages say what the catalogues say, and nothing that a definition holds is ever more than text."""

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from intake.preferences import Language
from intake.rendering import FOLDER, SAMPLE, TEMPLATES, Renderer, Shown
from intake.texts import Texts, filled
from intake.wording import Wording, reach, said, wording
from runtime.built_page import BuiltPage, read
from tests.made_page import make

HOSTILE = (
    """</script><script>alert(1)</script><!--"'> {{ 7*7 }} {title} & <img src=x onerror=alert()> \u2028"""
)
_WORDS = Wording(HOSTILE)
BAD = Shown("a-1", _WORDS, HOSTILE, _WORDS, _WORDS, _WORDS, _WORDS, ("postal",))


class Elements(HTMLParser):
    """Every element with its attributes, and the text of each script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._in_script = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note it."""
        self.found.append((tag, dict(attrs)))
        self._in_script = tag == "script"

    def handle_endtag(self, tag: str) -> None:
        """A script ends."""
        self._in_script = self._in_script and tag != "script"

    def handle_data(self, data: str) -> None:
        """Note a script's text."""
        if self._in_script:
            self.scripts.append(data)


@pytest.fixture
def built(tmp_path: Path) -> BuiltPage:
    """A page with files of our own."""
    return read(make(tmp_path / "built"))


@pytest.fixture
def renderer(built: BuiltPage) -> Renderer:
    """The real templates and words."""
    return Renderer(built)


def pages(renderer: Renderer, language: Language, ballot: Shown, island: object) -> dict[str, str]:
    """Return every page of a ballot, and its errors."""
    made = {
        template: renderer.page(template, language, ballot=ballot, island=island, path="/b/a-1").decode()
        for template in TEMPLATES
    }
    for status in (400, 404, 405, 503):
        made[str(status)] = renderer.problem(status, language, ballot).decode()
        made[f"{status} both"] = renderer.problem(status, None, ballot).decode()
    return made


def test_hostile_texts_are_text(renderer: Renderer) -> None:
    """No element, attribute or script comes from a definition; the island is the same value again."""
    for language in ("en", "cy"):
        plain = pages(renderer, language, replace(SAMPLE, id="a-1", methods=("postal",)), {"title": "x"})
        hostile = pages(renderer, language, BAD, {"title": HOSTILE})
        for name, html in hostile.items():
            elements = Elements(html)
            tags = [tag for tag, _ in elements.found if tag != "a"]
            assert tags == [tag for tag, _ in Elements(plain[name]).found if tag != "a"], name
            assert not [key for _, given in elements.found for key in given if key.startswith("on")], name
            assert "<img" not in html, name
            assert "49" not in "".join(elements.scripts), name
            for _, given in elements.found:
                assert not (given.get("href") or "").lower().startswith(("javascript:", "data:"))
            for script in elements.scripts:
                assert json.loads(script) == {"title": HOSTILE}


def test_hostile_texts_are_shown_whole(renderer: Renderer) -> None:
    """What is put into a sentence is not looked through for placeholders again."""
    html = renderer.page("about", "en", ballot=BAD, island=None).decode()

    assert "{{ 7*7 }} {title} &amp; &lt;img" in html
    assert filled("{a} {b}", {"a": "{b}", "b": "c"}) == "{b} c"


@pytest.mark.parametrize("language", ["en", "cy"])
def test_every_page_in_every_language(renderer: Renderer, built: BuiltPage, language: Language) -> None:
    """Its language, the version, links that keep the language, and no script or style within."""
    for name, html in pages(renderer, language, SAMPLE, {}).items():
        spoken = "en" if name.endswith("both") else language
        elements = Elements(html)
        assert ("html", {"lang": spoken}) in elements.found, name
        assert built.version in html, name
        assert not [given for tag, given in elements.found if tag == "style" or "style" in given], name
        for tag, given in elements.found:
            if tag == "script" and "src" in given:
                assert re.fullmatch(r"/assets/[a-z]+-[0-9a-f]{12}\.js", given["src"] or ""), name
                assert (given["integrity"] or "").startswith("sha256-"), name
            elif tag == "script":
                assert given == {"type": "application/json", "id": "island"}, name
            if tag == "link" and given["rel"] == "stylesheet":
                assert (given["integrity"] or "").startswith("sha256-"), name
        assert html.count("<h1") == 1, name


def test_an_error_in_both_languages(renderer: Renderer) -> None:
    """Said twice when we do not know what the voter reads."""
    both, one = (renderer.problem(404, language, None).decode() for language in (None, "cy"))

    assert '<section lang="cy">' in both
    assert "<section" not in one
    assert 'href="?lang=cy"' in both
    assert 'href="?lang=en"' in one


def test_without_a_built_page_there_are_errors() -> None:
    """They refer to nothing that is not there."""
    html = Renderer(None).problem(503, "en", SAMPLE).decode()

    assert "sample@example.org" in html
    assert "/assets/" not in html


@pytest.mark.parametrize(
    ("file", "content", "fault"),
    [
        ("text/en.json", "{}", ValueError),
        ("text/cy.json", "[]", ValueError),
        ("templates/vote.html", "{{ t('no.such.text') }}", KeyError),
        ("templates/about.html", "{{ no_such_name }}", UndefinedError),
        ("templates/home.html", "{{ ballot.no_such_part }}", UndefinedError),
    ],
)
def test_what_is_missing_is_found_at_start(
    tmp_path: Path, built: BuiltPage, file: str, content: str, fault: type[Exception]
) -> None:
    """No voter is the first to meet a text or a name that is not there."""
    folder = tmp_path / "page"
    for part in ("text", "templates"):
        shutil.copytree(FOLDER / part, folder / part)
    Renderer(built, folder)
    (folder / file).write_text(content)

    with pytest.raises(fault):
        Renderer(built, folder)


def test_a_placeholder_that_nobody_fills_is_an_error() -> None:
    """In a page that the server makes, no sentence has a hole."""
    say = Texts(FOLDER / "text").say("en")

    assert "Somebody" in say("frame.run_by", scrutineer="Somebody")
    with pytest.raises(KeyError):
        say("frame.run_by")


def test_words_in_another_language_say_so(renderer: Renderer) -> None:
    """English words of a ballot on a Welsh page, wherever they stand; what is the page's is not marked."""
    ballot = replace(
        SAMPLE,
        title=Wording("Pay"),
        scrutineer=Wording("Ann Other"),
        contact=Wording("ann@other.example, 020 7946 0000"),
    )
    for name, html in pages(renderer, "cy", ballot, {}).items():
        body = html.split("<body", 1)[1]
        if name.endswith("both"):
            body = body.split('<section lang="cy">')[1].split("</section>")[0]
        else:
            assert body.count('<span lang="en">Pay</span>') == body.count("Pay") > 0, name
        assert body.count('<span lang="en">Ann Other</span>') == body.count("Ann Other") > 0, name
        assert body.count('<span class="contact" lang="en">') == body.count("mailto:") > 0, name
    welsh = replace(ballot, title=Wording("Cyflog", "cy"))
    in_welsh, in_english = (
        renderer.page("check", "cy", ballot=welsh, island={}).decode(),
        renderer.page("check", "en", ballot=welsh, island={}).decode(),
    )
    assert '<span class="title">Cyflog</span>' in in_welsh
    assert '<span class="title"><span lang="cy">Cyflog</span></span>' in in_english


def test_which_language_a_text_is_in() -> None:
    """A text with Welsh is Welsh for who reads it; any other is English; what is not there is nobody's."""
    both = {"en": "Pay", "cy": "Cyflog"}

    assert [str(wording(both, language)) for language in ("en", "cy")] == ["Pay", "Cyflog"]
    assert said(wording(both, "cy"), "cy") == "Cyflog"
    assert said(wording({"en": "Pay & more"}, "cy"), "cy") == '<span lang="en">Pay &amp; more</span>'
    assert said(wording("Pay", "en"), "en") == "Pay"
    assert said(wording(None, "cy"), "cy") == ""


def test_a_contact_can_be_pressed() -> None:
    """Addresses and telephone numbers are links to exactly themselves, and everything else is text."""
    contact = Wording(
        "help@scrutineer.example, +44 (0)20 7946-0000; https://scrutineer.example/a?b=1&c=2. <b>9 to 5</b>"
    )

    assert reach(contact, "en") == (
        '<span class="contact"><a href="mailto:help@scrutineer.example">help@scrutineer.example</a>, '
        '<a href="tel:+442079460000">+44 (0)20 7946-0000</a>; '
        '<a href="https://scrutineer.example/a?b=1&amp;c=2">https://scrutineer.example/a?b=1&amp;c=2</a>. '
        "&lt;b&gt;9 to 5&lt;/b&gt;</span>"
    )
    assert "<script" not in reach(Wording('"><script>@x.example'), "cy")
