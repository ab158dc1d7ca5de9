"""The checker sees: each way to lose, double, change or slip in a vote is named, and fails."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from ballot import gate_layout, receipt
from ballot.encoding import b64encode
from ballot.suite import SigningKey
from tests.conftest import Stack
from tests.integration.check_ballot import (
    CAST,
    DEFINITION,
    VOTERS,
    SmallBallot,
    build,
    digest_of,
    examined,
    run,
    without_keys,
)

Tamper = Callable[[SmallBallot, asyncpg.Connection, Any], Awaitable[object]]


@pytest.fixture(scope="module")
def small(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> SmallBallot:
    """Twelve voters, eight stored votes, nothing wrong."""
    return build(stack, tmp_path_factory.mktemp("check"))


def named(report: dict[str, Any]) -> set[tuple[str, str]]:
    """What was found, as (kind, where)."""
    return {(found["kind"], found["where"]) for found in report["findings"]}


def test_an_untouched_ballot_balances(small: SmallBallot, tmp_path: Path) -> None:
    """With nothing wrong every difference is 0, signatures, roots and receipts included."""
    receipts = small.write_receipts(tmp_path / "receipts.jsonl")

    status, report = examined(small, signatures=True, receipts=receipts)

    assert (status, report["differences"], report["findings"]) == (0, 0, [])
    books = report["books"]
    assert (books["entitled"], books["issued"], books["used"], books["unused"]) == (
        VOTERS,
        VOTERS,
        CAST,
        VOTERS - CAST,
    )
    assert (books["accepted"], books["stored"], books["voted_electronic"]) == (CAST, CAST, CAST)


def test_the_text_report_ends_in_the_difference(small: SmallBallot) -> None:
    """A person reads the books and one last line."""
    done = run(small.stack, "check", small.id)

    assert done.stdout.splitlines()[-1] == "differences: 0"
    assert f"issued {VOTERS} = used {CAST} + unused {VOTERS - CAST} + revoked 0; difference 0" in done.stdout


def test_an_unknown_ballot_is_one_plain_sentence(stack: Stack) -> None:
    """A mistyped name is said to be one."""
    done = run(stack, "check", "nothing-here", check=False)

    assert done.returncode == 1
    assert "there is no ballot 'nothing-here'" in done.stderr
    assert "Traceback" not in done.stderr


def sql(statement: str) -> Tamper:
    """Tamper by one statement as the owner; `@vote` selects the first vote, `$3` names the second."""
    statement = statement.replace("@vote", "WHERE ballot = $1 AND reference = $2")

    async def tamper(small: SmallBallot, owner: asyncpg.Connection, queue: Any) -> object:
        references = [given.reference for given in small.receipts[: statement.count("$") and 2]]
        used = [value for number, value in enumerate([small.id, *references], 1) if f"${number}" in statement]
        return await owner.execute(statement, *used)

    return tamper


async def drop_stored_entry(small: SmallBallot, owner: asyncpg.Connection, queue: Any) -> object:
    """Delete the first vote's entry from the stream."""
    [(entry, _)] = await queue.xrange(small.keys[4], count=1)
    return await queue.xdel(small.keys[4], entry)


async def drop_unstored_entry(small: SmallBallot, owner: asyncpg.Connection, queue: Any) -> object:
    """Delete the first vote's entry from the stream before it was stored."""
    await drop_stored_entry(small, owner, queue)
    reference = small.receipts[0].reference
    return await owner.execute(
        "DELETE FROM ballot.votes WHERE ballot = $1 AND reference = $2", small.id, reference
    )


async def drop_mark(small: SmallBallot, owner: asyncpg.Connection, queue: Any) -> object:
    """Take the gate's mark of the first vote away, so that the voter could vote again."""
    uin = await owner.fetchval(
        "SELECT uin FROM ballot.votes WHERE ballot = $1 AND reference = $2",
        small.id,
        small.receipts[0].reference,
    )
    return await queue.hdel(small.keys[2], uin)


