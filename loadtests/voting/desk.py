"""What the desk hands to voters: the dispatch file with the codes, and its public key to pin."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from ballot.encoding import b64decode

CODE_COLUMNS = {"member_id", "channel", "destination", "code", "link"}


class DeskFileFault(ValueError):  # noqa: N818  # a fault in a file
    """What is wrong with a file of the desk's, in one sentence."""


def dispatched_codes(path: Path) -> dict[str, str]:
    """Member id -> code, from a dispatch file."""
    codes = dict(each_code(path))
    if not codes:
        raise DeskFileFault(f"{path.name} has no code in it.")
    return codes


def each_code(path: Path) -> Iterator[tuple[str, str]]:
    """Member id and code of each row of a dispatch file, one after the other: it may be very long."""
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            rows = csv.DictReader(lines)
            if not set(rows.fieldnames or ()) >= CODE_COLUMNS:
                raise DeskFileFault(
                    f"{path.name} is not a dispatch file: {', '.join(sorted(CODE_COLUMNS))} are wanted."
                )
            yield from ((row["member_id"], row["code"]) for row in rows)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DeskFileFault(f"The file of codes cannot be read: {error}.") from error


def pinned_key(path: Path) -> bytes:
    """The desk's public key from the file that the scrutineer publishes (`public/desk.json`)."""
    try:
        key = json.loads(path.read_text(encoding="utf-8"))
        if key["use"] != "desk":
            raise DeskFileFault(f"{path.name} is not the desk's public key.")
        return b64decode(str(key["public_key"]), length=32)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DeskFileFault(f"The desk's public key cannot be read from {path}.") from error
