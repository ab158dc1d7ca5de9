"""What one generator keeps while it sends: each answer as a record, each receipt as it came, a line a second.

Nothing is parsed here and nothing grows: a record is 32 bytes in a file, a second is forgotten once it is
written, and what the answers mean is found out after the run (reckoning.py).
"""

import json
import struct
from collections import Counter
from pathlib import Path
from typing import IO

import numpy as np

from loadtests.crowds.buckets import as_json, bucket
from loadtests.crowds.timetable import CASTS, Kind
from loadtests.voting.voter import CREATED, OK, SLOW_DOWN, UNAVAILABLE, Answer

ANSWER = np.dtype(
    [
        ("row", "<u4"),
        ("status", "<u2"),
        ("attempt", "u1"),
        ("waited", "u1"),
        ("planned_s", "<f8"),
        ("sent_s", "<f8"),
        ("done_s", "<f8"),
    ]
)
"""An answer: to which row, at which attempt, and whether all devices were busy at its moment; seconds of the
run. A status of LEFT_OUT was never sent."""

RECORD = struct.Struct("<IHBBddd")
LEFT_OUT = 1
HUNG_UP = 2
"""Statuses that no server gives; 0 is no answer."""

OPEN_S = 40.0
"""So long after its planned moments a second may still change: the longest answer and a retry's send."""
ODD_MAX = 50
BODY_SHOWN = 200

ACCEPTING = frozenset({OK, CREATED})
WORDS = {CREATED: "accepted", 0: "none", HUNG_UP: "hung up"}
ASKING = frozenset({Kind.ACCESS})
REFUSED_MS_MAX = 2_250
"""A deadline of two seconds, and 250 ms: a refusal that takes longer is told with the second it came in."""

LAG_S_MIN = 0.005
SAFE = b'"retry":true'
"""What a refusal must say: the same vote may be sent again."""


def answers_file(out: Path, generator: int) -> Path:
    """Where a generator's answers are, as ANSWER records."""
    return out / f"answers-{generator}.bin"


def receipts_file(out: Path, generator: int) -> Path:
    """Where the receipts are as they came, one a line, in the order of the answers with 200 and 201."""
    return out / f"came-{generator}.jsonl"


def seconds_file(out: Path, generator: int) -> Path:
    """Where the lines a second are."""
    return out / f"seconds-{generator}.jsonl"


class Second:
    """What was planned for one second, and what became of it."""

    __slots__ = (
        *("lag_s", "late_s", "outcomes", "over_ms", "planned", "refused", "refused_over"),
        *("refused_s", "sent", "service", "turned_away", "waited_s"),
    )

    def __init__(self) -> None:
        self.planned = self.sent = self.refused_over = 0
        self.lag_s = self.late_s = self.refused_s = self.waited_s = 0.0
        self.over_ms: dict[int, float] = {}
        self.outcomes: Counter[str] = Counter()
        self.service: Counter[int] = Counter()
        self.refused: Counter[int] = Counter()
        self.turned_away: Counter[int] = Counter()

    def refuse(self, took_s: float, at_s: int) -> None:
        """Count a refusal that came in unix second `at_s`."""
        self.refused[bucket(took_s * 1000)] += 1
        self.refused_s = max(self.refused_s, took_s)
        if took_s * 1000 > REFUSED_MS_MAX:
            self.refused_over += 1
            self.over_ms[at_s] = max(self.over_ms.get(at_s, 0.0), round(took_s * 1000, 3))

    def as_line(self, unix_s: int, generator: int) -> str:
        """The line of the file."""
        told = {
            "s": unix_s,
            "generator": generator,
            "planned": self.planned,
            "sent": self.sent,
            "late_ms_max": round(self.late_s * 1000, 3),
            "waited_ms_max": round(self.waited_s * 1000, 3),
            "outcomes": dict(sorted(self.outcomes.items())),
            "service": as_json(self.service),
            "refused": as_json(self.refused),
            "refused_ms_max": round(self.refused_s * 1000, 3),
            "refused_over": self.refused_over,
            "over_ms": {str(at_s): self.over_ms[at_s] for at_s in sorted(self.over_ms)},
            "lag_ms_max": round(self.lag_s * 1000, 3),
            "turned_away": as_json(self.turned_away),
        }
        return json.dumps(told) + "\n"


