"""After an open-loop run: every receipt verified, every answer judged, the generators' files made into one.

Works from the run's files alone, in a process a generator; no plan and no code is read. Each request has one
right outcome (timetable.Kind says which); what is not right is named, at most 50 times.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ballot import merkle
from ballot import receipt as receipts
from ballot.encoding import Malformed, b64decode
from ballot.receipt import Receipt
from ballot.suite import SignatureInvalid, verify_signature
from loadtests.crowds import ahead, casts
from loadtests.crowds.ledger import ACCEPTING, ANSWER, HUNG_UP, LEFT_OUT, answers_file, receipts_file
from loadtests.crowds.timetable import ADDED, CASTS, REPEATS, Kind
from loadtests.crowds.unconfirmed import LastAnswers
from loadtests.voting.voter import FORBIDDEN, OK, TRANSIENT

UNEXPECTED_MAX = 50
ANSWERS_AT_ONCE = 4096
NOT_OPEN = 409
CLOCK_S = 0.002
"""What a clock may be moved by in a run, and what telling the time takes."""
REFERENCE = np.dtype("S19")
KINDS = tuple(Kind)

PAPER_FIRST = "paper first, refused"
RIGHT = {
    Kind.USED: ("used code, refused", {FORBIDDEN}),
    Kind.FOREIGN: ("foreign code, refused", {FORBIDDEN}),
    Kind.REVOKED: ("revoked code, refused", {FORBIDDEN}),
    Kind.RETURNED: (PAPER_FIRST, {FORBIDDEN}),
    Kind.LATE: ("late, refused", {NOT_OPEN}),
    Kind.AT_CLOSE: ("at close, refused", {NOT_OPEN}),
    Kind.LAST: ("in the last second, refused", {NOT_OPEN}),
    Kind.ACCESS: ("asked for the paper", {OK}),
    Kind.HUNG_UP: ("connection dropped", {HUNG_UP}),
}
"""The right outcome of a request that brings no receipt, and its name in the counts."""

AT_FIRST_ACCEPTED = "at the first close, accepted"

AT_THE_END = frozenset({Kind.AT_CLOSE, Kind.LAST})
"""Who may be refused because the ballot has closed, once it has."""

REPEATED = {Kind.CLICK: "double click", Kind.AGAIN: "same again later", Kind.UNREAD: "answer not read"}


@dataclass(slots=True)
class Found:
    """What one generator's files came to."""

    counts: Counter[str] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)
    receipted: Counter[tuple[int, int]] = field(default_factory=Counter)
    beyond: Counter[tuple[int, int]] = field(default_factory=Counter)
    in_place: Counter[tuple[int, int]] = field(default_factory=Counter)
    displaced: Counter[tuple[int, int]] = field(default_factory=Counter)
    unconfirmed: Counter[tuple[int, int]] = field(default_factory=Counter)
    closed: Counter[tuple[int, int]] = field(default_factory=Counter)
    gave_up: list[str] = field(default_factory=list)
    first_us: int = 0
    last_us: int = 0
    references: NDArray[np.bytes_] = field(default_factory=lambda: np.empty(0, REFERENCE))
    votes: casts.Casts = field(default_factory=lambda: np.empty(0, casts.CAST))


@dataclass(frozen=True, slots=True)
class Came:
    """One answer, with what its row says."""

    row: int
    status: int
    attempt: int
    sent_s: float
    done_s: float
    kind: Kind
    voter: int


