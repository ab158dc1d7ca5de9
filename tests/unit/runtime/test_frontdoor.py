"""One `ballot` command: lists everything, imports only what is asked for, says a mistake in one line."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from runtime import frontdoor

BALLOT = str(Path(sys.executable).parent / "ballot")
STARTUP_S_MAX = 0.5
STARTUP_TRIES = 6


def ballot(*args: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command."""
    return subprocess.run([BALLOT, *args], capture_output=True, text=True, check=False, timeout=60)


def run_main(monkeypatch: pytest.MonkeyPatch, command: click.Command, *args: str) -> int:
    """Run the front door with one made-up command; return its exit code."""
    monkeypatch.setattr(frontdoor.ballot, "get_command", lambda _ctx, _name: command)
    monkeypatch.setattr(sys, "argv", ["ballot", "made-up", *args])
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with pytest.raises(SystemExit) as caught:
        frontdoor.main()
    return caught.value.code if isinstance(caught.value.code, int) else -1


def test_help_lists_every_command_and_imports_none() -> None:
    """`ballot --help` shows all commands of the distribution, quickly, whatever their modules do."""
    program = (
        "import sys; from click.testing import CliRunner; from runtime.frontdoor import ballot;"
        "print(CliRunner().invoke(ballot, ['--help']).output);"
        "sys.exit(any(m.split('.')[0] in ('scrutineer','intake','tally','loadtests') for m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    for name in ("create", "codes", "tally", "up", "worker"):
        assert f"\n  {name}" in done.stdout


def test_startup_is_quick() -> None:
    """`ballot --help` answers within half a second (best of a few, other work may be going on)."""
    best = 10.0
    for _ in range(STARTUP_TRIES):
        began = time.perf_counter()
        assert ballot("--help").returncode == 0
        best = min(best, time.perf_counter() - began)
        if best < STARTUP_S_MAX:
            break

    assert best < STARTUP_S_MAX


def test_version_is_shown() -> None:
    """`--version` prints the distribution's version."""
    assert ballot("--version").stdout.startswith("ballot, version ")


def test_an_unknown_command_is_one_line() -> None:
    """A mistyped command gets one line on stderr and exit 2."""
    done = ballot("crate")

    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "crate" in done.stderr


def test_a_users_mistake_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A ClickException shows as `ballot: sentence` with exit 1."""

    @click.command()
    def broken() -> None:
        raise click.ClickException("The file is empty.")

    assert run_main(monkeypatch, broken) == 1
    assert capsys.readouterr().err == "ballot: The file is empty.\n"


def test_a_wrong_option_names_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A usage error is one line that says where help is."""

    @click.command()
    def plain() -> None:
        pass

    assert run_main(monkeypatch, plain, "--wrong") == 2
    error = capsys.readouterr().err
    assert error.startswith("ballot made-up: ")
    assert len(error.splitlines()) == 1


def test_a_bug_is_loud(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected exception is not dressed up: it reaches the interpreter and prints its traceback."""

    @click.command()
    def buggy() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(frontdoor.ballot, "get_command", lambda _ctx, _name: buggy)
    monkeypatch.setattr(sys, "argv", ["ballot", "made-up"])
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with pytest.raises(ZeroDivisionError):
        frontdoor.main()


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (3, 3), (True, 0), ("text", 0)])
def test_the_exit_code_is_what_the_command_says(
    monkeypatch: pytest.MonkeyPatch, returned: object, code: int
) -> None:
    """A command that returns a number ends with it; anything else it returns is success."""

    @click.command()
    def plain() -> object:
        return returned

    assert run_main(monkeypatch, plain) == code


def test_ctx_exit_and_interrupts(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ctx.exit(4)` ends with 4, Ctrl-C with 130."""

    @click.command()
    @click.option("--now", is_flag=True)
    def plain(*, now: bool) -> None:
        if now:
            raise KeyboardInterrupt
        click.get_current_context().exit(4)

    assert run_main(monkeypatch, plain) == 4
    assert run_main(monkeypatch, plain, "--now") == 130
