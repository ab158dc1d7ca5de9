"""A polling station for the tests: `ballot up` for real, ballots by the desk's commands, votes opened.

What a test clicked is compared with what the servers stored, opened with the key holders' shares.
"""

import asyncio
import csv
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

from ballot import document, handoff, sealing
from ballot.code import Code
from ballot.definition import Definition, parse_toml
from loadtests.staging.stage import COMMAND_SECONDS_MAX, Stage, wait_until
from loadtests.voting.door import HttpDoor
from runtime import postgres, valkey
from runtime.home import Home
from runtime.servers import Servers, servers
from tally import keys
from tally.answers import read_answers
from tally.opening import OpeningKey
from tests.browser import ballots

T = TypeVar("T")
Answers = Mapping[str, Sequence[str]]

VOTERS: Final = 40
STORED_SECONDS_MAX: Final = 40.0
THRESHOLD, SHARES = 2, 3
NOT_FOUND: Final = 404
ROLL_COLUMNS: Final = ("member_id", "name", "email", "mobile", "address")
_OPEN_RANKED: Final = """
from scrutineer import lifecycle, readiness
readiness._refuse_ranked = lambda stored: None
lifecycle.open_()
"""


@dataclass(frozen=True, slots=True)
class Letter:
    """What one voter was sent: the code, and the link that carries it in its fragment."""

    member_id: str
    code: str = field(repr=False)
    link: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class StoredVote:
    """A row of the votes, and what it says once it is opened."""

    reference: str
    credential: bytes
    sealed_sha256: str
    answers: dict[str, list[str]]


def aside(body: Callable[[], Awaitable[T]]) -> T:
    """Run `body` on an event loop of another thread: this one's belongs to the browser."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(_awaited(body))).result()


async def _awaited(body: Callable[[], Awaitable[T]]) -> T:
    return await body()


class OpenBallot:
    """One ballot on the station, from its definition to its votes."""

    def __init__(self, station: "Station", ballot: str, text: str) -> None:
        self.station = station
        self.id = ballot
        self.files = station.stage.files / ballot
        self._set_up(text)
        canonical = (station.home.public / f"{ballot}.document").read_bytes()
        self.document = document.parse(canonical)
        self._letters = iter(letters_in(self.files / "codes.csv"))
        self._seen: set[str] = set()

    def _set_up(self, text: str) -> None:
        self.files.mkdir(mode=0o700)
        run = self.station.stage.run
        definition, roll = self.files / "definition.toml", self.files / "roll.csv"
        definition.write_text(text, encoding="utf-8")
        with roll.open("w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(ROLL_COLUMNS)
            for number in range(VOTERS):
                writer.writerow((f"m{number}", f"Voter {number}", f"voter{number}@members.example", "", ""))
        run("create", definition, "--shards", "1")
        shares = ("--threshold", str(THRESHOLD), "--shares", str(SHARES), "--out", self.files / "shares")
        run("keys", "create", self.id, *shares)
        run("roll", "import", self.id, roll)
        run("codes", "issue", self.id, "--out", self.files / "codes.csv")
        self._open()

    def _open(self) -> None:
        """`ballot open`; of a ranked ballot too: the page is ready before the counting is."""
        if all(question.form != "ranked" for question in self._definition().questions):
            self.station.stage.run("open", self.id)
            return
        subprocess.run(
            [sys.executable, "-c", _OPEN_RANKED, self.id],
            env=self.station.stage.env,
            check=True,
            timeout=COMMAND_SECONDS_MAX,
        )

    def _definition(self) -> Definition:
        return parse_toml((self.files / "definition.toml").read_text(encoding="utf-8"))

    @cached_property
    def _opening_key(self) -> OpeningKey:
        """What the key holders' shares make."""
        found, _ = keys.recover(tuple(self.shares()), ballot=self.id, public_key=self.document.public_key)
        return found.opening.key()

    @property
    def url(self) -> str:
        """The voter's page, without a code."""
        return f"{self.station.stage.url}/b/{self.id}"

    def letter(self) -> Letter:
        """The letter of a voter that no other test has."""
        return next(self._letters)

    def close(self) -> None:
        """`ballot close`, now."""
        self.station.stage.run("close", self.id)

    def extend(self, by: timedelta) -> None:
        """`ballot extend`: the close is so much later than now."""
        until = (datetime.now(UTC) + by).replace(microsecond=0).isoformat()
        self.station.stage.run("extend", self.id, "--until", until)

    def shares(self) -> list[Path]:
        """As many share files as open the ballot."""
        return sorted((self.files / "shares").glob("share-*.txt"))[:THRESHOLD]

    def tally(self) -> dict[str, Any]:
        """The result that `ballot tally` signs."""
        out = self.files / "result.json"
        shares = [part for share in self.shares() for part in ("--share", share)]
        self.station.stage.run("tally", self.id, *shares, "--out", out)
        result: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return result

    def state_of(self, reference: str) -> str:
        """What anyone is told of a reference: accepted, stored or held; `unknown` for no such."""
        path = f"/api/v1/ballots/{self.id}/receipts/{reference}"
        answer = HttpDoor(self.station.stage.url).send("GET", path)
        return "unknown" if answer.status == NOT_FOUND else str(answer.fields()["state"])

    def stored(self, reference: str) -> StoredVote:
        """The vote with this reference, once it is stored, opened with the shares."""
        wait_until(
            lambda: self.state_of(reference) == "stored",
            seconds=STORED_SECONDS_MAX,
            what="a vote to be stored",
        )
        return next(vote for vote in self.stored_votes() if vote.reference == reference)

    def opened(self, reference: str) -> dict[str, list[str]]:
        """What the vote with this reference says, once it is stored."""
        return self.stored(reference).answers

    def stored_votes(self) -> list[StoredVote]:
        """Every vote of the ballot, opened, once all that was accepted is stored; none is quarantined."""
        accepted, rows, quarantined = aside(self._books)
        if accepted != len(rows) + quarantined:
            wait_until(self._is_drained, seconds=STORED_SECONDS_MAX, what="all accepted votes to be stored")
            _, rows, quarantined = aside(self._books)
        assert quarantined == 0, f"{quarantined} votes of {self.id} are in quarantine"
        return [self._opened(*row) for row in rows]

    def votes_of(self, letter: Letter) -> list[dict[str, list[str]]]:
        """What is stored in the name of this letter's voter: one vote, or none."""
        credential = Code.parse(letter.code).credential(self.id)
        return [vote.answers for vote in self.stored_votes() if vote.credential == credential]

    def mark(self) -> None:
        """Forget the votes there are: `added` gives those that come from now on."""
        self._seen = {vote.reference for vote in self.stored_votes()}

    def added(self) -> list[dict[str, list[str]]]:
        """What every vote says that was stored since the mark: exactly the votes that the test cast."""
        return [vote.answers for vote in self.stored_votes() if vote.reference not in self._seen]

    def _is_drained(self) -> bool:
        accepted, rows, quarantined = aside(self._books)
        return accepted == len(rows) + quarantined

    async def _books(self) -> tuple[int, list[tuple[Any, ...]], int]:
        """How many votes the gate accepted; then the stored rows, and how many are in quarantine."""
        running = self.station.servers
        queue = valkey.connect(running, "admin")
        try:
            accepted = int(await queue.hget(handoff.gate_key(self.id, 0), "accepted") or 0)
        finally:
            await queue.aclose()
        checker = await postgres.connect(running, "voterdb", "ballot_checker")
        try:
            rows = await checker.fetch(
                """SELECT reference, credential, nonce, sealed, sealed_sha256 FROM ballot.votes
                   WHERE ballot = $1 ORDER BY accepted_us""",
                self.id,
            )
            quarantined = await checker.fetchval(
                "SELECT count(*) FROM ballot.quarantine WHERE ballot = $1", self.id
            )
        finally:
            await checker.close()
        return accepted, [tuple(row) for row in rows], int(quarantined)

    def _opened(
        self, reference: str, credential: bytes, nonce: bytes, sealed: bytes, digest: bytes
    ) -> StoredVote:
        paper = self.document
        info = sealing.hpke_info(self.id, paper.definition.sha256, sealing.bind(nonce, credential))
        plaintext = self._opening_key.open(sealed, info=info)
        answers = read_answers(plaintext, questions=paper.definition.questions, padded_size=paper.padded_size)
        return StoredVote(reference, credential, digest.hex(), answers)