class Part:
    """The reckoning of one generator's part."""

    def __init__(self, folder: Path, out: Path, generator: int, *, start_us: int) -> None:
        self._told = ahead.description(folder)
        self._rows = ahead.rows_of(folder, generator)
        self._people = np.load(folder / ahead.PEOPLE, mmap_mode="r")
        self._keys = {name: b64decode(key, length=32) for name, key in self._told["keys"].items()}
        self._out, self._generator, self._start_us = out, generator, start_us
        close_s = self._told["close_run_s"]
        self._close_s: float | None = close_s
        self._close_us = None if close_s is None else start_us + round(close_s * 1e6)
        self._references = np.zeros(len(self._people), REFERENCE)
        self._accepted_us = np.zeros(len(self._people), np.int64)
        self._sent = np.zeros(len(self._people), np.bool_)
        self._sent_other = np.zeros(len(self._people), np.bool_)
        self._held = np.zeros(len(self._people), np.int64)
        self._declined: list[Came] = []
        self._last = LastAnswers(self._rows)
        self.found = Found()

    def reckon(self) -> Found:
        """Go through the answers in the order in which they came, then look for who has no receipt."""
        with (
            receipts_file(self._out, self._generator).open("rb") as came,
            self._file("receipts").open("wb") as kept,
            self._file("sealed").open("w", encoding="utf-8") as sealed,
            self._file("unsettled").open("w", encoding="utf-8") as unsettled,
        ):
            for answer in self._answers():
                self._judge(answer, came, kept, sealed, unsettled)
        self._without_receipts()
        self.found.references = self._references[self._references != b""]
        answers = np.fromfile(answers_file(self._out, self._generator), ANSWER)
        holds = self._references[self._rows["voter"]] != b""
        self.found.votes = casts.of_part(self._rows, answers, holds)
        return self.found

    def _file(self, name: str) -> Path:
        """This generator's part of the file `name`."""
        return self._out / f"{name}-{self._generator}.jsonl"

    def _answers(self) -> Iterator[Came]:
        """The answers, a stretch of them in memory."""
        path = answers_file(self._out, self._generator)
        count = path.stat().st_size // ANSWER.itemsize
        with path.open("rb") as file:
            for _ in range(0, count, ANSWERS_AT_ONCE):
                stretch = np.fromfile(file, ANSWER, ANSWERS_AT_ONCE)
                rows = self._rows[stretch["row"]]
                columns = (
                    stretch["row"],
                    stretch["status"],
                    stretch["attempt"],
                    stretch["sent_s"],
                    stretch["done_s"],
                    rows["kind"],
                    rows["voter"],
                )
                for row, status, attempt, sent_s, done_s, kind, voter in zip(
                    *(column.tolist() for column in columns), strict=True
                ):
                    yield Came(row, status, attempt, sent_s, done_s, KINDS[kind], voter)

    def _judge(
        self, answer: Came, came: IO[bytes], kept: IO[bytes], sealed: IO[str], unsettled: IO[str]
    ) -> None:
        """One answer: a receipt, the right refusal, one that settles nothing, or something unexpected."""
        counts, kind, status = self.found.counts, answer.kind, answer.status
        if status == LEFT_OUT:
            counts["left out"] += 1
            return
        counts["sent again"] += answer.attempt > 1
        self._sent[answer.voter] |= kind in CASTS or kind is Kind.HUNG_UP
        self._sent_other[answer.voter] |= kind is Kind.DEVICE
        if kind in CASTS or kind is Kind.HUNG_UP:
            self._last.note(answer.row, status)
        if status in TRANSIENT:
            counts[f"answered {status}" if status else "no answer"] += 1
            told = {"at_us": self._unix_us(answer.done_s), "status": status, "what": kind.name.lower()}
            unsettled.write(json.dumps(told) + "\n")
        elif status in ACCEPTING and kind in CASTS:
            line = came.readline()
            try:
                self._receipt(answer, line, kept, sealed)
            except (Malformed, SignatureInvalid, ValueError, KeyError, TypeError) as error:
                self._wrong(answer, f"the receipt does not hold: {type(error).__name__} {error}")
        elif kind in RIGHT and status in RIGHT[kind][1]:
            self._rightly(answer)
        elif status == FORBIDDEN and (kind in CASTS or kind is Kind.ACCESS):
            self._declined.append(answer)
        elif status == NOT_OPEN and self._close_s is not None and answer.done_s >= self._close_s:
            counts["closed before it was confirmed"] += 1
        else:
            self._wrong(answer, f"answered {status}")

    def _receipt(self, answer: Came, line: bytes, kept: IO[bytes], sealed: IO[str]) -> None:
        """A receipt: for this very vote, signed by a published key, before the close, and no second one."""
        row, found = self._rows[answer.row], self.found
        receipt = Receipt.from_dict(json.loads(line))
        verified(receipt, self._keys)
        digest = self._rows["digest"][int(row["of"])].tobytes()
        if receipt.ballot != self._told["ballots"][int(row["ballot"])]["id"]:
            self._wrong(answer, "the receipt is for another ballot")
        if receipt.sealed_sha256 != digest:
            self._wrong(answer, "the receipt is for another vote than the one that was sent")
        if self._close_us is not None and receipt.accepted_us >= self._close_us:
            self._wrong(answer, f"accepted {receipt.accepted_us - self._close_us:,} us after the close")
        if self._sent_after_close(answer):
            self._wrong(answer, "accepted, though sent only after the close")
        known, voter = self._references[answer.voter], answer.voter
        found.counts[REPEATED.get(answer.kind, "repeated")] += bool(known) or answer.kind in REPEATED
        if known:
            if (known.decode(), self._accepted_us[voter]) != (receipt.reference, receipt.accepted_us):
                self._wrong(answer, "the same voter was given two references")
            return
        self._references[voter] = receipt.reference.encode()
        self._accepted_us[voter] = receipt.accepted_us
        self._held[voter] = answer.row
        found.first_us = min(found.first_us or receipt.accepted_us, receipt.accepted_us)
        found.last_us = max(found.last_us, receipt.accepted_us)
        person = self._people[voter]
        paper = int(person["other" if answer.kind is Kind.DEVICE else "paper"])
        added = answer.kind in ADDED
        name = AT_FIRST_ACCEPTED if answer.kind is Kind.AT_FIRST else "at close, accepted"
        found.counts[name if added else "accepted"] += 1
        (found.beyond if added else found.receipted)[int(person["ballot"]), paper] += 1
        if answer.kind is Kind.DEVICE:
            found.in_place[int(person["ballot"]), paper] += 1
            found.displaced[int(person["ballot"]), int(person["paper"])] += 1
        kept.write(line.rstrip(b"\n") + b"\n")
        told = {
            "reference": receipt.reference,
            "sealed_sha256": digest.hex(),
            "member_id": person["member_id"].decode(),
            "at_us": self._unix_us(answer.done_s),
        }
        sealed.write(json.dumps(told) + "\n")

    def _rightly(self, answer: Came) -> None:
        """An answer that is right for such a request; that it has closed is, by our clock, once it has.

        Who is told so at once has not voted; who comes again then may have been taken the first time.
        """
        name, at_the_end = RIGHT[answer.kind][0], answer.kind in AT_THE_END
        if at_the_end and self._close_s is not None and answer.done_s < self._close_s - CLOCK_S:
            self._wrong(answer, f"answered {answer.status} before the close")
            return
        self.found.counts[name] += 1
        if at_the_end and answer.attempt == 1:
            self._sent[answer.voter] = False
            if answer.kind is Kind.LAST:
                person = self._people[answer.voter]
                self.found.closed[int(person["ballot"]), int(person["paper"])] += 1

    def _sent_after_close(self, answer: Came) -> bool:
        """Whether a vote was first sent after the close, by our own clock: it is the server's too.

        Who comes again then may get the receipt of a vote that was taken in time.
        """
        if self._close_s is None or answer.kind not in AT_THE_END or answer.attempt > 1:
            return False
        return answer.sent_s > self._close_s + CLOCK_S

    def _without_receipts(self) -> None:
        """Who sent a vote and holds no receipt is unconfirmed; who was refused must have voted otherwise."""
        unsettled = self._last.unsettled()
        for answer in self._declined:
            if after := self._refused_rightly(answer, unsettled.get(answer.voter, ())):
                self.found.counts[after] += 1
            else:
                self._wrong(answer, f"answered {FORBIDDEN}")
        rows = self._rows
        for voter in np.unique(rows["voter"][self._sent[rows["voter"]]]).tolist():
            if not self._references[voter]:
                person = self._people[voter]
                self.found.unconfirmed[int(person["ballot"]), int(person["paper"])] += 1
                if self._sent_other[voter] and person["other"] != person["paper"]:
                    self.found.unconfirmed[int(person["ballot"]), int(person["other"])] += 1
                self.found.counts["without a receipt"] += 1
                if len(self.found.gave_up) < UNEXPECTED_MAX:
                    self.found.gave_up.append(person["member_id"].decode())

    def _refused_rightly(self, answer: Came, unsettled: Sequence[int]) -> str:
        """What a 403 to a good code is called; nothing when it is wrong.

        Right is only that the code is used up by then, and for a vote that it was by another one: the very
        vote that the voter holds the receipt for must get that receipt again. Where nobody holds one, another
        vote of theirs that was sent and never settled may have been taken.
        """
        voter, rows = answer.voter, self._rows
        if not self._references[voter]:
            own = None if answer.kind is Kind.ACCESS else int(rows["of"][answer.row])
            return "refused, another vote unconfirmed" if any(row != own for row in unsettled) else ""
        if answer.kind is Kind.ACCESS:
            used = self._unix_us(answer.done_s) >= self._accepted_us[voter]
            return "asked for the paper after voting" if used else ""
        sent, held = (rows["digest"][int(rows["of"][row])] for row in (answer.row, self._held[voter]))
        if bool((sent == held).all()):
            return ""
        return "first device's repeat, refused" if answer.kind in REPEATS else "second device, refused"

    def _wrong(self, answer: Came, what: str) -> None:
        """A request whose outcome is not the right one."""
        self._name(answer.voter, f"{answer.kind.name.lower().replace('_', ' ')}: {what}")

    def _name(self, voter: int, what: str) -> None:
        """Note what went wrong with a voter."""
        self.found.counts["unexpected"] += 1
        if len(self.found.unexpected) < UNEXPECTED_MAX:
            self.found.unexpected.append(f"{self._people[voter]['member_id'].decode()}: {what}")

    def _unix_us(self, run_s: float) -> int:
        """A second of the run as a time."""
        return self._start_us + round(run_s * 1e6)


def verified(receipt: Receipt, keys: dict[str, bytes]) -> None:
    """Raise unless a published key signed `receipt`; one signature covers a batch, and is looked at once."""
    root = merkle.root_from_path(merkle.leaf_hash(receipt.leaf.canonical()), receipt.path)
    _signed(keys[receipt.key_id], receipt.signature, root)


@lru_cache(maxsize=8192)
def _signed(public: bytes, signature: bytes, root: bytes) -> None:
    verify_signature(public, signature, receipts.signed_message(root))
