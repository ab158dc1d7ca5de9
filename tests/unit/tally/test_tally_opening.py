"""A vote opens with its ballot's key and its own credential's binding, and the key dies with the count."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ballot.encoding import b64decode
from tally.opening import DoesNotOpen, OpeningKey
from tests.unit.tally.sealed_ballot import SealedBallot

VECTORS = Path(__file__).resolve().parents[2] / "vectors"
WAIT_S = 30.0


def vector() -> tuple[dict[str, str], OpeningKey]:
    """Return the vote of the vectors and the private key it was sealed to."""
    vote = json.loads((VECTORS / "vote.json").read_text())
    private = vote["private_key"]
    key = OpeningKey(
        mlkem_seed=bytes.fromhex(private["mlkem768_seed"]), x25519_private=bytes.fromhex(private["x25519"])
    )
    return vote, key


def test_opens_byte_for_byte() -> None:
    """The vote of the vectors opens to the plaintext of the vectors, and its key is theirs."""
    vote, key = vector()

    assert key.public_key == b64decode(vote["public_key"])
    assert key.open(b64decode(vote["sealed"]), info=vote["info"].encode()) == bytes.fromhex(
        vote["padded_plaintext"]
    )


def test_opens_nowhere_else() -> None:
    """Another ballot, credential, key, or a single bit changed anywhere: it does not open."""
    vote, key = vector()
    sealed, info = b64decode(vote["sealed"]), vote["info"].encode()

    for other in (info.replace(b"tube-2025", b"tube-2026"), info[:-1] + b"0", b""):
        with pytest.raises(DoesNotOpen):
            key.open(sealed, info=other)
    for place in (0, 1087, 1088, 1119, 1120, len(sealed) - 1):
        altered = bytearray(sealed)
        altered[place] ^= 1
        with pytest.raises(DoesNotOpen):
            key.open(bytes(altered), info=info)
    for length in (0, 1, 1119, 1120, 1135, len(sealed) - 1):
        with pytest.raises(DoesNotOpen):
            key.open(sealed[:length], info=info)
    with pytest.raises(DoesNotOpen):
        OpeningKey(mlkem_seed=bytes(64), x25519_private=b"\1" * 32).open(sealed, info=info)


def test_key_is_not_pickled() -> None:
    """An opening key reaches another process only on purpose."""
    with pytest.raises(TypeError):
        pickle.dumps(vector()[1])


def children_of(process: int) -> set[int]:
    """Return the process ids of a process's children."""
    listed = Path(f"/proc/{process}/task/{process}/children")
    return {int(child) for child in listed.read_text().split()} if listed.exists() else set()


def alive(process: int) -> bool:
    """Say whether a process still runs; one that waits to be reaped does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads /proc")
def test_no_key_outlives_a_killed_count(sealed: SealedBallot, tmp_path: Path) -> None:
    """When the count is killed, the processes that hold the key go too, and there is no result."""
    for _ in range(200):
        sealed.cast({"strike": ["yes"], "seats": ["a"]})
    sealed.votes *= 500
    out = tmp_path / "result.json"
    arguments: list[str | Path] = [
        "--share",
        sealed.shares[0],
        "--share",
        sealed.shares[1],
        "--processes",
        "2",
    ]
    export = sealed.export(tmp_path / "export")
    program = [sys.executable, "-c", "from tally.command import tally; tally()", "tube-2025"]
    count = subprocess.Popen([*program, *arguments, "--from", export, "--out", out])
    deadline = time.monotonic() + WAIT_S
    # The resource tracker of multiprocessing is the third child.
    while len(children := children_of(count.pid)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)

    os.kill(count.pid, signal.SIGKILL)
    count.wait()

    while any(alive(child) for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not out.exists()