class Station:
    """The running servers, and each ballot made when a test first asks for it."""

    def __init__(self, stage: Stage, servers: Servers, home: Home) -> None:
        self.stage = stage
        self.servers = servers
        self.home = home
        self._shared: dict[str, OpenBallot] = {}
        self._made = 0

    def shared(self, form: str) -> OpenBallot:
        """The open ballot of this form that all tests vote on; each with letters of its own."""
        if form not in self._shared:
            self._shared[form] = self.fresh(form)
        return self._shared[form]

    def fresh(
        self, form: str, *, opens_in: timedelta = -ballots.HOUR, closes_in: timedelta = 24 * ballots.HOUR
    ) -> OpenBallot:
        """A ballot for one test alone, to be closed or to wait for."""
        self._made += 1
        ballot = f"{form}-{self._made}"
        text = ballots.definition(form, ballot, opens_in=opens_in, closes_in=closes_in)
        return OpenBallot(self, ballot, text)


@contextmanager
def polling_station() -> Iterator[Station]:
    """`ballot up` in a directory of its own; ballots are made when somebody asks for them."""
    with Stage() as stage:
        stage.up(extra=("--no-monitor",))  # its probes cast and count a ballot of their own
        home = Home.from_environment(stage.env)
        with servers(home, stage.env) as running:
            yield Station(stage, running, home)


def letters_in(path: Path) -> list[Letter]:
    """The letters that a dispatch file asks for."""
    with path.open(encoding="utf-8", newline="") as lines:
        return [Letter(row["member_id"], row["code"], row["link"]) for row in csv.DictReader(lines)]
