"""The votes that were sent and have no receipt, as `ballot check --attempts` reads them: any may count.

One that was never sent, or of which every answer was a refusal for good, may not.
"""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loadtests.crowds import ahead
from loadtests.crowds.ledger import ACCEPTING, ANSWER, HUNG_UP, LEFT_OUT, answers_file
from loadtests.crowds.timetable import CASTS, Kind, Rows
from loadtests.voting.voter import TRANSIENT

SENT = [int(kind) for kind in (*CASTS, Kind.HUNG_UP)]
DIGEST = np.dtype("V32")
FILE = "attempts.jsonl"
BESIDE = "attempts-beside.jsonl"
"""Such votes of others than the crowd, put there by who let them loose: a line each, as it is told here."""

UNSETTLED = [*TRANSIENT, HUNG_UP]
MAY_COUNT = [*UNSETTLED, *ACCEPTING]


class LastAnswers:
    """What the latest answer to each sealed vote was, of the answers in the order in which they came."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._last = np.full(len(rows), LEFT_OUT, np.uint16)

    def note(self, row: int, status: int) -> None:
        """The vote of row `row` was answered."""
        self._last[int(self._rows["of"][row])] = status

    def unsettled(self) -> dict[int, list[int]]:
        """Of each voter who has any: the votes, by the row they were sealed for, that nothing settled."""
        found: dict[int, list[int]] = {}
        own = np.isin(self._rows["kind"], SENT) & np.isin(self._last, UNSETTLED)
        for row in np.flatnonzero(own).tolist():
            if int(self._rows["of"][row]) == row:
                found.setdefault(int(self._rows["voter"][row]), []).append(row)
        return found


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
            own = np.isin(rows["kind"], SENT) & (rows["of"] == np.arange(len(rows)))
            sent = rows[own & _open(rows, answers_file(voters, generator))]
            digests = np.ascontiguousarray(sent["digest"]).view(DIGEST).reshape(-1)
            left = np.array([bytes(digest) not in held for digest in digests], dtype=bool)
            for ballot, digest in zip(sent["ballot"][left].tolist(), digests[left], strict=True):
                line = {"ballot": ballots[ballot], "sealed_sha256": bytes(digest).hex()}
                lines.write(json.dumps(line) + "\n")
                count += 1
        if (voters / BESIDE).exists():
            for beside in (voters / BESIDE).read_text(encoding="utf-8").splitlines():
                lines.write(beside + "\n")
                count += 1
    return count


def _open(rows: Rows, path: Path) -> NDArray[np.bool_]:
    """Whether the body of each row may have been taken, by the answers in that file; without one all may."""
    if not path.exists():
        return np.ones(len(rows), np.bool_)
    answers = np.fromfile(path, ANSWER)
    may = np.zeros(len(rows), np.bool_)
    may[rows["of"][answers["row"][np.isin(answers["status"], MAY_COUNT)]]] = True
    return may


def _held(path: Path) -> set[bytes]:
    """The digests of the votes that somebody holds a receipt for."""
    with path.open(encoding="utf-8") as lines:
        return {bytes.fromhex(json.loads(line)["sealed_sha256"]) for line in lines}
