"""Whether everything on a page can be read and reached in little room, and in large letters."""

from functools import cache
from pathlib import Path
from typing import Final

from playwright.sync_api import Page

TARGET_PX: Final = 44
"""Of controls; links in text may be smaller, if they lie far enough apart, which axe judges."""
# WCAG 2.2, 1.4.12: what a reader may set without losing anything.
SPACING: Final = """
* { line-height: 1.5 !important; letter-spacing: 0.12em !important; word-spacing: 0.16em !important; }
p { margin-bottom: 2em !important; }
"""
LARGE: Final = "html { font-size: 200% !important; }"
ROOMS: Final = (
    ("text spacing", 320, 740, SPACING),
    ("letters of twice the size", 360, 740, LARGE),
    ("320 px, or 1280 by 1024 at 400 %", 320, 256, ""),
    ("desktop", 1280, 800, ""),
)
NARROWEST: Final = ROOMS[:2]
"""What is right in these is seldom wrong in the others: enough for the second language."""
# A sheet made by script is not markup: the Content-Security-Policy stays as it is served.
_WEAR: Final = """(text) => {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(text);
  document.adoptedStyleSheets = text === "" ? [] : [sheet];
}"""


@cache
def _check() -> str:
    text = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
    return text[text.index("(smallest)") :]


def problems(page: Page, rooms: tuple[tuple[str, int, int, str], ...] = ROOMS) -> list[str]:
    """What is cut, overlaps, is too small or out of reach, in any of the rooms."""
    found = []
    for room, width, height, sheet in rooms:
        page.set_viewport_size({"width": width, "height": height})
        page.evaluate(_WEAR, sheet)
        found += [f"{room}: {problem}" for problem in page.evaluate(_check(), TARGET_PX)]
    page.evaluate(_WEAR, "")
    return found
