"""The desk's complaints key: made with the first desk act, published once, never replaced.

A home whose complaints key is missing or another one than was published still opens, closes and exports
ballots: that only complaints cannot be read, or sealed, is said and keeps nothing else back.
"""

import json

import click

from ballot import complaint
from ballot.suite import SigningKey
from runtime.home import Home
from scrutineer.desk_key import desk_key
from scrutineer.files import write_public
from scrutineer.unsealing import ComplaintsKey

SECRET = "complaints"  # noqa: S105  # the name of one


def complaints_key(home: Home, desk: SigningKey) -> ComplaintsKey:
    """Give the complaints key and see that its public half is published as `public/complaints.json`."""
    key = ComplaintsKey(home.secret(SECRET))
    published = home.complaints_key_file
    entry = complaint.key_entry(key.public_key, desk)
    if not published.exists():
        write_public(published, json.dumps(entry, indent=2).encode() + b"\n")
    elif _read(home) != entry:
        raise click.ClickException(
            f"{published} does not hold the public half of {home.secrets / SECRET}.key, signed by this desk; "
            "neither is replaced: put the right one back from a copy"
        )
    return key


def publish(home: Home) -> None:
    """Do as much in passing, for a command that does without; what keeps it from that is said."""
    if not home.embedded and not (home.secrets / f"{SECRET}.key").is_file():
        return  # where nothing is made up, a deployment may do without complaints
    try:
        complaints_key(home, desk_key(home))
    except click.ClickException as error:
        click.echo(f"complaints cannot be read: {error.message}", err=True)


def _read(home: Home) -> object:
    try:
        return json.loads(home.complaints_key_file.read_bytes())
    except (OSError, ValueError):
        return None
