"""`python -m loadtests.judging DIR`: judge a run again, from the directory that it left."""

from pathlib import Path

import click

from loadtests.judging.judge import judge


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    """Judge the run in FOLDER again, and write its verdict.json anew."""
    verdict = judge(folder)
    verdict.save(folder)
    click.echo("\n".join(verdict.lines()))
    raise SystemExit(verdict.exit_code)


if __name__ == "__main__":
    main()
