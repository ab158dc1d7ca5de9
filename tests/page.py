"""The voter's page in the tests: its tools, from pinned packages, and a real browser where one can be had.

Whoever may install Debian's packages gets its Chromium; an ordinary user without a browser has the browser
tests skipped, with a line that says so. With `CI` set nothing is skipped: what is missing is a failure.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).resolve().parent.parent / "intake" / "page"
BIN: Final = Path(sys.executable).parent
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
BUILT_FROM: Final = (
    *("src", "text", "templates"),
    *("build.mjs", "package.json", "package-lock.json", ".npmrc"),
)
"""What the page is built from, as `run` has it: a build is current while nothing of these is newer."""

INSTALL_SECONDS_MAX: Final = 300


def environment() -> dict[str, str]:
    """The environment in which Node and its packages are found, with npm's cache inside our own folder."""
    path = f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    cache = str(BIN.parent / "npm-cache")
    return os.environ | {"PATH": path, "npm_config_cache": cache, "NODE_USE_SYSTEM_CA": "1"}


def node(*arguments: str | Path) -> list[str]:
    """The command that runs Node with `arguments`."""
    return [str(BIN / "node"), *map(str, arguments)]


def install_tools() -> None:
    """Bring the pinned packages that check and test the page beside those that build it."""
    packages = PAGE / "node_modules"
    if (packages / "axe-core").exists() and (packages / ".bin" / "tsc").exists():
        return
    kept = packages / "made-from"
    made_from = kept.read_text() if kept.exists() else ""
    subprocess.run(
        [str(BIN / "npm"), "ci", "--loglevel=error"],
        cwd=PAGE,
        env=environment(),
        check=True,
        timeout=INSTALL_SECONDS_MAX,
    )
    if made_from:
        kept.write_text(made_from)


def browser() -> Path | None:
    """An installed browser of Chromium's kind, if there is one; CHROMIUM names another."""
    given = os.environ.get("CHROMIUM")
    found = (shutil.which(name) for name in ([given] if given else BROWSERS))
    return next((Path(path) for path in found if path is not None), None)


def install_browser() -> Path | None:
    """Debian's Chromium, installed if that is allowed; what happened is said in a line."""
    found = browser()
    if found is None and os.geteuid() == 0 and shutil.which("apt-get") is not None:
        sys.stdout.write("installing Debian's chromium for the browser tests\n")
        sys.stdout.flush()
        quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "chromium"]):
            subprocess.run(
                ["apt-get", *command],  # noqa: S607  # Debian's own, wherever it is
                env=quiet,
                stdout=subprocess.DEVNULL,
                check=False,
                timeout=INSTALL_SECONDS_MAX,
            )
        found = browser()
    if found is None:
        must = " (and with CI set they must run)" if must_have_browser() else ""
        sys.stdout.write(f"no browser here, and none can be installed: no browser tests{must}\n")
    return found


def must_have_browser() -> bool:
    """Whether tests that need a browser may not be skipped: in CI."""
    return os.environ.get("CI", "") not in {"", "0", "false"}


def main() -> int:
    """Bring everything; the exit code says whether what must be there is there."""
    install_tools()
    return 1 if install_browser() is None and must_have_browser() else 0


if __name__ == "__main__":
    sys.exit(main())
