"""A load run's report as people meet it: on a phone, on a desk, in the dark and on paper."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from loadtests.report.compare import compare
from loadtests.report.making import make, read
from tests.browser import axe
from tests.unit.loadtests.made_run import Made
from tests.unit.loadtests.made_run import make as make_run

MODES = (
    axe.PHONE,
    axe.Mode("desktop, dark", 1280, 800, axe.DARK, axe.COLOURS),
)
# Letters in a plot, and cells of one figure, axe cannot judge; that their colours differ enough is tested
# with the style sheet.
UNDECIDED = "undecided: color-contrast"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The reports of a run that failed and of one that proves nothing, and both side by side."""
    folder = tmp_path_factory.mktemp("reports")
    failed = make_run(folder / "failed", Made(seconds=90, verdict="fail"))
    void = make_run(folder / "void", Made(seconds=90, verdict="void", besieged=False))
    both = folder / "both.html"
    compare.main([str(failed), str(void), "--html", str(both)], standalone_mode=False)
    assert read(failed)["verdict"]["verdict"] == "fail"
    return [make(failed), make(void), both]


@pytest.mark.long
def test_everybody_can_read_it(browser: Browser, pages: list[Path]) -> None:
    """Axe finds nothing, nothing is cut off or lies on something else, and nothing is fetched."""
    context = browser.new_context()
    fetched: list[str] = []
    context.on("request", lambda request: fetched.append(request.url))
    page = context.new_page()
    found = []
    for path in pages:
        page.goto(path.as_uri())
        for mode in MODES:
            told = [one for one in axe.findings(page, mode) if not one.startswith(UNDECIDED)]
            found += [f"{path.name}, {mode.name}: {one}" for one in told]
        for width in (320, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            wide = page.evaluate("document.documentElement.scrollWidth")
            found += [f"{path.name}: {wide} px of content in {width} px"] if wide > width else []
    context.close()

    assert found == []
    assert fetched == [path.as_uri() for path in pages]


@pytest.mark.long
def test_it_prints(browser: Browser, pages: list[Path]) -> None:
    """On paper it is dark on white whatever the screen was, with its plots and without its menu."""
    context = browser.new_context(color_scheme="dark", viewport={"width": 794, "height": 1123})
    page = context.new_page()
    page.goto(pages[0].as_uri())
    page.emulate_media(media="print", color_scheme="dark")

    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible()
    assert page.locator("figure .wide svg").first.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 794
    context.close()
