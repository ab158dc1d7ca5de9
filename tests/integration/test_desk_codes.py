"""Codes: one working code a voter whatever dies in between, and none that outlives its replacement."""

import base64
import csv
import io
import json
import stat
from pathlib import Path

import click
import pytest
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from ballot import handoff
from ballot.encoding import b64encode
from runtime import postgres
from scrutineer import codes
from scrutineer.gate import Gate
from scrutineer.roots import RootJournal
from scrutineer.session import LOCK_CLASS
from tests.conftest import RunBallot, Stack
from tests.integration import deskwork
from tests.integration.deskwork import with_roll

VOTERS = deskwork.ROLL
SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


class Crash(Exception):  # noqa: N818  # it stands for kill -9
    """The process died here."""


def crash_at(name: str) -> object:
    """A step that dies at the named one."""

    def step(at: str) -> None:
        if at == name:
            raise Crash

    return step


@pytest.mark.parametrize(
    "at",
    [
        pytest.param("file", marks=pytest.mark.long),
        pytest.param("signed", marks=pytest.mark.long),
        "register",
        pytest.param("dispatches", marks=pytest.mark.long),
        "gate",
    ],
)
async def test_an_issue_that_died_anywhere_leaves_each_voter_one_working_code(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot_id: str, at: str
) -> None:
    """After a rerun each voter has exactly one code that works, in exactly one file."""
    with_roll(run_ballot, tmp_path, ballot_id, shards=4)
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    step = crash_at(at)
    assert callable(step)
    with pytest.raises(Crash):
        await deskwork.with_desk(stack, lambda desk: codes.issue_all(desk, ballot_id, first, step=step))

    await deskwork.with_desk(stack, lambda desk: codes.issue_all(desk, ballot_id, second))
    run_ballot("open", ballot_id)

    working: dict[str, int] = {}
    for path in (first, second):
        for member, row in deskwork.read_codes(path).items() if path.exists() else ():
            outcome = await deskwork.cast(
                stack, ballot_id, deskwork.seal(stack, ballot_id, row["code"], "yes"), shards=4
            )
            working[member] = working.get(member, 0) + (outcome == "accepted")
    assert working == {f"M-{number:05d}": 1 for number in range(VOTERS)}
    told = json.loads(run_ballot("status", ballot_id, "--json").stdout)
    assert (told["books"]["accepted"], told["differences"]["issued"]) == (VOTERS, 0)
    async with deskwork.desk_of(stack) as desk:
        sent = await desk.people.fetchval(
            "SELECT count(*) FROM people.dispatches WHERE ballot = $1", ballot_id
        )
    assert sent == VOTERS


def test_the_dispatch_file_is_complete_private_and_never_overwritten(
    run_ballot: RunBallot, tmp_path: Path, ballot_id: str
) -> None:
    """One row a voter with a link, mode 0600.

    A second issue writes nothing and an existing file is refused.
    """
    out = deskwork.prepare(run_ballot, tmp_path, ballot_id, voters=VOTERS)

    rows = deskwork.read_codes(out)
    assert len(rows) == VOTERS
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    for number, member in enumerate(sorted(rows)):
        row = rows[member]
        assert row["channel"] == ("email", "sms", "post")[number % 3]
        assert row["link"].endswith(f"/b/{ballot_id}#{row['code']}")
    assert rows["M-00002"]["destination"] == "2 Planted Street\nPlantedtown"
    before = out.read_bytes()
    told = run_ballot("codes", "issue", ballot_id, "--out", out).stdout
    assert "no file is written" in told
    assert str(out) in told
    refused = run_ballot("codes", "reissue", ballot_id, "M-00001", "--out", out, check=False)
    assert refused.returncode == 1
    assert out.read_bytes() == before


async def test_a_reissued_code_replaces_the_old_one_at_once(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot_id: str
) -> None:
    """The old code is refused from the moment of reissue; the new one, in the same shard, works once."""
    old = deskwork.read_codes(deskwork.prepare(run_ballot, tmp_path, ballot_id, voters=VOTERS, shards=8))
    run_ballot("open", ballot_id)
    out = tmp_path / "new.csv"

    run_ballot("codes", "reissue", ballot_id, "M-00001", "M-00002", "--out", out)

    new = deskwork.read_codes(out)
    assert sorted(new) == ["M-00001", "M-00002"]
    for member, row in new.items():
        dead = deskwork.seal(stack, ballot_id, old[member]["code"], "yes")
        live = deskwork.seal(stack, ballot_id, row["code"], "yes")
        assert await deskwork.cast(stack, ballot_id, dead, shards=8) == "not_accepted"
        assert await deskwork.cast(stack, ballot_id, live, shards=8) == "accepted"
        assert await deskwork.cast(stack, ballot_id, dead, shards=8) == "not_accepted"
    refused = run_ballot("codes", "reissue", ballot_id, "M-00001", "--out", tmp_path / "no.csv", check=False)
    assert "have voted" in refused.stderr
    assert not (tmp_path / "no.csv").exists()
    books = json.loads(run_ballot("status", ballot_id, "--json").stdout)
    assert (books["books"]["revoked"], books["books"]["unused"], books["balanced"]) == (2, VOTERS - 2, True)


