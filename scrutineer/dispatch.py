"""The dispatch file, where alone codes exist: CSV for its owner, or sealed to the dispatch house."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click

from ballot.encoding import Malformed, b64decode
from ballot.suite import PUBLIC_KEY_BYTES, check_public_key, hpke_seal
from scrutineer.files import new_private_file

KEY_FILE_BYTES_MAX = 8 * 1024


def info(ballot: str) -> bytes:
    """Give the HPKE `info` of a sealed dispatch file; the dispatch house opens it with the same."""
    return f"strike-ballot/v1/dispatch/{ballot}".encode()


def read_key(path: Path) -> bytes:
    """Read the dispatch house's public key: its bytes, or their base64url."""
    with path.open("rb") as file:
        raw = file.read(KEY_FILE_BYTES_MAX)
    try:
        key = raw if len(raw) == PUBLIC_KEY_BYTES else b64decode(raw.decode("ascii").strip())
        check_public_key(key)
    except (Malformed, UnicodeDecodeError):
        raise click.ClickException(f"{path} does not hold a public key of the suite we seal with") from None
    return key


@contextmanager
def dispatch_file(out: Path, *, ballot: str, to: bytes | None) -> Iterator[IO[str]]:
    """Open a new dispatch file for rows; with `to` only ciphertext meets the disk."""
    with new_private_file(out) as file:
        if to is not None:
            rows = io.StringIO(newline="")
            yield rows
            file.write(hpke_seal(to, rows.getvalue().encode(), info=info(ballot)))
            return
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        yield text
        text.flush()
        text.detach()