async def mark_an_abstainer(small: SmallBallot, owner: asyncpg.Connection, queue: Any) -> object:
    """Mark a voter who did not vote, under the first vote's reference."""
    marks = await queue.hgetall(small.keys[2])
    uin = await owner.fetchval(
        "SELECT uin FROM ballot.electorate WHERE ballot = $1 AND NOT uin = ANY($2)", small.id, list(marks)
    )
    found = [gate_layout.Mark.from_value(value) for value in marks.values()]
    mark = next(mark for mark in found if mark.reference == small.receipts[0].reference)
    return await queue.hset(small.keys[2], uin, replace(mark, reference="0000-0000-0000-0000").to_value())


async def slip_in_a_credential(small: SmallBallot, owner: asyncpg.Connection, queue: Any) -> object:
    """Let the gate know a credential that nobody issued."""
    return await queue.hset(small.keys[1], bytes(gate_layout.DIGEST_KEPT), bytes(16) + b"ce")


async def forget_a_credential(small: SmallBallot, owner: asyncpg.Connection, queue: Any) -> object:
    """Take an issued credential from the gate, so that its voter is turned away."""
    digest = next(iter(await queue.hkeys(small.keys[1])))
    return await queue.hdel(small.keys[1], digest)


async def corrupt_a_mark(small: SmallBallot, owner: asyncpg.Connection, queue: Any) -> object:
    """Cut the gate's mark of a voter short."""
    return await queue.hset(small.keys[2], bytes(16), b"e12345")


async def corrupt_a_reference(small: SmallBallot, owner: asyncpg.Connection, queue: Any) -> object:
    """Put among the references what is none, with a state that is no text."""
    return await queue.hset(small.keys[3], b"\xff" * 11, b"\xff")


async def keep_a_whole_digest(small: SmallBallot, owner: asyncpg.Connection, queue: Any) -> object:
    """Let the gate know an issued code once more, under its whole digest."""
    digest = digest_of(small, small.codes[0].signing_key(small.id).public)
    return await queue.hset(small.keys[1], digest, bytes(16) + b"ce")


def whole_digest(small: SmallBallot) -> str:
    """Where that shows."""
    digest = digest_of(small, small.codes[0].signing_key(small.id).public)
    return f"credential {digest.hex().upper()}"


FIRST = object()

