"""A ballot of five named voters, set up by the commands a scrutineer types, and voted on by hand."""

import csv
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ballot.code import Code
from ballot.receipt import Receipt
from ballot.vote import CastVote
from loadtests.published import scenario
from loadtests.published.plan import ROLL_COLUMNS, Paper
from loadtests.staging.stage import Stage, wait_until
from loadtests.voting import voter
from loadtests.voting.desk import dispatched_codes, pinned_key
from loadtests.voting.door import HttpDoor
from loadtests.voting.voter import Booth, Patience

STORED_SECONDS_MAX = 30.0
PATIENCE = Patience(sleep=time.sleep)


@dataclass(frozen=True, slots=True)
class Member:
    """A row of the roll."""

    member_id: str
    name: str
    email: str
    mobile: str
    address: str


MEMBERS = (
    Member(
        "A-1",
        "Adaeze Plantedname",
        "adaeze.planted@members.example",
        "07700 900111",
        "1 Planted Road, ZZ1 1ZZ",
    ),
    Member(
        "B-2",
        "Bronwen Plantedname",
        "bronwen.planted@members.example",
        "07700 900222",
        "2 Planted Road, ZZ1 1ZZ",
    ),
    Member("C-3", "Callum Plantedname", "", "07700 900333", "3 Planted Road, ZZ1 1ZZ"),
    Member("D-4", "Dilys Plantedname", "dilys.planted@members.example", "", "4 Planted Road, ZZ1 1ZZ"),
    Member("E-5", "Ewan Plantedname", "", "", "5 Planted Road, ZZ1 1ZZ"),
)


def yes(strike: str, asos: str) -> Paper:
    """A paper that answers both questions."""
    return Paper(answers=(("strike", (strike,)), ("asos", (asos,))), legal=True)


class SmallBallot:
    """One ballot on a stage, called `ballot`, of `MEMBERS`; the paper is that of scenario `branch-41`."""

    def __init__(self, stage: Stage, ballot: str) -> None:
        self.stage = stage
        self.ballot = ballot
        self.files = stage.files / ballot
        self.files.mkdir(mode=0o700)
        self.door = HttpDoor(stage.url)
        self.codes_file = self.files / "codes.csv"
        self.result_file = self.files / "result.json"

    def create(self) -> None:
        """`ballot create`, with the window around now."""
        paper = scenario.renamed(scenario.load("branch-41"), self.ballot)
        definition = self.files / "definition.toml"
        definition.write_text(paper.definition_open_at(time.time_ns() // 1000), encoding="utf-8")
        self.stage.run("create", definition)

    def create_keys(self) -> None:
        """`ballot keys create`: any 2 of 3 shares open it; the rehearsal is part of it."""
        self.stage.run(
            "keys", "create", self.ballot, "--threshold", "2", "--shares", "3", "--out", self.files / "shares"
        )

    def import_roll(self) -> None:
        """`ballot roll import`."""
        roll = self.files / "roll.csv"
        with roll.open("w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(ROLL_COLUMNS)
            writer.writerows((who.member_id, who.name, who.email, who.mobile, who.address) for who in MEMBERS)
        self.stage.run("roll", "import", self.ballot, roll)

    def issue_codes(self) -> None:
        """`ballot codes issue`."""
        self.stage.run("codes", "issue", self.ballot, "--out", self.codes_file)

    def open(self) -> None:
        """`ballot open`."""
        self.stage.run("open", self.ballot)

    def set_up(self) -> None:
        """Everything up to an open ballot."""
        for step in (self.create, self.create_keys, self.import_roll, self.issue_codes, self.open):
            step()

    def code(self, member_id: str) -> Code:
        """The code in that member's letter."""
        return Code.parse(dispatched_codes(self.codes_file)[member_id])

    def reissued_code(self, member_id: str) -> Code:
        """`ballot codes reissue`, and the code in the new letter."""
        out = self.files / f"reissued-{member_id}.csv"
        self.stage.run("codes", "reissue", self.ballot, member_id, "--out", out)
        return Code.parse(dispatched_codes(out)[member_id])

    def booth(self) -> Booth:
        """The ballot as served, checked against the desk's pinned key."""
        return voter.enter(self.door, self.ballot, pinned_key(self.stage.desk_key), patience=PATIENCE)

    def seal(self, code: Code, paper: Paper) -> CastVote:
        """A sealed and signed vote."""
        return voter.seal(self.booth(), code, paper)

    def cast(self, vote: CastVote) -> Receipt:
        """The verified receipt for a vote."""
        return voter.cast(self.door, self.booth(), vote, patience=PATIENCE)[0]

    def post(self, body: bytes, *, to: str = "votes") -> tuple[int, dict[str, Any]]:
        """Status and fields of one plain request, right or wrong."""
        answer = self.door.send("POST", f"/api/v1/ballots/{self.ballot}/{to}", body)
        return answer.status, dict(answer.fields())

    def state_of(self, reference: str) -> str:
        """What the server says of a receipt: accepted, stored or held."""
        path = f"/api/v1/ballots/{self.ballot}/receipts/{reference}"
        return str(self.door.send("GET", path).fields().get("state"))

    def wait_for_state(self, reference: str, state: str) -> None:
        """Return once the server says so."""
        wait_until(
            lambda: self.state_of(reference) == state,
            seconds=STORED_SECONDS_MAX,
            what=f"a vote to be {state}",
        )

    def shares(self) -> Sequence[Path]:
        """The key holders' share files."""
        return sorted((self.files / "shares").glob("share-*.txt"))

    def tally(self) -> dict[str, Any]:
        """`ballot tally` with two shares, and the signed result."""
        first, second, _ = self.shares()
        self.stage.run("tally", self.ballot, "--share", first, "--share", second, "--out", self.result_file)
        result: dict[str, Any] = json.loads(self.result_file.read_text(encoding="utf-8"))
        return result
