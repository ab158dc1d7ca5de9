"""The code keeps its own house rules: what a reviewer would otherwise have to say again and again."""

import ast
import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest

from ballot.rejection import Rejection

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("ballot", "runtime", "intake", "workers", "scrutineer", "tally", "ops", "loadtests")
FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 400
DRAWERS = {"utils", "util", "common", "helpers", "misc", "shared"}


def tracked(*suffixes: str) -> Iterator[Path]:
    """Every file git knows of with one of these endings."""
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],  # noqa: S607  # whichever git the developer has
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return (ROOT / name for name in names if name.endswith(suffixes) and (ROOT / name).is_file())


def sources() -> Iterator[Path]:
    """The Python modules of our packages, tests excluded."""
    return (path for path in tracked(".py") if path.relative_to(ROOT).parts[0] in PACKAGES)


def test_no_drawers() -> None:
    """No module or package is a drawer for unrelated things."""
    assert not [path for path in sources() if DRAWERS & {*path.parent.parts[-1:], path.stem}]


def test_modules_and_functions_fit() -> None:
    """No module is over 400 lines and no function over 70."""
    long = []
    for path in sources():
        text = path.read_text()
        if text.count("\n") > MODULE_LINES_MAX:
            long.append(f"{path.relative_to(ROOT)}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {lines} lines")
    assert not long


def test_every_module_opens_with_its_promise() -> None:
    """Every module, tests included, has a docstring."""
    silent = [path for path in tracked(".py") if not ast.get_docstring(ast.parse(path.read_text()))]
    assert not [str(path.relative_to(ROOT)) for path in silent]


def test_every_test_states_its_promise() -> None:
    """Every test function has a docstring."""
    silent = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in tracked(".py")
        if path.relative_to(ROOT).parts[0] == "tests"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert not silent


def test_no_reminder_is_left_without_an_issue() -> None:
    """A reminder names the issue that will do it."""
    words = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|X" + r"XX)\b(?!.*#\d+)")
    assert not [str(path) for path in tracked(".py", ".sql", ".lua", ".md") if words.search(path.read_text())]


def test_every_rejection_is_in_the_runbook() -> None:
    """Whoever is on call finds each rejection reason in the runbook."""
    runbook = (ROOT / "ops" / "runbooks" / "rejections.md").read_text()
    assert not [rejection.value for rejection in Rejection if f"`{rejection.value}`" not in runbook]


def test_every_setting_is_in_the_readme() -> None:
    """Each environment variable that the code reads stands in the README's table."""
    # A name that ends in an underscore is a prefix that code strips, not a setting.
    names = {
        name
        for path in sources()
        for name in re.findall(r"\bBALLOT_[A-Z_]+\b", path.read_text())
        if name[-1] != "_"
    }
    readme = (ROOT / "README.md").read_text()
    assert names
    assert not sorted(name for name in names if f"`{name}`" not in readme)


def test_the_readme_names_only_files_that_exist() -> None:
    """A file that the README sends the reader to is there."""
    named = re.findall(
        r"`((?:" + "|".join(PACKAGES) + r"|tests)/[\w/.-]+)`", (ROOT / "README.md").read_text()
    )
    assert named
    assert not sorted({name for name in named if not (ROOT / name).exists()})


def test_every_migration_and_function_says_what_it_is_for() -> None:
    """Each SQL file opens with a comment, and so does the gate library after its first line."""
    assert not [path for path in tracked(".sql") if not path.read_text().startswith("--")]
    assert not [path for path in tracked(".lua") if "--" not in path.read_text().splitlines()[1]]


def test_the_lock_file_is_hashed_and_names_no_address() -> None:
    """Every locked package carries hashes, and no download address stands in the file."""
    lock = (ROOT / "requirements.lock").read_text()
    packages = re.findall(r"^[a-z0-9][^\n]*==[^\n]*\\$", lock, re.MULTILINE)
    assert len(packages) == len(re.findall(r"^[a-z0-9]", lock, re.MULTILINE))
    assert "://" not in lock


def test_the_lock_file_of_the_page_is_hashed_and_names_no_address() -> None:
    """Every package that builds or checks the page carries its digest, and no address stands in the file."""
    lock = (ROOT / "intake" / "page" / "package-lock.json").read_text()
    packages = {name: entry for name, entry in json.loads(lock)["packages"].items() if name}
    assert packages
    assert not [name for name, entry in packages.items() if not entry["integrity"].startswith("sha512-")]
    assert "://" not in lock


COMMANDS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["ballot.commands"]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_exists_and_explains_itself(name: str) -> None:
    """Each command of the front door loads and has a help text."""
    (entry,) = entry_points(group="ballot.commands", name=name)
    command = entry.load()
    assert isinstance(command, click.Command)
    assert command.help
