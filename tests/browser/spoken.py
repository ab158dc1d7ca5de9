"""What a screen reader has of a page: names, roles, states, what is said with them, and where the focus is.

Playwright's snapshot of the accessibility tree leaves out descriptions (hints and errors tied to a control),
live regions, the focus and the languages; they stand under it, from the browser's own tree and the document.
What differs from run to run is replaced by what it is.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from playwright.sync_api import Page

from tests.browser.words import catalogue

SYMBOLS: Final = "[0-9A-HJKMNP-TV-Z]"
_VOLATILE: Final = (
    (rf"\b{SYMBOLS}{{4}}(?:-{SYMBOLS}{{4}}){{4}}\b", "<code>"),
    (rf"\b{SYMBOLS}{{4}}(?:-{SYMBOLS}{{4}}){{3}}\b", "<reference>"),
    (rf"\b{SYMBOLS}{{4}}(?:-{SYMBOLS}{{4}}){{2}}\b", "<number>"),
    (rf"\b(?:{SYMBOLS} ){{3}}{SYMBOLS}(?:, (?:{SYMBOLS} ){{3}}{SYMBOLS}){{3}}\b", "<reference, spelled>"),
    (rf"\b(?:{SYMBOLS} ){{3}}{SYMBOLS}(?:, (?:{SYMBOLS} ){{3}}{SYMBOLS}){{2}}\b", "<number, spelled>"),
    (r"\b[0-9a-f]{64}\b", "<digest>"),
    (r"\b[0-9a-f]{4}(?:[ -][0-9a-f]{4}){3}\b", "<sixteen digits>"),
    (r"/b/[a-z]+-\d+\b", "/b/<ballot>"),
    (r"blob:[^\s\"]+", "<blob>"),
    (r"http://127\.0\.0\.1:\d+", "<address>"),
)


def _times() -> str:
    """A pattern of the times that the page writes, in either language."""
    whole = []
    for language in ("en", "cy"):
        texts = catalogue(language)
        patterns = {"day": r"\d+", "year": r"\d{4}", "clock": r"\d\d:\d\d(?::\d\d)?"}
        words = "|".join(re.escape(words) for key, words in texts.items() if key.startswith("time."))
        pattern = re.escape(texts["time.whole"])
        for name in ("weekday", "day", "month", "year", "clock"):
            pattern = pattern.replace(re.escape(f"{{{name}}}"), patterns.get(name, f"(?:{words})"))
        whole.append(pattern)
    return "|".join(whole)


# Parts whose language is marked as another than that of what is around them; "" where nothing is marked.
_LANGUAGES: Final = """() => {
  const around = (element) => element.parentElement?.closest("[lang]")?.lang ?? "";
  const marked = [...document.body.querySelectorAll("[lang]")].filter(
    (element) => element.lang !== around(element) && element.getClientRects().length > 0,
  );
  return marked.map((element) => [element.lang, element.innerText.replace(/\\s+/g, " ").trim()]);
}"""


def spoken(page: Page) -> str:
    """The page as text, the same from run to run."""
    tree = page.locator("body").aria_snapshot()
    language = page.locator("html").get_attribute("lang")
    lines = [f"# title: {page.title()}", f"# language: {language}", tree, *_in_others(page), *_beside(page)]
    return normal("\n".join(lines) + "\n")


def normal(text: str) -> str:
    """The text with the name of a thing where the thing differs from run to run."""
    text = re.sub(_times(), "<time>", text)
    for pattern, name in _VOLATILE:
        text = re.sub(pattern, name, text)
    return text


def _in_others(page: Page) -> Iterator[str]:
    """What is to be spoken in another language than the rest."""
    for language, words in page.evaluate(_LANGUAGES):
        yield f"# in {language}: {words}"


def _beside(page: Page) -> Iterator[str]:
    session = page.context.new_cdp_session(page)
    try:
        nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    finally:
        session.detach()
    by_id = {node["nodeId"]: node for node in nodes}
    for node in _in_order(by_id, nodes[0]):
        properties = {one["name"]: one["value"].get("value") for one in node.get("properties", [])}
        words = _of(node, "name") or _text(by_id, node)
        called = f'{_of(node, "role")} "{words}"'
        if _of(node, "role") == "RootWebArea":
            continue
        if description := _of(node, "description"):
            yield f"# {called} is described: {description}"
        if properties.get("invalid") not in {None, "false"}:
            yield f"# {called} is invalid"
        if properties.get("required"):
            yield f"# {called} is required"
        if properties.get("live"):
            yield f"# {called} is announced when it changes: {properties['live']}"
        if properties.get("focused"):
            yield f"# {called} has the focus"


def _in_order(by_id: dict[str, dict[str, Any]], top: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The node and those below it as they are read, what is hidden from screen readers left out."""
    waiting = [top["nodeId"]]
    while waiting:
        node = by_id[waiting.pop()]
        waiting += [child for child in reversed(node.get("childIds", [])) if child in by_id]
        if not node.get("ignored"):
            yield node


def _text(by_id: dict[str, dict[str, Any]], top: dict[str, Any]) -> str:
    within = (node for node in _in_order(by_id, top) if _of(node, "role") == "StaticText")
    return " ".join(_of(node, "name") for node in within)


def _of(node: dict[str, Any], part: str) -> str:
    return str(node.get(part, {}).get("value", ""))
