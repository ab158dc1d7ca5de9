"""`ballot drill`."""

import click


@click.command("drill")
def drill() -> None:
    """Restore everything into a scratch place and check it there."""
    raise click.ClickException("not built yet")
