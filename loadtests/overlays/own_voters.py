"""The overlay's own voters: real votes with spare codes, each receipt verified and kept, each choice counted.

What they vote comes on top of the crowd's votes, so it is told by question and option. What is sent is
written down before it is sent: see `attempts`.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ballot.code import Code
from ballot.receipt import Receipt
from ballot.vote import CastVote
from loadtests.overlays.attempts import ATTEMPTS, SEALED
from loadtests.overlays.terms import Context
from loadtests.overlays.wire import Reply
from loadtests.overlays.work import Impossible, now_us
from loadtests.published.plan import Paper
from loadtests.voting.desk import pinned_key
from loadtests.voting.door import HttpDoor
from loadtests.voting.voter import (
    Answer,
    Booth,
    Patience,
    Refused,
    Unconfirmed,
    Untrue,
    enter,
    receipt_of,
    seal,
)

ENTER_ATTEMPTS_MAX = 8


def entered(context: Context) -> Booth:
    """The ballot as a device knows it, the desk's signature checked; blocks, so call it in a thread."""
    door = HttpDoor(context.url, ca=context.ca)
    patience = Patience(sleep=time.sleep, attempts_max=ENTER_ATTEMPTS_MAX)
    try:
        return enter(door, context.ballot, pinned_key(context.desk_key), patience=patience)
    except (Refused, Unconfirmed, Untrue) as error:
        raise Impossible(f"The ballot {context.ballot} cannot be seen: {error}") from error
    finally:
        door.close()


def papers(booth: Booth) -> tuple[Paper, Paper]:
    """Two legal papers that differ in every question: its first option, and its last."""
    questions = booth.document.definition.questions
    first, last = (
        Paper(tuple((known.id, (known.options[place].id,)) for known in questions), legal=True)
        for place in (0, -1)
    )
    return first, last


class OwnVoters:
    """Who voted with which spare code; receipts go to a file as the crowd's do, and so do the digests."""

    def __init__(self, context: Context, booth: Booth, name: str) -> None:
        self.booth = booth
        self.counted: dict[str, Counter[str]] = {}
        self.untrue = 0
        self.receipts = 0
        self._receipts, self._sealed, self._attempts = (
            (context.out / f"{name}.{kind}").open("w", encoding="utf-8", buffering=1)
            for kind in ("receipts.jsonl", SEALED, ATTEMPTS)
        )

    def seal(self, code: Code, paper: Paper) -> CastVote:
        """A sealed and signed vote, once."""
        return seal(self.booth, code, paper)

    def sends(self, member_id: str, vote: CastVote, paper: Paper) -> None:
        """Write down a vote that is about to be sent for the first time: from here on it may be counted."""
        line = {
            "ballot": self.booth.document.definition.id,
            "sealed_sha256": vote.sealed_sha256.hex(),
            "member_id": member_id,
            "marks": {question: list(marks) for question, marks in paper.answers},
        }
        self._attempts.write(json.dumps(line) + "\n")

    def came(self, vote: CastVote, replies: Sequence[Reply]) -> None:
        """Write down that a vote cannot be counted, if that is what all answers to it say."""
        if replies and all(reply.refuses for reply in replies):
            line = {"sealed_sha256": vote.sealed_sha256.hex(), "refused": replies[-1].status}
            self._attempts.write(json.dumps(line) + "\n")

    def receipt(self, reply: Reply, vote: CastVote) -> Receipt | None:
        """The receipt in `reply`, verified; None when there is none, and counted when it is untrue."""
        try:
            return receipt_of(Answer(reply.status, reply.body), vote, self.booth)
        except Refused:
            return None
        except Untrue:
            self.untrue += 1
            return None

    def keep(self, member_id: str, receipt: Receipt, vote: CastVote, paper: Paper) -> None:
        """Count and keep one accepted vote."""
        self.receipts += 1
        for question, marks in paper.answers:
            self.counted.setdefault(question, Counter()).update(marks)
        digest = {
            "reference": receipt.reference,
            "sealed_sha256": vote.sealed_sha256.hex(),
            "member_id": member_id,
            "at_us": now_us(),
        }
        self._sealed.write(json.dumps(digest) + "\n")
        self._receipts.write(json.dumps(receipt.to_dict()) + "\n")

    def told(self) -> dict[str, Any]:
        """What they voted in all, which comes on top of the crowd's votes."""
        for kept in (self._receipts, self._sealed, self._attempts):
            with suppress(OSError):
                kept.flush()
        return {
            "receipts": self.receipts,
            "counted": {question: dict(votes) for question, votes in self.counted.items()},
            "untrue": self.untrue,
        }


def nonsense(padded_overhead: int, suite: str) -> bytes:
    """The body of a vote in the right form, all of whose values are noise: it must get as far as the gate."""
    noise = CastVote(os.urandom(32), suite, os.urandom(16), os.urandom(padded_overhead), os.urandom(64))
    return noise.to_json()
