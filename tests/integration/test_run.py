"""`./run` makes the page once, whoever else runs it, and works on when the page cannot be made."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = (
    "cat",
    "cksum",
    "date",
    "dirname",
    "env",
    "find",
    "head",
    "mkdir",
    "rm",
    "rmdir",
    "sed",
    "sh",
    "sleep",
    "touch",
)
STUBS = {
    "ballot": 'echo "ballot $*"',
    "npm": 'echo npm >>"$LOG"; [ ! -e "$AWAY" ] || exit 1; mkdir -p node_modules',
    "node": 'echo node >>"$LOG"; sleep 0.3; mkdir -p built; touch built/manifest.json',
}
"""What the environment has, as far as ./run uses it; LOG is where each call is noted."""


class Tree:
    """A tree with nothing but what ./run looks at; its environment stands ready."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.page = folder / "intake" / "page"
        self.away = folder.parent / "away"
        self._log = folder.parent / "calls"
        for name in ("src", "text", "templates"):
            (self.page / name).mkdir(parents=True)
            (self.page / name / "file").write_text(name)
        for name in ("build.mjs", "package.json", "package-lock.json", ".npmrc"):
            (self.page / name).write_text(name)
        for name in ("requirements.lock", "pyproject.toml"):
            (folder / name).write_text(name)
        shutil.copy(ROOT / "run", folder / "run")
        commands = folder / ".venv" / "bin"
        commands.mkdir(parents=True)
        for name, script in STUBS.items():
            (commands / name).write_text(f"#!/bin/sh\n{script}\n")
            (commands / name).chmod(0o755)
        made_from = subprocess.run(
            ["cksum", "requirements.lock", "pyproject.toml"],  # noqa: S607  # as ./run calls it
            cwd=folder,
            check=True,
            capture_output=True,
        )
        (folder / ".venv" / "made-from").write_bytes(made_from.stdout)

    def start(self, path: str | None = None) -> subprocess.Popen[str]:
        """Start `./run ballot hello`."""
        env = os.environ | {"LOG": str(self._log), "AWAY": str(self.away)}
        return subprocess.Popen(
            ["/bin/sh", str(self.folder / "run"), "ballot", "hello"],
            env=env if path is None else env | {"PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, path: str | None = None) -> str:
        """Run it to its end, which is always the command; return what it said besides."""
        process = self.start(path)
        said, besides = process.communicate(timeout=60)
        assert (process.returncode, said) == (0, "ballot hello\n"), besides
        return besides

    def calls(self) -> list[str]:
        """What was called since the last time."""
        lines = self._log.read_text().split() if self._log.exists() else []
        self._log.unlink(missing_ok=True)
        return lines


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A fresh clone."""
    return Tree(tmp_path / "tree")


def test_the_page_is_built_once(tree: Tree) -> None:
    """And then nothing is said or called."""
    assert "building the voter's page" in tree.run()
    assert tree.calls() == ["npm", "node"]
    assert tree.run() == ""
    assert tree.calls() == []


@pytest.mark.parametrize(
    "change", ["src/file", "build.mjs", "package.json", "package-lock.json", ".npmrc", "text/gone"]
)
def test_whatever_is_newer_is_built_again(tree: Tree, change: str) -> None:
    """A file that changed, came or went; whoever built it."""
    (tree.page / "text" / "gone").write_text("")
    tree.run()
    tree.calls()
    for path in tree.page.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    tree.run()
    assert tree.calls() == []

    if change == "text/gone":
        (tree.page / change).unlink()
    else:
        (tree.page / change).write_text("changed")
    tree.run()
    assert tree.calls()[-1:] == ["node"]


@pytest.mark.parametrize("flock", [True, False])
def test_two_at_once_wait_for_one_another(tree: Tree, tmp_path: Path, *, flock: bool) -> None:
    """One makes the page and the other uses it, also where there is no flock; no lock is left behind."""
    path = None
    if not flock:
        tools = tmp_path / "tools"
        tools.mkdir()
        for name in TOOLS:
            found = shutil.which(name)
            assert found is not None
            (tools / name).symlink_to(found)
        path = str(tools)

    both = [tree.start(path) for _ in range(3)]
    for process in both:
        assert process.communicate(timeout=60)[0] == "ballot hello\n"
        assert process.returncode == 0
    assert tree.calls() == ["npm", "node"]
    assert not (tree.folder / ".run-lock").exists()


def test_a_registry_that_is_away_is_not_asked_each_time(tree: Tree) -> None:
    """It is said when the next try is; another list of packages is another try."""
    tree.away.touch()
    assert "everything but the page works" in tree.run()
    assert tree.calls() == ["npm"]
    assert "the next try is ten minutes after that" in tree.run()
    assert tree.calls() == []

    failed = tree.folder / ".venv" / "npm-failed"
    packages, asked_s, at = failed.read_text().splitlines()
    failed.write_text(f"{packages}\n{int(asked_s) - 601}\n{at}\n")
    tree.run()
    assert tree.calls() == ["npm"]
    (tree.page / "package-lock.json").write_text("others")
    tree.run()
    assert tree.calls() == ["npm"]

    tree.away.unlink()
    failed.unlink()
    tree.run()
    assert tree.calls() == ["npm", "node"]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_tree_that_cannot_be_written(tree: Tree) -> None:
    """A plain message, and the command runs."""
    tree.page.chmod(0o555)
    try:
        assert "cannot be written" in tree.run()
    finally:
        tree.page.chmod(0o755)
