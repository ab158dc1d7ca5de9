"""The `ballot` command: finds commands by entry-point name and imports only the one asked for."""

from __future__ import annotations

import ast
import os
import signal
import sys
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution
from pathlib import Path
from typing import NoReturn

import click

DISTRIBUTION = "ballot-intake-core"
GROUP = "ballot.commands"
ROOT = Path(__file__).resolve().parent.parent
INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM
USAGE_EXIT = 2


@cache
def _entry_points() -> dict[str, EntryPoint]:
    try:
        found = distribution(DISTRIBUTION).entry_points
    except PackageNotFoundError:
        return {}
    return {point.name: point for point in found if point.group == GROUP}


def _version() -> str:
    try:
        return distribution(DISTRIBUTION).version
    except PackageNotFoundError:
        return "unknown"


def _short_help(point: EntryPoint) -> str:
    """Return the first line of the command's docstring, read from its source: listing imports nothing."""
    try:
        source = ROOT.joinpath(*point.module.split(".")).with_suffix(".py").read_text("utf-8")
        tree = ast.parse(source)
    except (OSError, SyntaxError):
        return ""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == point.attr:
            return (ast.get_docstring(node) or "").partition("\n")[0]
    return ""


class _FrontDoor(click.Group):
    """A group whose commands are entry points of other packages."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Return every command's name; nothing is imported."""
        return sorted(_entry_points())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # as above
        """Import the one command; a fault in its module is a bug and shows as one."""
        point = _entry_points().get(cmd_name)
        if point is None:
            return None
        command = point.load()
        if not isinstance(command, click.Command):
            raise TypeError(f"the entry point {cmd_name} is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # as above
        """List the commands with the first line of each docstring."""
        rows = [(name, _short_help(point)) for name, point in sorted(_entry_points().items())]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


@click.group(
    cls=_FrontDoor,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Settings are environment variables BALLOT_*; README.md lists them.",
)
@click.version_option(_version(), prog_name="ballot")
def ballot() -> None:
    """Take the votes of a UK trade-union ballot in, and count them."""


def main() -> NoReturn:
    """Run one command; a user's mistake is one line on stderr, a bug is a traceback."""
    signal.signal(signal.SIGTERM, _terminate)
    # Under nohup a closed terminal is to be ignored, and stays so.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _hang_up)
    try:
        code = ballot.main(prog_name="ballot", standalone_mode=False)
        sys.stdout.flush()
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "ballot"
        click.echo(f"{where}: {error.format_message()} Try '{where} --help'.", err=True)
        sys.exit(USAGE_EXIT)
    except click.ClickException as error:
        click.echo(f"ballot: {error.format_message()}", err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("ballot: interrupted", err=True)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has gone; keep the interpreter from saying so at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    # click hands back the code of ctx.exit(); a service's command returns its exit code itself.
    sys.exit(code if type(code) is int else 0)


def _terminate(_number: int, _frame: object) -> NoReturn:
    """Leave by the ordinary way out, so that embedded servers are counted down."""
    raise SystemExit(TERMINATED)


def _hang_up(_number: int, _frame: object) -> None:
    """Take a closed terminal for SIGTERM, which every command leaves on in order, inside a loop as well."""
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
