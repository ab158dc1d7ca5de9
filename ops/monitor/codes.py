"""The probe's own access codes: each used for one vote, ever, and never shown.

Code files `codes-NNN.csv` (as the desk writes them for a dispatch house) are read in order of name and
grouped by the gate's shard. `codes.used` holds, for each file, how many codes of each shard were taken; it
is on disk before a code leaves this module, so a restart skips a code rather than using it twice.
"""

from __future__ import annotations

import csv
import hashlib
import json
from typing import TYPE_CHECKING

from ballot.code import Code
from ballot.receipt import shard_of_digest
from ballot.suite import keyed_digest
from ops.monitor.journal import write_durably

if TYPE_CHECKING:
    from pathlib import Path

# A probe every 5 s takes 720 an hour: the first batch lasts four hours, and topping up starts with one
# hour left.
CODES_BATCH = 2880
CODES_LEFT_MIN = 720
CODE_FILES_MAX = 1000

USED_FILE = "codes.used"


class NoCodes(Exception):  # noqa: N818  # an expected state: the probe ballot is made after start-up
    """Why no vote can be sent: the probe ballot is not there yet, its codes are used up, or the like."""


def code_files(directory: Path) -> list[Path]:
    """Return the code files in the order they were issued."""
    return sorted(directory.glob("codes-*.csv"))[:CODE_FILES_MAX]


def read_used(directory: Path) -> dict[str, list[int]]:
    """Return how many codes of each shard were taken from each file."""
    path = directory / USED_FILE
    if not path.exists():
        return {}
    used: dict[str, list[int]] = json.loads(path.read_bytes())
    return used


def codes_left(directory: Path) -> int:
    """Return how many codes are unused, without deriving any of them."""
    used = read_used(directory)
    left = 0
    for path in code_files(directory):
        with path.open(newline="", encoding="utf-8") as file:
            left += sum(1 for _ in csv.DictReader(file)) - sum(used.get(path.name, []))
    return left


class CodeStore:
    """The unused codes by shard; `load` picks up files issued since."""

    def __init__(self, directory: Path, *, ballot_id: str, shards: int, digest_key: bytes) -> None:
        self._directory = directory
        self._ballot_id = ballot_id
        self._shards = shards
        self._digest_key = digest_key
        self._used = read_used(directory)
        self._queues: list[list[tuple[str, Code]]] = [[] for _ in range(shards)]
        self._loaded: set[str] = set()

    def load(self) -> None:
        """Read code files not read yet; about 0.1 ms a code, for deriving its credential."""
        for path in code_files(self._directory):
            if path.name in self._loaded:
                continue
            by_shard: list[list[tuple[str, Code]]] = [[] for _ in range(self._shards)]
            with path.open(newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    code = Code.parse(row["code"])
                    by_shard[self._shard(code)].append((path.name, code))
            taken = self._used.setdefault(path.name, [0] * self._shards)
            for queue, codes, count in zip(self._queues, by_shard, taken, strict=True):
                queue.extend(codes[count:])
            self._loaded.add(path.name)

    def _shard(self, code: Code) -> int:
        credential_sha256 = hashlib.sha256(code.credential(self._ballot_id)).digest()
        return shard_of_digest(keyed_digest(self._digest_key, credential_sha256), self._shards)

    @property
    def left(self) -> int:
        """How many codes remain unused."""
        return sum(len(queue) for queue in self._queues)

    def take(self, shard: int) -> Code:
        """Return an unused code of `shard`, marked used on disk first. Raises NoCodes."""
        if not self._queues[shard]:
            raise NoCodes("no unused probe code for this shard")
        name, code = self._queues[shard].pop(0)
        self._used[name][shard] += 1
        write_durably(self._directory / USED_FILE, json.dumps(self._used).encode())
        return code
