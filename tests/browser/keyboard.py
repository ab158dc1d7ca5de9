"""A voter with a keyboard and nothing else: at every stop it is looked whether the way is a fair one."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from playwright.sync_api import FloatRect, Page

from tests.browser import pixels

STOPS_MAX: Final = 60
CONTRAST_MIN: Final = 3.0
MARGIN_PX: Final = 8
_FOCUS: Final = """() => {
  const at = document.activeElement;
  if (at === null || at === document.body || at === document.documentElement) return null;
  // A choice and its label are one thing to look at and to press.
  const choice = ["radio", "checkbox"].includes(at.type) && at.labels.length > 0;
  const box = (choice ? at.labels[0] : at).getBoundingClientRect();
  const middle = [box.left + box.width / 2, box.top + Math.min(box.height, innerHeight) / 2];
  const hit = document.elementFromPoint(...middle);
  const labels = [...(at.labels ?? [])];
  const label = at.labels?.[0] ?? at;
  return {
    tag: at.localName, kind: at.type ?? "", id: at.id, name: label.innerText.trim(),
    group: ["radio", "checkbox"].includes(at.type) ? at.name : "",
    box: { x: box.left, y: box.top, width: box.width, height: box.height },
    down: scrollY, room: { width: innerWidth, height: innerHeight },
    order: [...document.querySelectorAll("*")].indexOf(at),
    seen: hit !== null && [at, ...labels].some((one) => one.contains(hit) || hit.contains(one)),
  };
}"""
_REACHABLE: Final = """() => {
  const groups = new Set();
  const all = [...document.querySelectorAll("a[href], button, input, select, textarea, summary")];
  return all.filter((one) => {
    if (!one.checkVisibility({ checkVisibilityCSS: true }) || one.disabled) return false;
    if (one.type !== "radio") return true;
    const first = !groups.has(one.name);
    groups.add(one.name);
    return first;
  }).length;
}"""


@dataclass(frozen=True, slots=True)
class Stop:
    """Where the focus is."""

    tag: str
    kind: str
    id: str
    name: str
    group: str
    box: FloatRect
    down: float
    room: dict[str, float]
    order: int
    seen: bool

    def __str__(self) -> str:
        return f"<{self.tag}> “{self.name[:60]}”"


class Keyboard:
    """Keys pressed one by one; a stop that a voter could not see or would not expect fails the test."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.stops = 0
        self._marked: set[str] = set()

    def stop(self) -> Stop | None:
        """Where the focus is; None on the page as a whole, before its first control or after its last."""
        found: dict[str, Any] | None = self.page.evaluate(_FOCUS)
        return None if found is None else Stop(**found)

    def press(self, key: str) -> None:
        """Press one key."""
        self.page.keyboard.press(key)

    def at_heading(self) -> Stop:
        """The focus must be on the screen's first heading."""
        return self._on("h1", "the heading")

    def at_errors(self) -> Stop:
        """The focus must be on the summary of what is wrong."""
        found = self.page.evaluate("() => document.activeElement.matches('.errors, [role=alert]')")
        stop = self.stop()
        assert found, f"the focus is on {stop}, not on the error summary"
        assert stop is not None
        return stop

    def _on(self, tag: str, what: str) -> Stop:
        stop = self.stop()
        assert stop is not None, f"the focus is nowhere, not on {what}"
        assert stop.tag == tag, f"the focus is on {stop}, not on {what}"
        assert 0 <= stop.box["y"] < stop.room["height"], f"{what} is out of sight"
        return stop

    def tab(self, key: str = "Tab") -> Stop | None:
        """Go one stop on (or back, with Shift+Tab), and look at the stop left and the one reached."""
        left = self.stop()
        known = left is None or left.tag == "h1" or str(left) in self._marked
        with_focus = None if known or left is None else self._picture(left)
        self.press(key)
        stop = self.stop()
        if left is not None and with_focus is not None:
            self._assert_was_marked(left, with_focus)
            self._marked.add(str(left))
        if stop is not None:
            self.stops += 1
            self._assert_in_sight(stop)
        return stop

    def to(self, wanted: Callable[[Stop], bool], what: str, key: str = "Tab") -> Stop:
        """Go on until the focus is where it is wanted."""
        passed = []
        for _ in range(STOPS_MAX):
            stop = self.tab(key)
            if stop is not None and wanted(stop):
                return stop
            passed.append(str(stop))
        raise AssertionError(f"{what} cannot be reached; the way went by {', '.join(passed)}")

    def to_named(self, name: str, key: str = "Tab") -> Stop:
        """Go on until the focus is on the control of this name."""
        return self.to(lambda stop: stop.name == name, f"“{name}”", key)

    def round(self) -> list[Stop]:
        """Go from where the focus is to the end of the page, and back to its beginning.

        Every control must be met, in the order in which the page is read, and nothing may hold the focus.
        """
        way = self._until_out("Tab")
        stops = self._until_out("Shift+Tab")[::-1]
        named = [str(stop) for stop in stops]
        assert [str(stop) for stop in way] == named[len(named) - len(way) :], f"{named} back, but {way} on"
        reachable = self.page.evaluate(_REACHABLE)
        assert len(stops) == reachable, f"{reachable} controls, but the keyboard meets {named}"
        for one, other in itertools.pairwise(stops):
            assert one.order < other.order, (
                f"{other} comes before {one} in the text, but after it by keyboard"
            )
            below = other.box["y"] + other.down + other.box["height"] > one.box["y"] + one.down
            assert below, f"{other} stands above {one}, but comes after it by keyboard"
        return stops

    def _until_out(self, key: str) -> list[Stop]:
        passed: list[Stop] = []
        for _ in range(STOPS_MAX):
            stop = self.tab(key)
            if stop is None or (passed and stop.order == passed[0].order):
                return passed
            passed.append(stop)
        raise AssertionError(f"the focus never leaves the page: {', '.join(map(str, passed))}")

    def _assert_in_sight(self, stop: Stop) -> None:
        top, bottom = stop.box["y"], stop.box["y"] + stop.box["height"]
        fits = stop.box["height"] <= stop.room["height"]
        inside = (top >= -1 and bottom <= stop.room["height"] + 1) if fits else top < stop.room["height"]
        assert inside, f"{stop} has the focus, but is out of sight ({top:.0f} to {bottom:.0f} px)"
        assert stop.seen, f"{stop} has the focus, but something lies over it"

    def _picture(self, stop: Stop) -> tuple[FloatRect, pixels.Picture] | None:
        left, top = max(0.0, stop.box["x"] - MARGIN_PX), max(0.0, stop.box["y"] - MARGIN_PX)
        right = min(stop.room["width"], stop.box["x"] + stop.box["width"] + MARGIN_PX)
        bottom = min(stop.room["height"], stop.box["y"] + stop.box["height"] + MARGIN_PX)
        if right - left < 1 or bottom - top < 1:
            return None
        clip = FloatRect(x=left, y=top, width=right - left, height=bottom - top)
        return clip, pixels.read(self.page.screenshot(clip=clip, animations="disabled"))

    def _assert_was_marked(self, left: Stop, with_focus: tuple[FloatRect, pixels.Picture]) -> None:
        clip, before = with_focus
        down = self.page.evaluate("() => scrollY")
        scroll = "(top) => scrollTo({ top, behavior: 'instant' })"
        self.page.evaluate(scroll, left.down)
        after = pixels.read(self.page.screenshot(clip=clip, animations="disabled"))
        self.page.evaluate(scroll, down)
        # As much as a line of one pixel all round, and it must stand out.
        wanted = min(2 * (left.box["width"] + left.box["height"]), 2 * (clip["width"] + clip["height"]))
        marked = pixels.changed(before, after, contrast_min=CONTRAST_MIN)
        assert marked >= wanted, (
            f"{left} does not show that it has the focus: {marked} pixels, not {wanted:.0f}"
        )
