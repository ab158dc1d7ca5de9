"""The workers' rules without any server: what an entry says, when the fuse blows, what counts as turnout."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from typing import TYPE_CHECKING

import pytest

from ballot.receipt import draw_reference
from ballot.suite import AeadKey, SigningKey
from ballot.vote import signed_message
from runtime.lifecycle import Retry
from workers.entry import order, parse, raw_record
from workers.fuse import OURS_MAX, WINDOW_ENTRIES, Fuse, FuseBlownError, share_is_fine
from workers.store import Mark
from workers.turnout import caught_up, counts
from workers.verification import SLICE_VOTES, Claim, Verifier, signed

if TYPE_CHECKING:
    from collections.abc import Iterator

REFERENCE = draw_reference(0, 1, random=secrets.token_bytes)
VOTE = {
    b"k": b"v",
    b"r": b"wrapped",
    b"d": bytes(32),
    b"ref": REFERENCE.encode(),
    b"t": b"1750000000000000",
    b"u": bytes(16),
    b"c": b"e",
}
RETURN = {
    b"k": b"r",
    b"u": bytes(16),
    b"m": b"postal",
    b"rt": b"1740000000000000",
    b"t": b"1750000000000000",
    b"won": b"1",
}


@pytest.mark.parametrize(
    ("number", "read"),
    [
        (b"1", 1),
        (b"9" * 15, 10**15 - 1),
        (b"9" * 16, None),
        (b"0", None),
        (b"-1", None),
        (b"1\xb2", None),
        (b"", None),
        (None, None),
    ],
)
def test_an_odd_number_costs_the_number_and_never_the_vote(number: bytes | None, read: int | None) -> None:
    """It is for the books: a vote whose number is missing or not one of the gate's is whole all the same."""
    entry = parse("1-0", VOTE | ({} if number is None else {b"n": number}))

    assert entry.whole
    assert entry.number == read


def test_an_entry_of_the_gate_is_whole() -> None:
    """A vote and a return as the gate writes them are read completely."""
    vote, returned = parse("1-0", VOTE), parse("2-0", RETURN)

    assert vote.whole
    assert (vote.kind, vote.reference, vote.channel) == ("vote", REFERENCE, "email")
    assert returned.whole
    assert (returned.kind, returned.counted, returned.received_us) == ("postal", True, 1740000000000000)
    assert not parse("3-0", RETURN | {b"won": b"0"}).counted


@pytest.mark.parametrize(
    "changed",
    [
        {b"k": b"x"},
        {b"r": b""},
        {b"d": bytes(31)},
        {b"ref": REFERENCE.lower().encode()},
        {b"ref": b"\xff"},
        {b"t": b"-1"},
        {b"t": b"9" * 17},
        {b"t": b"1\xb2"},
        {b"u": b""},
        {b"c": b"?"},
    ],
    ids=lambda changed: next(iter(changed)).decode(),
)
def test_an_odd_field_makes_the_entry_unreadable_not_fatal(changed: dict[bytes, bytes]) -> None:
    """Any field that is not as the gate writes it leaves the entry not whole, and the rest of it readable."""
    entry = parse("1-0", VOTE | changed)

    assert not entry.whole
    assert entry.kind == "vote"


def test_the_raw_record_keeps_every_byte() -> None:
    """What goes to quarantine holds each field of the entry, whatever its bytes are."""
    assert raw_record({b"k": b"v", b"\xff": b"\x00\xff"}) == b'{"k":"dg","\xc3\xbf":"AP8"}'


def test_entries_are_ordered_by_number() -> None:
    """Stream entries are compared as numbers, not as text."""
    assert order("9-1") < order("10-0") < order("10-2") < order("10-10")


def test_the_fuse_holds_at_ten_percent_and_blows_above() -> None:
    """Ten of a hundred are borne, one more is not, whether or not a hundred have come."""
    good = ["stored"] * (WINDOW_ENTRIES - OURS_MAX)

    Fuse().after(["unreadable"] * OURS_MAX)
    with pytest.raises(FuseBlownError):
        Fuse().after(["unreadable"] * (OURS_MAX + 1))
    Fuse().after([*good, *["not_in_register"] * OURS_MAX])
    with pytest.raises(FuseBlownError):
        Fuse().after([*good, *["unreadable"] * (OURS_MAX + 1)])


