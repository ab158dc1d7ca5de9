"""`ballot load compare A B`: two runs side by side, and what forbids to compare them said first."""

import json
from pathlib import Path
from typing import Any

import click

from loadtests.report import document
from loadtests.report.making import ReportFault, read, write_page
from loadtests.report.reading import RunDirectory
from loadtests.report.rows import compared

WHERE = click.Path(exists=True, path_type=Path)
PAGE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("first", metavar="A", type=WHERE)
@click.argument("second", metavar="B", type=WHERE)
@click.option("--json", "as_program", is_flag=True, help="The comparison as JSON on stdout.")
@click.option(
    "--html", "page", type=PAGE, metavar="FILE", help="Write a page with both runs' curves as well."
)
def compare(first: Path, second: Path, *, as_program: bool, page: Path | None) -> None:
    """Show two runs side by side; A and B are their directories, or their report.json."""
    try:
        runs = (told_of(first), told_of(second))
        told = compared(*runs, (first, second))
        if page is not None:
            from loadtests.report.comparing import render  # noqa: PLC0415  # it draws, which takes a moment

            write_page(page, render(told, runs))
    except ReportFault as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}.") from error
    click.echo(json.dumps(told.as_json(), indent=2) if as_program else "\n".join(told.lines()))


def told_of(path: Path) -> dict[str, Any]:
    """What report.json says of a run, read or made anew; ReportFault when there is no run."""
    folder = path.parent if path.is_file() else path
    name = path.name if path.is_file() else document.NAME
    if not (folder / name).is_file():
        return read(folder)
    files = RunDirectory(folder)
    told = files.table(name)
    if told.get("report") != document.FORMAT:
        raise ReportFault(f"{name} there is no report of a run that this version can read: {folder}.")
    return told