TAMPERINGS: dict[str, tuple[str, object, Tamper]] = {
    "a stored vote deleted": ("lost", FIRST, sql("DELETE FROM ballot.votes @vote")),
    "an entry dropped before it was stored": ("lost", FIRST, drop_unstored_entry),
    "an entry dropped after it was stored": ("unexplained", FIRST, drop_stored_entry),
    "stored bytes altered": (
        "altered",
        FIRST,
        sql("UPDATE ballot.votes SET sealed = set_byte(sealed, 5, (get_byte(sealed, 5) + 1) % 256) @vote"),
    ),
    "bytes and digest altered together": (
        "altered",
        FIRST,
        sql("UPDATE ballot.votes SET sealed = 'x', sealed_sha256 = sha256('x') @vote"),
    ),
    "the acceptance time altered": (
        "altered",
        FIRST,
        sql("UPDATE ballot.votes SET accepted_us = accepted_us + 1 @vote"),
    ),
    "a time before opening": (
        "outside the window",
        FIRST,
        sql("UPDATE ballot.votes SET accepted_us = 1 @vote"),
    ),
    "the mark taken away": ("unexplained", FIRST, drop_mark),
    "a vote nobody cast": (
        "unexplained",
        "ZZZZ-0000-0000-0000",
        sql(
            """INSERT INTO ballot.votes SELECT ballot,
                 (SELECT uin FROM ballot.electorate e WHERE e.ballot = v.ballot
                     AND uin NOT IN (SELECT uin FROM ballot.votes w WHERE w.ballot = v.ballot) LIMIT 1),
                 'ZZZZ-0000-0000-0000', accepted_us, credential_digest, channel, credential, nonce, sealed,
                 signature, sealed_sha256, decode(md5(random()::text), 'hex'), shard, '1-1'
                 FROM ballot.votes v
                WHERE ballot = $1 AND reference = $2"""
        ),
    ),
    "a voter not on the roll": (
        "not in the electorate",
        FIRST,
        sql("UPDATE ballot.votes SET uin = decode(repeat('00', 16), 'hex') @vote"),
    ),
    "a vote moved to another voter's code": (
        "not as registered",
        FIRST,
        sql(
            "UPDATE ballot.votes SET credential_digest = (SELECT o.credential_digest FROM ballot.votes o"
            " WHERE o.ballot = $1 AND o.reference = $3) @vote"
        ),
    ),
    "a voter marked who never voted": ("lost", "0000-0000-0000-0000", mark_an_abstainer),
    "a corrupt mark": ("altered", f"UIN {'00' * 16}", corrupt_a_mark),
    "a corrupt reference": ("altered", f"field {'ff' * 11}", corrupt_a_reference),
    "a credential slipped in at the gate": (
        "not as registered",
        f"credential {'00' * 16}",
        slip_in_a_credential,
    ),
    "an issued code under its whole digest": ("not as registered", whole_digest, keep_a_whole_digest),
    "a vote by a code revoked before": (
        "not as registered",
        FIRST,
        sql(
            "INSERT INTO ballot.revocations SELECT ballot, credential_digest, accepted_us, 99, 0"
            " FROM ballot.votes @vote"
        ),
    ),
    "a voter invented": (
        "not in the electorate",
        f"UIN {'EE' * 16}",
        sql("INSERT INTO ballot.electorate VALUES ($1, decode(repeat('ee', 16), 'hex'))"),
    ),
    "a vote counted by post as well": (
        "doubled",
        FIRST,
        sql(
            "INSERT INTO ballot.returns SELECT ballot, uin, 'postal', 1, 1, true, 0, '9-9'"
            " FROM ballot.votes @vote"
        ),
    ),
    "a vote quarantined as well": (
        "doubled",
        FIRST,
        sql(
            "INSERT INTO ballot.quarantine SELECT ballot, shard, entry, 'bad_signature', reference, uin,"
            " credential_digest, accepted_us, '' FROM ballot.votes @vote"
        ),
    ),
}


@pytest.mark.parametrize("what", TAMPERINGS, ids=lambda what: what.replace(" ", "-"))
async def test_tampering_is_named(small: SmallBallot, what: str) -> None:
    """Each is named by reference, or by what else identifies it, and the exit is not 0."""
    kind, where, tamper = TAMPERINGS[what]
    if callable(where):
        where = where(small)
    async with small.restored():
        async with small.owner() as owner, small.queue() as queue:
            await tamper(small, owner, queue)

        status, report = examined(small)

    assert status == 1
    assert report["differences"] > 0
    assert (kind, small.receipts[0].reference if where is FIRST else where) in named(report)


async def test_swapped_votes_are_both_named(small: SmallBallot) -> None:
    """Two voters' sealed votes exchanged, with all that goes with them: neither is what its voter cast."""
    first, second = small.receipts[0].reference, small.receipts[1].reference
    swap = """
        UPDATE ballot.votes v SET credential = o.credential, nonce = o.nonce, sealed = o.sealed,
               signature = o.signature, sealed_sha256 = o.sealed_sha256
          FROM ballot.votes o
         WHERE v.ballot = $1 AND o.ballot = $1
           AND ((v.reference = $2 AND o.reference = $3) OR (v.reference = $3 AND o.reference = $2))"""
    async with small.restored():
        async with small.owner() as owner:
            await owner.execute(swap, small.id, first, second)

        status, report = examined(small, signatures=True)

    assert status == 1
    assert {("altered", first), ("altered", second)} <= named(report)
    assert {("signature does not verify", first), ("signature does not verify", second)} <= named(report)


async def test_a_vote_stored_twice_is_named(small: SmallBallot) -> None:
    """Without the database's constraints a double would get in; the checker does not rely on them."""
    reference = small.receipts[0].reference
    async with without_keys(small.stack), small.restored():
        async with small.owner() as owner:
            await owner.execute(
                "INSERT INTO ballot.votes SELECT * FROM ballot.votes WHERE ballot = $1 AND reference = $2",
                small.id,
                reference,
            )

        status, report = examined(small)

    assert status == 1
    assert ("doubled", reference) in named(report)
    assert report["books_differences"]["accepted"] == -1


