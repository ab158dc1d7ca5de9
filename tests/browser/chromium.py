"""The browser of the browser tests, and the page's files built from the sources that are there now."""

import asyncio
import fcntl
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests import page

BUILD_SECONDS_MAX: Final = 60
EXPECT_MS_MAX: Final = 30_000
FLAGS: Final = (
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def build_page() -> None:
    """Build the page if a source is newer than what was built; one process at a time."""
    lock = Path(tempfile.gettempdir()) / f"voters-page-{os.getuid()}.lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        manifest = page.PAGE / "built" / "manifest.json"
        built = manifest.stat().st_mtime if manifest.exists() else 0.0
        sources = [page.PAGE / name for name in page.BUILT_FROM]
        for folder in list(sources):
            sources += folder.rglob("*")
        if all(source.stat().st_mtime <= built for source in sources):
            return
        subprocess.run(
            page.node("build.mjs"),
            cwd=page.PAGE,
            env=page.environment(),
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=BUILD_SECONDS_MAX,
        )


class Driven:
    """A running browser, and the event loop of its driver, which counts as running while we hold it."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self._loop = asyncio.get_running_loop()

    def hold(self) -> None:
        """Before the browser is used again."""
        asyncio._set_running_loop(self._loop)

    def let_go(self) -> None:
        """When it is not used for a while: other tests of this process may run event loops of their own."""
        asyncio._set_running_loop(None)


@contextmanager
def chromium() -> Iterator[Driven]:
    """A running Chromium; without one the tests are skipped, or fail where they must run."""
    found = page.browser()
    if found is None:
        reason = "no browser here, and none can be installed: no browser tests"
        (pytest.fail if page.must_have_browser() else pytest.skip)(reason)
    expect.set_options(timeout=EXPECT_MS_MAX)
    with sync_playwright() as driver:
        driven = Driven(driver.chromium.launch(executable_path=found, args=list(FLAGS)))
        try:
            driven.let_go()
            yield driven
        finally:
            driven.hold()
            driven.browser.close()
    asyncio._set_running_loop(None)