class Ledger:
    """The files of generator number `generator`; run second 0 is at unix time `start_s`."""

    def __init__(self, out: Path, generator: int, *, start_s: float) -> None:
        self._generator = generator
        self._start_s = start_s
        self._answers: IO[bytes] = answers_file(out, generator).open("wb")
        self._receipts: IO[bytes] = receipts_file(out, generator).open("wb")
        self._seconds: IO[str] = seconds_file(out, generator).open("w", encoding="utf-8")
        self._open: dict[int, Second] = {}
        self.accepted = self.sent = self.requests = 0
        self.odd: list[str] = []
        self.odd_count = 0
        self.own_failures: Counter[str] = Counter()
        self.late: Counter[int] = Counter()
        self.late_s_max = 0.0
        self.waited = 0
        self.waited_s_max = 0.0

    def plan(self, planned_s: float) -> None:
        """Count a request for the second in which it is to be sent, whether or not it will be."""
        self._second(planned_s).planned += 1

    def lagged(self, now_s: float, lag_s: float) -> None:
        """Note that this process came to itself so much later than it had asked to."""
        if lag_s >= LAG_S_MIN and now_s >= 0:
            second = self._second(now_s)
            second.lag_s = max(second.lag_s, lag_s)

    def note(
        self,
        row: int,
        kind: int,
        attempt: int,
        planned_s: float,
        sent_s: float,
        done_s: float,
        answer: Answer,
        *,
        waited: bool = False,
    ) -> None:
        """Keep an answer: seconds of the run, the moment it was planned for, was sent at, and came at.

        What `waited` because every device was waiting for an answer was late by the service's fault.
        """
        status = answer.status
        self._answers.write(RECORD.pack(row, status, attempt, waited, planned_s, sent_s, done_s))
        second = self._second(planned_s)
        second.sent += 1
        self.requests += 1
        self.sent += attempt == 1
        late_s = sent_s - planned_s
        if waited:
            self.waited += 1
            self.waited_s_max = max(self.waited_s_max, late_s)
            second.waited_s = max(second.waited_s, late_s)
        else:
            self.late[bucket(late_s * 1000)] += 1
            self.late_s_max = max(self.late_s_max, late_s)
            second.late_s = max(second.late_s, late_s)
        if status in ACCEPTING and kind in CASTS:
            self._came(answer.body, row)
            second.service[bucket((done_s - sent_s) * 1000)] += 1
            self.accepted += status == CREATED
            second.outcomes["accepted" if status == CREATED else "repeated"] += 1
            return
        if status in {SLOW_DOWN, UNAVAILABLE}:
            second.refuse(done_s - sent_s, int(self._start_s + done_s))
            if SAFE not in answer.body.replace(b" ", b""):
                self._odd(row, answer)
        elif status > HUNG_UP and kind not in ASKING:
            second.turned_away[bucket((done_s - sent_s) * 1000)] += 1
        second.outcomes[self._word(row, kind, answer)] += 1

    def _second(self, planned_s: float) -> Second:
        """The second in which run second `planned_s` lies."""
        at = int(self._start_s + planned_s)
        second = self._open.get(at)
        if second is None:
            second = self._open[at] = Second()
        return second

    def _word(self, row: int, kind: int, answer: Answer) -> str:
        """The name of an outcome that is no receipt; what a page's question was told is looked at."""
        if kind in ASKING and answer.status == OK:
            if b'"ready"' in answer.body:
                return "ready"
            self._odd(row, answer)
        return WORDS.get(answer.status, str(answer.status))

    def left_out(self, row: int, planned_s: float) -> None:
        """Keep that a row was not sent, because what it follows from did not come about."""
        self._answers.write(RECORD.pack(row, LEFT_OUT, 1, 0, planned_s, planned_s, planned_s))
        self.sent += 1

    def _came(self, body: bytes, row: int) -> None:
        """Keep a receipt as it came: one line, always, so that lines and records stay together."""
        if b"\n" in body:
            self._odd(row, Answer(OK, body))
            body = body.replace(b"\n", b" ")
        self._receipts.write(body + b"\n")

    def _odd(self, row: int, answer: Answer) -> None:
        """An answer of a form that none should have; a few are listed."""
        self.odd_count += 1
        if len(self.odd) < ODD_MAX:
            told = answer.body[:BODY_SHOWN].decode("utf-8", "replace")
            self.odd.append(f"row {row}: answered {answer.status} with {told!r}")

    def flush(self, *, now_s: float) -> None:
        """Write all that is kept, and the seconds that cannot change any more; `now_s` of the run."""
        self._write_before(int(self._start_s + now_s - OPEN_S))
        for file in (self._answers, self._receipts, self._seconds):
            file.flush()

    def _write_before(self, before: int) -> None:
        """Write the lines of the seconds before `before` and forget them."""
        for at in sorted(at for at in self._open if at < before):
            self._seconds.write(self._open.pop(at).as_line(at, self._generator))

    def close(self) -> None:
        """Write everything and close the files."""
        self._write_before(max(self._open, default=0) + 1)
        for file in (self._answers, self._receipts, self._seconds):
            file.close()
