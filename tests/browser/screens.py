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
    """One picture: of which state, in which language, how looked at, and what it shows."""

    state: str
    says: str
    language: str = "en"
    modes: tuple[axe.Mode, ...] = (PHONE, DESKTOP)

    def name(self, mode: axe.Mode) -> str:
        """The name of its file."""
        return f"{self.state}-{self.language}-{mode.name}.png"


STEPS: Final = (
    Picture(
        "start", "The link was followed: whose ballot this is, what is recorded, and that the code is there."
    ),
    Picture(
        "start-check", "A code typed by hand with a slip in it: said at the top, with a link to the field."
    ),
    Picture("question-single", "One question, one answer; none is an answer too."),
    Picture("question-multiple-too-many", "More chosen than may be: the ticks stay, the page says how many."),
    Picture(
        "question-ranked", "An order of preference, by native lists that a keyboard and a screen reader know."
    ),
    Picture("check", "Every answer once more, each with a way to change it, before the only final press."),
    Picture("sending-lost", "No connection: the page goes on trying by itself, and the voter may press."),
    Picture("done", "Received: the reference, when, what it proves and what it does not. Never the choice."),
    Picture("refused-not_accepted", "A refusal says what to do next and whom to ask."),
    Picture("reference-stored", "Later, from any device: a vote with this reference is stored."),
    Picture("complaint", "A complaint needs no code, and is sealed to the scrutineer's key."),
    Picture("about", "The plain description, before any code."),
    Picture("no-scripts", "Without scripts: why they are needed, and how to vote otherwise."),
)
OTHERS: Final = (
    Picture("question-single", "In Welsh.", "cy", (PHONE,)),
    Picture("check", "In Welsh.", "cy", (PHONE,)),
    Picture("done", "In Welsh.", "cy", (PHONE,)),
    Picture("question-multiple-too-many", "In forced colours.", modes=(PHONE_FORCED,)),
    Picture("done", "In forced colours.", modes=(PHONE_FORCED,)),
    Picture("question-ranked", "On a device that is set to dark.", modes=(PHONE_DARK,)),
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
        title = picture.state.replace("-", " ").replace("_", " ").capitalize()
        phone, desktop = (picture.name(mode) for mode in picture.modes)
        lines += [f"## {number}. {title}", "", picture.says, ""]
        lines += [f'<img src="{phone}" width="240" alt="On a phone">']
        lines += [f'<img src="{desktop}" width="560" alt="On a desktop">', ""]
    lines += ["## In other ways", ""]
    for picture in OTHERS:
        for mode in picture.modes:
            lines += [
                f"{picture.says}",
                "",
                f'<img src="{picture.name(mode)}" width="240" alt="{picture.says}">',
                "",
            ]
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
