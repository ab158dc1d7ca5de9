"""The desk's complaints key: made with the first desk act, published once, never replaced.

A home whose complaints key is missing or another one than was published still opens, closes and exports
ballots: that only complaints cannot be read, or sealed, is said and keeps nothing else back.
"""

import click

from ballot import complaint
from ballot.suite import SigningKey
from runtime.home import Home
from scrutineer.desk_key import desk_key, publish_once
from scrutineer.unsealing import ComplaintsKey

SECRET = "complaints"  # noqa: S105  # the name of one


def complaints_key(home: Home, desk: SigningKey) -> ComplaintsKey:
    """Give the complaints key and see that its public half is published as `public/complaints.json`."""
    key = ComplaintsKey(home.secret(SECRET))
    meaning = f"the public half of {home.secrets / SECRET}.key, signed by this desk"
    publish_once(home.complaints_key_file, complaint.key_entry(key.public_key, desk), meaning)
    return key


def publish(home: Home) -> None:
    """Do as much in passing, for a command that does without; what keeps it from that is said."""
    if not home.embedded and not (home.secrets / f"{SECRET}.key").is_file():
        return  # where nothing is made up, a deployment may do without complaints
    try:
        complaints_key(home, desk_key(home))
    except click.ClickException as error:
        click.echo(f"complaints cannot be read: {error.message}", err=True)
