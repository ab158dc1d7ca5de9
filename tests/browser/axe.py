"""axe-core on the page as it is served: what it finds and what it could not decide, with the advice."""

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Page

from tests import page as tools

TAGS: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
SHOWN_MAX: Final = 400
_RUN: Final = "(options) => axe.run(document, options)"
# axe takes the colour of letters from -webkit-text-fill-color, which browsers do not force: in forced colours
# it reckons with colours that nobody sees. What is seen is reckoned here instead.
_CONTRASTS: Final = Path(__file__).with_name("contrast.js").read_text(encoding="utf-8")
_THERE: Final = "() => typeof axe === 'object'"


@dataclass(frozen=True, slots=True)
class Mode:
    """One way of looking at a page: the device's width, and what its owner has set."""

    name: str
    width: int = 360
    height: int = 740
    media: dict[str, Any] = field(default_factory=dict)
    rules: tuple[str, ...] = ()
    """Only these, where nothing else can differ from another mode that was looked at; none means all."""


PLAIN: Final[dict[str, Any]] = {
    "color_scheme": "light",
    "forced_colors": "none",
    "reduced_motion": "no-preference",
}
FORCED: Final[dict[str, Any]] = PLAIN | {"forced_colors": "active", "reduced_motion": "reduce"}
DARK: Final[dict[str, Any]] = PLAIN | {"color_scheme": "dark"}
COLOURS: Final = ("color-contrast", "link-in-text-block")
PHONE: Final = Mode("phone", media=PLAIN)
FORCED_DESKTOP: Final = Mode("desktop, forced colours, reduced motion", 1280, 800, FORCED)
MODES: Final = {
    "en": (PHONE, FORCED_DESKTOP, Mode("phone, dark", media=DARK, rules=COLOURS)),
    "cy": (PHONE,),
}
MODES_LONG: Final = (
    FORCED_DESKTOP,
    Mode("desktop", 1280, 800, PLAIN),
    Mode("desktop, dark", 1280, 800, DARK),
    Mode("phone, forced colours", media=FORCED),
    Mode("phone, dark forced colours", media=FORCED | {"color_scheme": "dark"}),
)


@cache
def _source() -> str:
    tools.install_tools()
    return (tools.PAGE / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def look(page: Page, mode: Mode) -> None:
    """Show the page as `mode` would have it."""
    page.emulate_media(**mode.media)
    page.set_viewport_size({"width": mode.width, "height": mode.height})


def findings(page: Page, mode: Mode) -> list[str]:
    """Each element that breaks a rule, or that axe could not judge, with the advice; none is right."""
    look(page, mode)
    # Through the debugger, so that the Content-Security-Policy stays as it is served.
    if not page.evaluate(_THERE):
        page.evaluate(_source())
    forced = mode.media["forced_colors"] == "active"
    only = (
        {"type": "rule", "values": list(mode.rules)} if mode.rules else {"type": "tag", "values": list(TAGS)}
    )
    options = {
        "runOnly": only,
        "rules": {"color-contrast": {"enabled": not forced}},
        "resultTypes": ["violations", "incomplete"],
    }
    result = page.evaluate(_RUN, options)
    told = [_told(rule, node) for rule in result["violations"] for node in rule["nodes"]]
    told += page.evaluate(_CONTRASTS) if forced else []
    return told + [
        f"undecided: {_told(rule, node)}" for rule in result["incomplete"] for node in rule["nodes"]
    ]


def _told(rule: dict[str, Any], node: dict[str, Any]) -> str:
    checks = [check["message"] for kind in ("any", "all", "none") for check in node[kind]]
    where, advice = json.dumps(node["target"]), "; ".join(checks)[:SHOWN_MAX]
    return f"{rule['id']} at {where}: {advice}\n    {node['html'][:SHOWN_MAX]}\n    {rule['helpUrl']}"
