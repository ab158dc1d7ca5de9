"""The life of one ballot as a run plays it: prepare, vote, close, count, check, each by command."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ballot import receipt as receipts
from ballot.encoding import b64decode
from ballot.receipt import Receipt
from loadtests.crowds.crowd import USERS, Booking, Crowd, bar
from loadtests.published.plan import Plan
from loadtests.published.scenario import SPOILT, Scenario
from loadtests.staging.stage import COMMAND_SECONDS_MAX, Stage, StageFault
from loadtests.voting.door import HttpDoor

THRESHOLD, SHARES = 2, 3
# New codes are asked for when this part of the voters has voted: in the middle of the run.
REISSUE_AFTER = 0.2
During = Callable[[Stage, Crowd], None]


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table: what was published or expected, and what was counted."""

    what: str
    option: str
    published: int
    counted: int

    @property
    def difference(self) -> int:
        """Counted less published; anything but 0 is a failure."""
        return self.counted - self.published


def nothing(_stage: Stage, _crowd: Crowd) -> None:
    """Let the voters vote in peace."""


class Life:
    """One ballot on one stage. The steps are to be called in the order in which they stand."""

    command_seconds = COMMAND_SECONDS_MAX

    def __init__(
        self,
        stage: Stage,
        scenario: Scenario,
        plan: Plan,
        *,
        seed: int | None = None,
        users: int = USERS,
        think: float = 0.0,
    ) -> None:
        self.stage = stage
        self.scenario = scenario
        self.plan = plan
        self.seed = seed
        self.users = users
        self.think = think
        self.ballot = scenario.ballot
        self.files = stage.files / scenario.ballot
        self.files.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.codes = self.files / "codes.csv"
        self.result = self.files / "result.json"
        self.summary: dict[str, Any] = {}

    def create(self, *, now_us: int) -> None:
        """Register the definition, with its window around now."""
        definition = self.files / "definition.toml"
        definition.write_text(self.scenario.definition_open_at(now_us), encoding="utf-8")
        self.stage.run("create", definition)

    def keys(self) -> None:
        """Make the ballot's key in shares, and rehearse it."""
        shares = ("--threshold", str(THRESHOLD), "--shares", str(SHARES))
        self.stage.run("keys", "create", self.ballot, *shares, "--out", self.files / "shares")

    def roll(self) -> None:
        """Import the electorate."""
        self.stage.run("roll", "import", self.ballot, self.write_roll(), seconds=self.command_seconds)

    def write_roll(self) -> Path:
        """Write the electorate as `ballot roll import` reads it."""
        roll = self.files / "roll.csv"
        self.plan.write_roll(roll)
        return roll

    def issue(self) -> None:
        """Write the dispatch file: one code a voter."""
        self.stage.run("codes", "issue", self.ballot, "--out", self.codes, seconds=self.command_seconds)

    def open(self) -> None:
        """Freeze, sign and publish the ballot document, and take votes."""
        self.stage.run("open", self.ballot, seconds=self.command_seconds)

    def vote(self, *, during: During = nothing) -> None:
        """Let the voters vote, reissue codes in the middle, and do `during` as well."""
        reissued = self.files / "reissued.csv"
        booking = Booking(
            scenario=self.scenario.spec,
            url=self.stage.url,
            codes=self.codes,
            desk_key=self.stage.desk_key,
            out=self.files / "voters",
            reissued=reissued if self.plan.reissues else None,
            seed=self.seed,
            users=self.users,
            think=self.think,
        )
        with bar(len(self.plan.voters)) as told, Crowd(booking, told=told) as crowd:
            crowd.wait_for(int(len(self.plan.voters) * REISSUE_AFTER))
            if self.plan.reissues and crowd.running:
                self._reissue(reissued)
            during(self.stage, crowd)
            self.summary = crowd.finish()

    def _reissue(self, reissued: Path) -> None:
        """New codes for those who lost theirs; the file appears whole."""
        members = self.files / "lost-codes.txt"
        members.write_text("".join(f"{member}\n" for member in self.plan.reissues), encoding="utf-8")
        draft = reissued.with_suffix(".draft.csv")
        self.stage.run(
            *("codes", "reissue", self.ballot, "--members", members, "--out", draft),
            seconds=self.command_seconds,
        )
        draft.rename(reissued)

    def close(self) -> None:
        """Close, and wait until every vote is stored."""
        self.stage.run("close", self.ballot)

    def tally(self) -> None:
        """Count with as many shares as are needed, and no more."""
        shares = [("--share", str(path)) for path in self.shares()[:THRESHOLD]]
        self.stage.run(
            "tally", self.ballot, *(word for share in shares for word in share), "--out", self.result
        )

    def shares(self) -> Sequence[Path]:
        """The share files, in order."""
        return sorted(path for path in (self.files / "shares").iterdir() if path.is_file())

    def verify(self) -> None:
        """The result's signature under the key that was pinned when the ballot opened."""
        self.stage.run("verify", self.result)

    def check(self) -> None:
        """The checker: the books, every stored vote's signature, every receipt, and the result."""
        kept = self.files / "voters" / "receipts.jsonl"
        self.stage.run("check", self.ballot, "--receipts", kept, "--signatures", "--result", self.result)

    def receipts(self) -> list[Figure]:
        """Every receipt again, from the file: signed by a published key, with the voter's own digest."""
        door = HttpDoor(self.stage.url)
        told = door.send("GET", "/api/v1/keys").fields()
        door.close()
        keys = {key["id"]: b64decode(key["public_key"]) for key in told["keys"] if key["use"] == "receipts"}
        references, digests = set(), 0
        for receipt, digest in self._kept():
            receipts.verify(receipt, keys[receipt.key_id])
            references.add(receipt.reference)
            digests += receipt.sealed_sha256 == digest
        votes = self.scenario.votes
        return [
            Figure("receipts", "verified", votes, len(references)),
            Figure("receipts", "same digest", votes, digests),
        ]

    def _kept(self) -> Iterator[tuple[Receipt, bytes]]:
        """The receipts in the file, each with the digest the voter's side computed."""
        voters = self.files / "voters"
        with (voters / "sealed.jsonl").open(encoding="utf-8") as lines:
            digests = {
                kept["reference"]: bytes.fromhex(kept["sealed_sha256"]) for kept in map(json.loads, lines)
            }
        with (voters / "receipts.jsonl").open(encoding="utf-8") as lines:
            for line in lines:
                receipt = Receipt.from_dict(json.loads(line))
                yield receipt, digests[receipt.reference]

    def figures(self) -> list[Figure]:
        """The signed result beside the published figures."""
        result = json.loads(self.result.read_text(encoding="utf-8"))
        counted = {question["id"]: question for question in result["questions"]}
        rows = [
            Figure("entitled", "", self.scenario.entitled, result["entitled"]),
            Figure("votes cast", "", self.scenario.votes, result["votes_cast"]),
        ]
        for question, published in self.scenario.published.items():
            told = counted[question]["counts"] | {SPOILT: counted[question]["spoilt"]}
            if told.keys() != published.keys():
                raise StageFault(
                    f"The result of question {question} lists other options than the ballot paper."
                )
            rows += [Figure(question, option, votes, told[option]) for option, votes in published.items()]
        rows.append(Figure("set aside", "", 0, sum(result["set_aside"].values())))
        rows.append(Figure("quarantined", "", 0, sum(result["quarantined"].values())))
        return rows

    def books(self) -> dict[str, Any]:
        """The books as the signed result states them."""
        books: dict[str, Any] = json.loads(self.result.read_text(encoding="utf-8"))["books"]
        return books
