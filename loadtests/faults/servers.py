"""Whether a server answers, asked as anybody could without a password; and one spoilt entry for the queue."""

import socket
import struct
from pathlib import Path

from ballot import handoff

ANSWER_SECONDS_MAX = 0.5
ENTRY_SECONDS_MAX = 5.0
REPLY_BYTES = 512
PROTOCOL_3 = 196_608
STARTING_UP = b"57P03"


def _asked(port: int, words: bytes, *, seconds: float = ANSWER_SECONDS_MAX) -> bytes:
    """The first bytes of the answer; none when there is none."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
            connection.sendall(words)
            return connection.recv(REPLY_BYTES)
    except OSError:
        return b""


def listens(port: int) -> bool:
    """Whether anybody accepts connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS_MAX).close()
    except ConnectionResetError:
        return True  # and ended it at once
    except OSError:
        return False
    return True


def valkey_answers(port: int) -> bool:
    """Whether the queue answers; without a password it says that one is wanted."""
    return _asked(port, b"PING\r\n").startswith((b"-NOAUTH", b"+PONG"))


def postgres_answers(port: int) -> bool:
    """Whether a cluster takes connections: it asks for a password, unless it is still starting."""
    words = b"user\0nobody\0database\0voterdb\0\0"
    answer = _asked(port, struct.pack("!ii", len(words) + 8, PROTOCOL_3) + words)
    return bool(answer) and STARTING_UP not in answer


def add_junk(port: int, *, password_file: Path, ballot: str, junk: bytes) -> str:
    """Add an entry that nobody can read to the first shard of `ballot`; what the queue says to it."""
    password = password_file.read_bytes().strip()
    fields = (handoff.KIND_FIELD, handoff.KIND_VOTE, handoff.RECORD_FIELD, junk)
    entry = _command(b"XADD", handoff.votes_key(ballot, 0).encode(), b"*", *fields)
    words = _command(b"AUTH", b"admin", password) + entry
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=ENTRY_SECONDS_MAX) as connection:
            connection.sendall(words)
            told = b""
            while told.count(b"\r\n") < 3:  # noqa: PLR2004  # OK, a length, an entry's id
                found = connection.recv(REPLY_BYTES)
                if not found or told.startswith(b"-"):
                    break
                told += found
    except OSError as error:
        return f"not added: {error}"
    return told.decode("ascii", "replace").split("\r\n")[-2] if told.startswith(b"+OK") else "not added"


def _command(*words: bytes) -> bytes:
    """A command as the queue reads it."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
