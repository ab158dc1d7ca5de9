"""A batch of codes: file, register and root tell of the same codes, in children or at the desk itself."""

import csv
import hashlib
import io
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from ballot import merkle, receipt, register
from ballot.code import Code
from ballot.suite import keyed_digest
from runtime import children
from runtime.home import Home
from scrutineer import makers
from scrutineer.makers import Makers
from scrutineer.making import DISPATCH_COLUMNS, Made, Maker, Recipient, Series, heading
from scrutineer.spool import unpack
from scrutineer.voters import PeopleKeys

BALLOT = "b"
LINK = "http://127.0.0.1:8080/b/b#"
ISSUED_US = 1_767_225_600_000_000
SHARDS = 4
VOTERS = 300


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A desk's home with keys of its own."""
    home = Home(tmp_path / "home")
    home.make()
    return home


def series(home: Home, *, probe: bool = False) -> Series:
    """The codes of one ballot."""
    return Series(home, BALLOT, SHARDS, probe, LINK)


def roll(home: Home, count: int, *, shard: int | None = None) -> list[Recipient]:
    """Sealed rows of voters with an email, a mobile or an address in turn."""
    keys = PeopleKeys.from_home(home)
    found: list[Recipient] = []
    for number in range(count):
        uin = number.to_bytes(16, "big")
        details = {
            "member_id": f"M-{number}",
            "email": f"{number}@a.example" if number % 3 == 0 else "",
            "mobile": f"07700{number:06d}" if number % 3 == 1 else "",
            "address": f'{number} "High" Street,\nTown' if number % 3 == 2 else "",
        }
        found.append((uin, keys.seal(BALLOT, uin, details, nonce=os.urandom(12)), shard))
    return found


def read(*batches: Made) -> list[dict[str, str]]:
    """The rows of a dispatch file made of these batches."""
    text = (heading() + b"".join(made.rows for made in batches)).decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_a_batch_tells_file_register_and_root_of_the_same_codes(home: Home) -> None:
    """The code in the file gives the digest that is kept, in its shard; the leaves are the register's own."""
    recipients = roll(home, VOTERS)

    made = Maker(series(home)).make(recipients, ISSUED_US)

    rows, kept = read(made), unpack(made.records)
    assert tuple(rows[0]) == DISPATCH_COLUMNS
    assert [row["member_id"] for row in rows] == [f"M-{number}" for number in range(VOTERS)]
    assert [row["channel"] for row in rows[:3]] == ["email", "sms", "post"]
    assert rows[2]["destination"] == '2 "High" Street,\nTown'
    assert [(uin, channel) for _, uin, _, channel in kept] == [
        (uin, row["channel"]) for (uin, _, _), row in zip(recipients, rows, strict=True)
    ]
    for row, (digest, _, shard, _) in zip(rows, kept, strict=True):
        credential = Code.parse(row["code"]).credential(BALLOT)
        key = home.secret("credential-digest")
        assert digest == keyed_digest(key, hashlib.sha256(credential).digest())
        assert shard == receipt.shard_of_digest(digest, SHARDS)
        assert row["link"] == LINK + row["code"]
    leaves = [
        register.issue_leaf(BALLOT, digest, uin, channel, ISSUED_US, shard)
        for digest, uin, shard, channel in kept
    ]
    assert made.root == merkle.root(leaves)
    assert made.leaf_hashes == b"".join(merkle.leaf_hash(leaf) for leaf in leaves)
    assert made.count == len({row["code"] for row in rows}) == VOTERS


def test_a_code_is_drawn_again_until_it_falls_in_its_voters_shard(home: Home) -> None:
    """Whoever had a code before stays in that shard, and the file has the code that was kept."""
    made = Maker(series(home, probe=True)).make(roll(home, 50, shard=3), ISSUED_US)

    key = home.secret("credential-digest")
    digests = [
        keyed_digest(key, hashlib.sha256(Code.parse(row["code"]).credential(BALLOT)).digest())
        for row in read(made)
    ]
    assert [(digest, shard, channel) for digest, _, shard, channel in unpack(made.records)] == [
        (digest, 3, "probe") for digest in digests
    ]
    assert {receipt.shard_of_digest(digest, SHARDS) for digest in digests} == {3}


async def test_children_make_what_the_desk_makes_in_order_and_a_few_batches_ahead(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of any size become full batches; the roll is never read far ahead of what is taken."""
    monkeypatch.setattr(makers, "ALONE_CODES_MAX", 0)
    monkeypatch.setattr(makers, "BATCH_CODES_MAX", 20)
    recipients = roll(home, VOTERS)
    asked, taken, ahead = 0, 0, 0

    async def blocks() -> AsyncIterator[Sequence[Recipient]]:
        nonlocal asked
        for start in range(0, VOTERS, 7):
            asked += len(recipients[start : start + 7])
            yield recipients[start : start + 7]

    batches = []
    with Makers(series(home), count=VOTERS) as pool:
        async for made in pool.made(blocks(), issued_us=ISSUED_US):
            taken += made.count
            ahead = max(ahead, asked - taken)
            batches.append(made)

    assert [made.count for made in batches] == [20] * (VOTERS // 20)
    assert [row["member_id"] for row in read(*batches)] == [f"M-{number}" for number in range(VOTERS)]
    assert ahead <= (children.cores() * makers.AHEAD + 1) * 20
