"""`python -m loadtests.report DIR`: make report.json and report.html anew from what a run left in DIR."""

from pathlib import Path

import click

from loadtests.report.making import ReportFault, make


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    """Make report.json and report.html anew from what a run left in DIR."""
    try:
        click.echo(make(folder))
    except ReportFault as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