def test_a_dispatch_file_can_be_sealed_to_the_dispatch_house(
    run_ballot: RunBallot, tmp_path: Path, ballot_id: str
) -> None:
    """With --to only the dispatch house's private key reads the file; a wrong key file is refused."""
    with_roll(run_ballot, tmp_path, ballot_id, shards=1)
    mlkem, x25519 = MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()
    public = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
    house = hpke.MLKEM768X25519PrivateKey(mlkem, x25519)
    key_file, out = tmp_path / "house.key", tmp_path / "codes.sealed"
    key_file.write_text("not a key")
    wrong = run_ballot("codes", "issue", ballot_id, "--to", key_file, "--out", out, check=False)
    assert "does not hold a public key" in wrong.stderr
    key_file.write_text(b64encode(public) + "\n")

    run_ballot("codes", "issue", ballot_id, "--to", key_file, "--out", out)

    sealed = out.read_bytes()
    assert b"M-00000" not in sealed
    opened = SUITE.decrypt(sealed, house, info=f"strike-ballot/v1/dispatch/{ballot_id}".encode())
    assert len(list(csv.DictReader(io.StringIO(opened.decode(), newline="")))) == VOTERS
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


def test_the_desk_is_told_the_fingerprint_for_the_letter(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot_id: str
) -> None:
    """Whoever issues codes learns the fingerprint that voters compare: the pinned desk key's, in fours."""
    with_roll(run_ballot, tmp_path, ballot_id)

    told = run_ballot("codes", "issue", ballot_id, "--out", tmp_path / "codes.csv").stdout

    key_id = json.loads(stack.home.public_key_file.read_bytes())["id"]
    assert codes.grouped(key_id).replace(" ", "") == key_id
    assert f"key fingerprint {codes.grouped(key_id)}," in told


def test_reissue_to_somebody_unknown_changes_nothing(
    run_ballot: RunBallot, tmp_path: Path, ballot_id: str
) -> None:
    """One unknown member refuses all, by name, and the others' codes stay good."""
    deskwork.prepare(run_ballot, tmp_path, ballot_id, voters=3)
    listed = tmp_path / "members.txt"
    listed.write_text("member_id\nM-00000\nnobody\n")

    done = run_ballot(
        "codes", "reissue", ballot_id, "--members", listed, "--out", tmp_path / "o.csv", check=False
    )

    assert done.returncode == 1
    assert "not on the roll: nobody" in done.stderr
    assert json.loads(run_ballot("status", ballot_id, "--json").stdout)["books"]["revoked"] == 0


@pytest.mark.parametrize(
    "at",
    [
        "revoked",
        pytest.param("revocations", marks=pytest.mark.long),
        pytest.param("released", marks=pytest.mark.long),
        pytest.param("file", marks=pytest.mark.long),
        pytest.param("register", marks=pytest.mark.long),
        "gate",
    ],
)
async def test_a_reissue_that_died_anywhere_is_finished_by_the_next(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot_id: str, at: str
) -> None:
    """The old code never comes back to life, and after the rerun the newest code is the one that works."""
    old = deskwork.read_codes(deskwork.prepare(run_ballot, tmp_path, ballot_id, voters=3, shards=2))
    run_ballot("open", ballot_id)
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    step = crash_at(at)
    assert callable(step)
    with pytest.raises(Crash):
        await deskwork.with_desk(
            stack, lambda desk: codes.reissue_some(desk, ballot_id, ["M-00000"], first, step=step)
        )
    dead = deskwork.seal(stack, ballot_id, old["M-00000"]["code"], "no")
    assert await deskwork.cast(stack, ballot_id, dead, shards=2) == "not_accepted"

    await deskwork.with_desk(stack, lambda desk: codes.reissue_some(desk, ballot_id, ["M-00000"], second))

    if first.exists():
        stale = deskwork.seal(stack, ballot_id, deskwork.read_codes(first)["M-00000"]["code"], "no")
        assert await deskwork.cast(stack, ballot_id, stale, shards=2) == "not_accepted"
    live = deskwork.seal(stack, ballot_id, deskwork.read_codes(second)["M-00000"]["code"], "yes")
    assert await deskwork.cast(stack, ballot_id, live, shards=2) == "accepted"
    told = json.loads(run_ballot("status", ballot_id, "--json").stdout)
    assert told["balanced"], told["differences"]


