"""Pictures of each step for the documentation: `.venv/bin/python -m tests.browser.screens ops/voter-page`."""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from playwright.sync_api import Page

from tests.browser import axe, pixels, snapshots
from tests.browser.states import WALKS

PHONE: Final = axe.PHONE
DESKTOP: Final = axe.Mode("desktop", 1280, 800, axe.PLAIN)
PHONE_FORCED: Final = axe.Mode("forced", media=axe.FORCED | {"color_scheme": "dark"})
PHONE_DARK: Final = axe.Mode("dark", media=axe.DARK)


@dataclass(frozen=True, slots=True)
class Picture:
    """Pictures of one state: what it is, what they show of it, in which language, and how looked at."""

    state: str
    title: str
    says: str = ""
    language: str = "en"
    modes: tuple[axe.Mode, ...] = (PHONE, DESKTOP)

    def name(self, mode: axe.Mode) -> str:
        """The name of its file."""
        return f"{self.state}-{self.language}-{mode.name}.png"


STEPS: Final = (
    Picture(
        "start",
        "The start, after a link",
        "Whose ballot this is, what is recorded, and that the code is there.",
    ),
    Picture(
        "start-check",
        "A slip in a typed code",
        "Said at the top, with a link to the field; what was typed stays.",
    ),
    Picture("question-single", "A question with one answer", "One may be chosen, or none."),
    Picture("question-multiple-too-many", "Too many chosen", "The ticks stay, and the page says how many."),
    Picture(
        "question-ranked",
        "A question with an order of preference",
        "By native lists, which a keyboard and a screen reader know.",
    ),
    Picture(
        "check",
        "Check your answers",
        "Every answer once more, each with a way to change it, before the only final press.",
    ),
    Picture(
        "sending-lost",
        "Sending without a connection",
        "The page goes on trying by itself, and the voter may press.",
    ),
    Picture(
        "done",
        "The vote is received",
        "The reference, when, what it shows and what it does not. Never the choice.",
    ),
    Picture("refused-not_accepted", "A code that is not accepted", "What to do next and whom to ask."),
    Picture("reference-stored", "A reference is checked later", "From any device: a vote with it is stored."),
    Picture("complaint", "A complaint", "It needs no code, and is sealed to the scrutineer's key."),
    Picture("about", "The description", "How this vote works, in plain words, before any code."),
    Picture("no-scripts", "A browser without scripts", "Why they are needed, and how to vote otherwise."),
)
OTHERS: Final = (
    Picture("start", "In Welsh: the start", language="cy", modes=(PHONE,)),
    Picture("question-single", "In Welsh: a question with one answer", language="cy", modes=(PHONE,)),
    Picture("check", "In Welsh: check your answers", language="cy", modes=(PHONE,)),
    Picture("done", "In Welsh: the vote is received", language="cy", modes=(PHONE,)),
    Picture("question-multiple-too-many", "In forced colours: too many chosen", modes=(PHONE_FORCED,)),
    Picture("done", "In forced colours: the vote is received", modes=(PHONE_FORCED,)),
    Picture(
        "question-ranked", "On a device that is set to dark: an order of preference", modes=(PHONE_DARK,)
    ),
)


def take(page: Page, picture: Picture, folder: Path) -> None:
    """Take one picture in each of its modes."""
    for mode in picture.modes:
        axe.look(page, mode)
        page.evaluate("() => scrollTo(0, 0)")
        png = page.screenshot(animations="disabled")
        (folder / picture.name(mode)).write_bytes(pixels.in_few_colours(png))
    axe.look(page, axe.PHONE)


def readme() -> str:
    """The page that shows them in order."""
    lines = [
        "# The voter's page, step by step",
        "",
        "Made by `.venv/bin/python -m tests.browser.screens ops/voter-page`, from the running page.",
        "Phone (360 by 740) and desktop (1280 by 800): what is seen before any scrolling.",
        "",
    ]
    for number, picture in enumerate(STEPS, 1):
        phone, desktop = (picture.name(mode) for mode in picture.modes)
        lines += [f"## {number}. {picture.title}", "", picture.says, ""]
        lines += [f'<img src="{phone}" width="240" alt="{picture.title}, on a phone">']
        lines += [f'<img src="{desktop}" width="560" alt="{picture.title}, on a desktop">', ""]
    lines += ["## In other ways", ""]
    for picture in OTHERS:
        for mode in picture.modes:
            image = f'<img src="{picture.name(mode)}" width="240" alt="{picture.title}, on a phone">'
            lines += [f"{picture.title}.", "", image, ""]
    return "\n".join(lines)


def main() -> int:
    """Walk through the states, and take the pictures that are wanted."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser.screens", description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    wanted = (*STEPS, *OTHERS)
    with snapshots.visits() as (station, open_page):
        for language in ("en", "cy"):
            for walk in WALKS:
                for state, page in snapshots.states(station, open_page, walk, language):
                    for picture in wanted:
                        if (picture.state, picture.language) == (state, language):
                            take(page, picture, folder)
    (folder / "README.md").write_text(readme(), encoding="utf-8")
    missing = [picture.name(mode) for picture in wanted for mode in picture.modes]
    missing = [name for name in missing if not (folder / name).exists()]
    if missing:
        sys.stderr.write(f"no such state, so no picture: {', '.join(missing)}\n")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
