"""The votes that were sent and have no receipt, as `ballot check --attempts` reads them: any may count."""

import json
from pathlib import Path

import numpy as np

from loadtests import ahead
from loadtests.timetable import CASTS, Kind

SENT = [int(kind) for kind in (*CASTS, Kind.HUNG_UP)]
DIGEST = np.dtype("V32")
FILE = "attempts.jsonl"


def write(voters: Path) -> int:
    """Write every vote of the run that could be counted and is in no `sealed.jsonl`; how many there are."""
    folder = voters / ahead.FOLDER
    told = ahead.description(folder)
    ballots = [each["id"] for each in told["ballots"]]
    held = _held(voters / "sealed.jsonl")
    count = 0
    with (voters / FILE).open("w", encoding="utf-8") as lines:
        for generator in range(told["generators"]):
            rows = ahead.rows_of(folder, generator)
            sent = rows[np.isin(rows["kind"], SENT) & (rows["of"] == np.arange(len(rows)))]
            digests = np.ascontiguousarray(sent["digest"]).view(DIGEST).reshape(-1)
            left = np.array([bytes(digest) not in held for digest in digests], dtype=bool)
            for ballot, digest in zip(sent["ballot"][left].tolist(), digests[left], strict=True):
                line = {"ballot": ballots[ballot], "sealed_sha256": bytes(digest).hex()}
                lines.write(json.dumps(line) + "\n")
                count += 1
    return count


def _held(path: Path) -> set[bytes]:
    """The digests of the votes that somebody holds a receipt for."""
    with path.open(encoding="utf-8") as lines:
        return {bytes.fromhex(json.loads(line)["sealed_sha256"]) for line in lines}