async def test_a_code_missing_at_the_gate_is_named(small: SmallBallot) -> None:
    """A voter who would be turned away shows before they complain."""
    async with small.restored():
        async with small.owner() as owner, small.queue() as queue:
            await forget_a_credential(small, owner, queue)

        status, report = examined(small)

    assert status == 1
    assert report["counts"]["not as registered"] == 1


async def test_a_changed_register_does_not_have_the_signed_root(small: SmallBallot) -> None:
    """A database administrator who adds or changes a code is found by the desk's signed roots."""
    async with small.restored():
        async with small.owner() as owner:
            await owner.execute(
                "UPDATE ballot.register SET issued_us = issued_us + 1 WHERE ballot = $1 AND position = 3",
                small.id,
            )

        status, report = examined(small, signatures=True)

    assert status == 1
    assert named(report) == {("register roots do not verify", "batch 1")}


async def test_an_invented_voter_is_not_in_the_signed_electorate(small: SmallBallot) -> None:
    """A voter added, or one put in the place of another, shows against what the desk signed at `open`."""
    added = "INSERT INTO ballot.electorate VALUES ($1, decode(repeat('ee', 16), 'hex'))"
    async with small.restored():
        async with small.owner() as owner:
            await owner.execute(added, small.id)
        _, more = examined(small, signatures=True)
        async with small.owner() as owner:
            await owner.execute("SET session_replication_role = replica")
            await owner.execute(
                "DELETE FROM ballot.electorate WHERE ballot = $1 AND uin IN"
                " (SELECT e.uin FROM ballot.electorate e LEFT JOIN ballot.votes v USING (ballot, uin)"
                " WHERE ballot = $1 AND v.uin IS NULL ORDER BY e.uin LIMIT 1)",
                small.id,
            )
        _, others = examined(small, signatures=True)

    said = [
        [found["what"] for found in report["findings"] if found["kind"] == "electorate is not the signed one"]
        for report in (more, others)
    ]
    assert said == [
        [f"the desk signed an electorate of {VOTERS} voters; the voter database has {VOTERS + 1}"],
        [f"the electorate has {VOTERS} voters as the desk signed, but not the same ones"],
    ]


async def test_a_changed_document_does_not_verify(small: SmallBallot) -> None:
    """One byte of the ballot document on record altered: named, because the export would carry it."""
    async with small.restored():
        async with small.owner() as owner:
            await owner.execute(
                "UPDATE ballot.lifecycle SET document = set_byte(document, 40, get_byte(document, 40) # 1)"
                " WHERE ballot = $1 AND kind = 'armed'",
                small.id,
            )

        status, report = examined(small, signatures=True)

    assert status == 1
    assert named(report) == {("ballot document does not verify", small.id)}


async def test_a_quarantined_vote_by_an_unissued_code_leaves_the_issued_book_alone(
    small: SmallBallot,
) -> None:
    """A credential that was never issued is named; no code is missing for it."""
    async with small.restored():
        async with small.owner() as owner, small.queue() as queue:
            await slip_in_a_credential(small, owner, queue)
            await owner.execute(
                "INSERT INTO ballot.quarantine VALUES ($1, 0, '9-9', 'not_in_register', $2, $3, $4, 1, '')",
                small.id,
                "ZZZZ-0000-0000-0000",
                bytes(16),
                bytes(32),
            )

        _, report = examined(small)

    assert ("not as registered", f"credential {'00' * 16}") in named(report)
    assert report["books_differences"]["issued"] == 0
    assert report["books"]["used"] == CAST


async def test_a_quarantined_return_is_no_vote(small: SmallBallot) -> None:
    """The gate never counted it as an accepted vote, so it is in no book of votes."""
    async with small.restored():
        async with small.owner() as owner:
            await owner.execute(
                "INSERT INTO ballot.quarantine"
                " VALUES ($1, 0, '9-9', 'not_in_register', NULL, $2, NULL, 1, '')",
                small.id,
                bytes(16),
            )

        status, report = examined(small)

    assert (status, report["findings"]) == (0, [])
    assert (report["books"]["quarantined"], report["books_differences"]["accepted"]) == (0, 0)