async def test_a_vote_cast_while_its_code_is_replaced_stands(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vote came in between the look and the revocation: it counts, and its voter gets no second code."""
    old = deskwork.read_codes(deskwork.prepare(run_ballot, tmp_path, ballot_id, voters=3))
    run_ballot("open", ballot_id)
    out = tmp_path / "new.csv"
    vote = deskwork.seal(stack, ballot_id, old["M-00000"]["code"], "yes")

    revoke = Gate.revoke

    async def vote_then_revoke(gate: Gate, shard: int, digests: list[bytes]) -> int:
        assert await deskwork.cast(stack, ballot_id, vote) == "accepted"
        return await revoke(gate, shard, digests)

    monkeypatch.setattr(Gate, "revoke", vote_then_revoke)
    done = await deskwork.with_desk(stack, lambda desk: codes.reissue_some(desk, ballot_id, ["M-00000"], out))

    assert (done.codes, done.voted_meanwhile) == (0, ["M-00000"])
    told = json.loads(run_ballot("status", ballot_id, "--json").stdout)
    assert told["balanced"], told["differences"]


async def test_two_desks_cannot_change_one_ballot_at_once(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot_id: str
) -> None:
    """The second of two commands is refused at once and nothing of it is done."""
    with_roll(run_ballot, tmp_path, ballot_id, shards=1)

    async with deskwork.desk_of(stack) as desk:
        await desk.votes.execute(
            "SELECT pg_advisory_lock($1, hashtext($2))", LOCK_CLASS, f"{ballot_id}/voters and codes"
        )
        with pytest.raises(click.ClickException, match="another desk command"):
            await deskwork.with_desk(
                stack, lambda other: codes.issue_all(other, ballot_id, tmp_path / "c.csv")
            )

    assert not (tmp_path / "c.csv").exists()


async def test_the_desk_keeps_its_own_signed_roots(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot_id: str
) -> None:
    """Each batch's root in the desk's own files equals the one in the register, also after a reissue."""
    deskwork.prepare(run_ballot, tmp_path, ballot_id, voters=3)
    run_ballot("codes", "reissue", ballot_id, "M-00001", "--out", tmp_path / "new.csv")

    journal = RootJournal(stack.home, ballot_id)
    async with deskwork.desk_of(stack) as desk:
        rows = await desk.votes.fetch(
            "SELECT batch, kind, root, signature FROM ballot.register_roots WHERE ballot = $1 ORDER BY batch",
            ballot_id,
        )

    assert [(row["batch"], row["kind"], row["root"], row["signature"]) for row in rows] == [
        (root.batch, root.kind, root.root, root.signature) for root in journal.live()
    ]
    assert [root.kind for root in journal.live()] == ["issue", "revoke", "issue"]
    assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600


async def test_nothing_planted_is_readable_in_either_cluster_or_the_gate(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot_id: str
) -> None:
    """No name, email, phone, address, member id or code stands in any table, log or key."""
    rows = deskwork.read_codes(deskwork.prepare(run_ballot, tmp_path, ballot_id, voters=6))
    planted = ["Plantedname", "planted-mail", "9000", "Planted Street", "M-0000"]
    planted += [row["code"] for row in rows.values()] + [
        row["code"].replace("-", "") for row in rows.values()
    ]
    needles: set[bytes] = set()
    for text in planted:
        raw = text.encode()
        needles |= {raw, raw.hex().encode()}
        needles.add(base64.b64encode(raw)[: len(raw) * 4 // 3 - 3]) if len(raw) > 6 else None

    dumps = [await dump(stack, "voterdb", ballot_id), await dump(stack, "userdb", ballot_id)]
    async with deskwork.desk_of(stack) as desk:
        _, credentials, *_ = handoff.shard_keys(ballot_id, 0)
        dumps.append(repr(await desk.gate.hgetall(credentials)).encode())
    dumps += [path.read_bytes() for path in stack.home.logs.rglob("*") if path.is_file()]

    assert all(len(found) > 0 for found in dumps[:3])
    # "9000" is short enough to meet in hex by chance; a phone number is looked for with its neighbours.
    needles = {needle for needle in needles if len(needle) > 4} | {b"7700 9000", b"77009000"}
    assert not [needle for needle in needles for found in dumps if needle in found]


async def dump(stack: Stack, cluster: str, ballot: str) -> bytes:
    """Every row of this ballot in every table of a cluster, as its owner sees it."""
    assert cluster in {"voterdb", "userdb"}
    connection = await postgres.connect(
        stack.servers, "voterdb" if cluster == "voterdb" else "userdb", "ballot_owner"
    )
    try:
        tables = await connection.fetch(
            """SELECT table_schema || '.' || table_name AS name FROM information_schema.columns
                WHERE column_name = 'ballot' AND table_schema IN ('ballot', 'people')"""
        )
        found = []
        for table in tables:
            rows = await connection.fetch(f"SELECT t::text FROM {table['name']} t WHERE ballot = $1", ballot)  # noqa: S608  # names from the catalogue
            found += [row[0].encode() for row in rows]
        return b"\n".join(found)
    finally:
        await connection.close()