def test_the_fuse_looks_at_every_window_of_a_batch() -> None:
    """A bad stretch in the middle of a batch is not hidden by what follows, nor by a batch boundary."""
    good, bad = ["stored"] * WINDOW_ENTRIES, ["unreadable"] * (OURS_MAX + 1)

    with pytest.raises(FuseBlownError):
        Fuse().after([*good, *bad, *good])
    with pytest.raises(FuseBlownError):
        Fuse().after([*good, *bad[:6]]).after(bad[6:])


def test_hostile_reasons_never_blow_the_fuse() -> None:
    """Bad signatures and conflicts are what voters can cause: any number of them is borne."""
    Fuse().after(["bad_signature", "conflict"] * 1000)


def test_turnout_counts_what_the_gate_accepted() -> None:
    """Votes count when accepted, readable or not; returns when they won; by the gate's minute."""
    entries = [
        ("1-0", VOTE),
        ("2-0", VOTE | {b"r": b""}),
        ("3-0", RETURN),
        ("4-0", RETURN | {b"won": b"0"}),
        ("5-0", {b"k": b"r"}),
        ("6-0", VOTE | {b"t": b"1750000060000000"}),
    ]

    minute = 1750000000000000 - 1750000000000000 % 60_000_000
    assert counts(entries) == {
        (minute, "electronic"): 2,
        (minute, "postal"): 1,
        (minute + 60_000_000, "electronic"): 1,
    }


def test_caught_up_means_every_shard() -> None:
    """The turnout has come to the end only when it has in each shard."""
    marks = [Mark("b", 0, "turnout", "10-0", 1, 0), Mark("b", 1, "stored", "9-0", 1, 0)]

    assert caught_up(marks, {("b", 0): "9-5"})
    assert not caught_up(marks, {("b", 0): "9-5", ("b", 1): "1-0"})
    assert caught_up(marks, {("b", 1): "0-0"})


@pytest.fixture
def verifier() -> Iterator[Verifier]:
    """A pool of one process."""
    pool = Verifier(1)
    yield pool
    pool.close()


def claims(count: int) -> list[Claim]:
    """Good claims, every third with a spoilt signature, every seventh with a nonsensical credential."""
    key = SigningKey.from_seed(bytes(32))
    found = []
    for number in range(count):
        nonce = number.to_bytes(16, "big")
        digest = bytes.fromhex("6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d")
        signature = key.sign(signed_message("b", bytes(32), nonce, digest))
        spoilt = signature if number % 3 else bytes(64)
        found.append(Claim("b", bytes(32), key.public if number % 7 else b"?", nonce, b"\x00", spoilt))
    return found


async def test_signatures_are_judged_in_order(verifier: Verifier) -> None:
    """Each answer belongs to its claim, across the chunks that the children work on."""
    expected = [bool(number % 3 and number % 7) for number in range(300)]

    assert await verifier.signed(claims(300)) == expected


async def test_the_answers_are_the_same_without_children() -> None:
    """A worker that checks signatures itself judges as its children would, and others have their turn."""
    given, turns = claims(300), 0

    async def other() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    task = asyncio.create_task(other())
    here = await Verifier(0).signed(given)
    task.cancel()

    assert here == signed(given)
    assert turns >= 300 // SLICE_VOTES


async def test_a_dead_child_is_replaced(verifier: Verifier) -> None:
    """When a process that checks signatures is killed the batch is tried again, on a new one."""
    await verifier.signed(claims(1))
    assert verifier._pool is not None
    for child in list(verifier._pool._processes):
        os.kill(child, signal.SIGKILL)

    with pytest.raises(Retry):
        await verifier.signed(claims(1))
    assert await verifier.signed(claims(2)) == [False, True]


def test_a_record_under_another_key_is_told_from_a_damaged_one() -> None:
    """Foreign is what has the right form and names another key; damage under our own key is not."""
    ours, other = AeadKey(bytes(32)), AeadKey(bytes(31) + b"\x01")
    record = ours.seal(b"x", aad=b"", nonce=bytes(12))

    assert other.is_foreign(record)
    assert not ours.is_foreign(record)
    assert not ours.is_foreign(record[:-1] + b"\x00")
    assert not other.is_foreign(b"\x02" + record[1:])
    assert not other.is_foreign(record[:20])


def test_a_share_of_few_counts_as_a_share() -> None:
    """What waits after a fuse is judged by its share, however few there are."""
    assert share_is_fine(["stored"])
    assert share_is_fine(["stored"] * 9 + ["unreadable"])
    assert not share_is_fine(["stored"] * 8 + ["unreadable"])
    assert not share_is_fine(["not_in_register"])