def test_receipts_are_not_judged_without_the_key(small: SmallBallot, tmp_path: Path) -> None:
    """A missing or damaged key file is named; any receipt would pass as genuine without it."""
    receipts, key = small.write_receipts(tmp_path / "r"), small.stack.home.public / "receipts.json"
    kept = key.read_bytes()
    try:
        key.unlink()
        missing = run(small.stack, "check", small.id, "--receipts", receipts, check=False)
        key.write_bytes(kept[: len(kept) // 2])
        damaged = run(small.stack, "check", small.id, "--receipts", receipts, check=False)
    finally:
        key.write_bytes(kept)

    assert (missing.returncode, damaged.returncode) == (1, 1)
    assert missing.stderr == (
        f"ballot: {key} is missing: without it no receipt can be told from a forged one\n"
    )
    assert damaged.stderr == f"ballot: {key} is damaged: it is not a public key as it was published\n"


def test_a_receipt_without_its_vote_is_lost(small: SmallBallot, tmp_path: Path) -> None:
    """A genuine receipt for a vote that is nowhere is named; a compromised edge signs such."""
    leaf = receipt.Leaf(small.id, "ABCD-EFGH-JKMN-PQRS", small.receipts[0].accepted_us, bytes(32))
    [signed] = receipt.issue([leaf], SigningKey.from_seed(small.stack.home.secret("receipts")))

    status, report = examined(small, receipts=small.write_receipts(tmp_path / "r", signed.to_dict()))

    assert (status, named(report)) == (1, {("lost", "ABCD-EFGH-JKMN-PQRS")})


def test_a_forged_receipt_is_named_and_not_believed(small: SmallBallot, tmp_path: Path) -> None:
    """A changed receipt shows as not genuine, and as nothing else."""
    forged = small.receipts[0].to_dict() | {"reference": "ABCD-EFGH-JKMN-PQRS"}

    status, report = examined(small, receipts=small.write_receipts(tmp_path / "r", forged))

    assert (status, named(report)) == (1, {("receipt not genuine", "ABCD-EFGH-JKMN-PQRS")})


def test_a_vote_without_receipt_is_a_note_and_no_failure(small: SmallBallot, tmp_path: Path) -> None:
    """Whose reply was lost on the way has voted all the same."""
    path = small.write_receipts(tmp_path / "r")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))

    status, report = examined(small, receipts=path)

    assert status == 0
    notes = [note["where"] for note in report["notes"]["unconfirmed attempts"]]
    assert notes == [small.receipts[0].reference]


async def test_returns_by_post_are_in_the_books(stack: Stack, tmp_path: Path) -> None:
    """An abstainer's postal return counts, a voter's does not, and the books balance all along."""
    posted = await asyncio.to_thread(build, stack, tmp_path)
    returns = tmp_path / "returns.csv"
    received = [f"{member},2025-07-01T09:00:00Z\n" for member in (posted.members[0], posted.members[-1])]
    returns.write_text("member_id,received_at\n" + "".join(received))
    run(stack, "returns", posted.id, returns, "--method", "postal")
    waiting, _ = examined(posted)

    run(stack, "close", posted.id)
    status, report = examined(posted, signatures=True)

    assert waiting == 0
    assert (status, report["findings"]) == (0, [])
    assert (report["books"]["voted_electronic"], report["books"]["returned_other"]) == (CAST, 1)
    assert report["states"] == ["closed"]

    changes = {"counted = false": "lost", "method = 'workplace'": "lost", "received_us = 1": "altered"}
    for change, kind in changes.items():
        async with posted.restored():
            async with posted.owner() as owner:
                await owner.execute(
                    f"UPDATE ballot.returns SET {change} WHERE ballot = $1 AND counted",  # noqa: S608  # above
                    posted.id,
                )
            changed, found = examined(posted)

        assert changed == 1
        assert found["counts"][kind] >= 1


async def test_a_released_voter_is_in_the_books(stack: Stack, tmp_path: Path) -> None:
    """Quarantined, released by the desk, code replaced: still nothing is missing and nothing is too many."""
    burnt = await asyncio.to_thread(build, stack, tmp_path)
    quarantine = TAMPERINGS["a vote quarantined as well"][2]
    async with burnt.owner() as owner, burnt.queue() as queue:
        await quarantine(burnt, owner, queue)
        number = await owner.fetchval(
            "SELECT number FROM ballot.votes WHERE ballot = $1 AND reference = $2",
            burnt.id,
            burnt.receipts[0].reference,
        )
        record = {"k": b64encode(b"v"), "n": b64encode(str(number).encode())}  # as a worker keeps it
        await owner.execute(
            "UPDATE ballot.quarantine SET record = $2 WHERE ballot = $1",
            burnt.id,
            json.dumps(record).encode(),
        )
        await owner.execute(
            "DELETE FROM ballot.ip_records i USING ballot.votes v WHERE i.event = v.event"
            " AND v.ballot = $1 AND v.reference = $2",
            burnt.id,
            burnt.receipts[0].reference,
        )
        await sql("DELETE FROM ballot.votes @vote")(burnt, owner, queue)
        await owner.execute(
            "UPDATE ballot.turnout SET votes = votes - 1 WHERE ballot = $1 AND side = 'stored'"
            " AND minute_us = (SELECT min(minute_us) FROM ballot.turnout WHERE ballot = $1)",
            burnt.id,
        )
        await queue.hset(burnt.keys[3], gate_layout.reference_field(burnt.receipts[0].reference), "h")
    held, before = examined(burnt, signatures=True)

    run(stack, "codes", "reissue", burnt.id, burnt.members[0], "--out", tmp_path / "again.csv")
    status, report = examined(burnt, signatures=True)

    assert (held, before["findings"]) == (0, [])
    assert (status, report["findings"]) == (0, [])
    books = report["books"]
    assert (books["quarantined"], books["released"], books["voted_electronic"]) == (1, 1, CAST - 1)
    assert (books["issued"], books["used"], books["revoked"]) == (VOTERS + 1, CAST - 1, 1)


async def test_a_ballot_by_post_alone_has_no_codes_and_no_electronic_vote(
    stack: Stack, ballot_id: str, tmp_path: Path
) -> None:
    """Voters without codes are as they should be there; an electronic vote that gets in is named."""
    definition, roll, returns = tmp_path / "ballot.toml", tmp_path / "roll.csv", tmp_path / "returns.csv"
    definition.write_text(
        DEFINITION.format(id=ballot_id)
        .replace("industrial-action", "recognition")
        .replace('["electronic", "postal"]', '["postal"]')
    )
    roll.write_text("member_id,name,email,mobile,address\nm1,One,,,1 The Street\nm2,Two,,,2 The Street\n")
    returns.write_text("member_id,received_at\nm1,2025-07-01T09:00:00Z\n")
    run(stack, "create", definition)
    run(stack, "keys", "create", ballot_id, "--threshold", "1", "--shares", "1", "--out", tmp_path / "shares")
    run(stack, "roll", "import", ballot_id, roll)
    run(stack, "open", ballot_id)
    run(stack, "returns", ballot_id, returns, "--method", "postal")
    posted = SmallBallot(ballot_id, stack, [], [], [])

    status, report = examined(posted, signatures=True)
    async with posted.owner() as owner, posted.queue() as queue:
        marks = await queue.hgetall(posted.keys[2])
        abstainer = await owner.fetchval(
            "SELECT uin FROM ballot.electorate WHERE ballot = $1 AND uin <> ALL ($2)", ballot_id, list(marks)
        )
        mark = gate_layout.Mark("e", 1751360400000000, bytes(16), "0000-0000-0000-0000")
        await queue.hset(posted.keys[2], abstainer, mark.to_value())
    _, slipped_in = examined(posted)

    assert (status, report["findings"]) == (0, [])
    assert "an electronic vote; this ballot takes none" in {each["what"] for each in slipped_in["findings"]}
