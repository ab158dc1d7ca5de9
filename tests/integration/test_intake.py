"""Votes through real edges to a real queue: what each voter is told, and what is left behind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
import pytest

from ballot import gate_layout, handoff, queue_record, receipt
from ballot.suite import AeadKey, SigningKey
from tests.integration.intake_rig import HOUR_US, Booth, EdgeProcess, booth, edge, now_us, sha256, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ballot.vote import CastVote
    from tests.conftest import Stack

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def edges(stack: Stack) -> Iterator[EdgeProcess]:
    """Two edge processes on one port for all tests here."""
    with edge(stack.env, processes=2) as running:
        yield running


@pytest.fixture
async def web(edges: EdgeProcess) -> AsyncIterator[aiohttp.ClientSession]:
    """A client that opens a connection a request, so that both processes get some; the edges are ready."""
    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    async with aiohttp.ClientSession(edges.url, connector=connector) as session:
        yield session


@pytest.fixture
async def poll(stack: Stack, ballot_id: str, web: aiohttp.ClientSession) -> AsyncIterator[Booth]:
    """An open, published ballot that the edges serve."""
    async with booth(stack.servers, ballot_id) as found:
        await found.arm()
        await found.publish()
        await until(lambda: served(web, found))
        yield found


async def served(web: aiohttp.ClientSession, poll: Booth) -> bool:
    """Say whether the edges are ready and know the ballot."""
    async with web.get("/readyz") as ready, web.get(poll.path("document")) as document:
        return ready.status == 200 and document.status == 200


Answer = tuple[int, dict[str, Any], bytes]


async def cast(web: aiohttp.ClientSession, poll: Booth, vote: CastVote) -> Answer:
    """Submit a vote: status, body, and the body's bytes."""
    return await post(web, poll.path("votes"), vote.to_json())


async def post(web: aiohttp.ClientSession, path: str, body: bytes, headers: dict[str, str] = JSON) -> Answer:
    """Post a body: status, answer, and the answer's bytes."""
    async with web.post(path, data=body, headers=headers) as response:
        data = await response.read()
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.content_type == "application/json"
        return response.status, orjson.loads(data), data


async def test_a_vote_gets_a_receipt_that_verifies(
    stack: Stack, web: aiohttp.ClientSession, poll: Booth
) -> None:
    """201, a receipt by the published key over the voter's digest, and a record that a worker can open."""
    (voter,) = await poll.issue()
    vote = voter.vote(poll.document)

    status, body, _ = await cast(web, poll, vote)

    assert status == 201
    found = receipt.Receipt.from_dict(body)
    async with web.get("/api/v1/keys") as response:
        keys = {key["use"]: key for key in (await response.json())["keys"]}
    receipts_key = SigningKey.from_seed(stack.home.secret("receipts")).public
    assert keys["receipts"]["id"] == found.key_id
    receipt.verify(found, receipts_key)
    assert found.sealed_sha256 == sha256(vote.sealed)
    (entry,) = await poll.stored()
    record = queue_record.unwrap(
        AeadKey(stack.home.secret("queue")),
        entry[handoff.RECORD_FIELD],
        ballot_id=poll.id,
        credential_digest=voter.digest,
        reference=found.reference,
    )
    assert (record.sealed, record.nonce, record.signature) == (vote.sealed, vote.nonce, vote.signature)
    assert (record.credential, record.ip) == (voter.key.public, "127.0.0.1")
    async with web.get(poll.path(f"receipts/{found.reference.replace('-', '').lower()}")) as response:
        assert (response.status, await response.json()) == (200, {"state": "accepted"})


async def test_the_same_vote_again_gets_the_same_reference_also_after_close(
    web: aiohttp.ClientSession, poll: Booth
) -> None:
    """A retry gets 200 with the first's reference, time and digest: open or closed, code revoked or not."""
    (voter,) = await poll.issue()
    vote = voter.vote(poll.document)

    _, first, _ = await cast(web, poll, vote)
    retries = [await cast(web, poll, vote)]
    await poll.call("ballot_revoke", voter.digest)
    retries.append(await cast(web, poll, vote))
    await poll.call("ballot_set_closes", now_us() + 50_000)
    await until(lambda: state_is(web, poll, "closed"))
    retries.append(await cast(web, poll, vote))

    for status, body, _ in retries:
        assert status == 200
        assert [body[name] for name in ("reference", "accepted_at", "sealed_sha256")] == [
            first[name] for name in ("reference", "accepted_at", "sealed_sha256")
        ]
    status, body, _ = await cast(web, poll, voter.vote(poll.document))
    assert (status, body["error"], body["retry"]) == (409, "not_open", False)
    assert {"opens", "closes"} <= body.keys()


async def state_is(web: aiohttp.ClientSession, poll: Booth, state: str) -> bool:
    """Say whether the edges show the ballot in this state."""
    async with web.get(f"/api/v1/ballots/{poll.id}") as response:
        return bool((await response.json())["state"] == state)


async def test_of_two_hundred_simultaneous_votes_with_one_code_one_counts(
    web: aiohttp.ClientSession, poll: Booth
) -> None:
    """Over two edge processes exactly one distinct vote is accepted, and every loser is told the truth."""
    (voter,) = await poll.issue()
    votes = [voter.vote(poll.document, "yes" if index % 2 else "no") for index in range(200)]

    answers = await asyncio.gather(*(cast(web, poll, vote) for vote in votes))

    assert sorted({status for status, _, _ in answers}) == [201, 403]
    assert sum(status == 201 for status, _, _ in answers) == 1
    assert len(await poll.stored()) == 1
    assert len(await poll.attempts()) == 199
    winner = next(vote for vote, answer in zip(votes, answers, strict=True) if answer[0] == 201)
    assert (await cast(web, poll, winner))[0] == 200


async def test_many_voters_at_once_share_signatures_and_get_their_own_receipts(
    stack: Stack, web: aiohttp.ClientSession, ballot_id: str
) -> None:
    """Batched receipts on several shards each verify and each name the voter's own vote."""
    async with booth(stack.servers, ballot_id, shards=4) as poll:
        await poll.arm()
        await poll.publish()
        await until(lambda: served(web, poll))
        voters = await poll.issue(120)
        votes = [voter.vote(poll.document) for voter in voters]

        answers = await asyncio.gather(*(cast(web, poll, vote) for vote in votes))

        key = SigningKey.from_seed(stack.home.secret("receipts")).public
        for vote, (status, body, _) in zip(votes, answers, strict=True):
            assert status == 201
            found = receipt.Receipt.from_dict(body)
            receipt.verify(found, key)
            assert found.sealed_sha256 == vote.sealed_sha256
        stored = [len(await poll.stored(shard)) for shard in range(4)]
        assert sum(stored) == 120
        assert min(stored) > 0


async def test_refusals_tell_nobody_why(stack: Stack, web: aiohttp.ClientSession, poll: Booth) -> None:
    """Unknown, used, revoked, foreign credentials and postal voters get identical bytes, access included."""
    used, revoked, postal, unknown = await poll.issue(4)
    assert (await cast(web, poll, used.vote(poll.document)))[0] == 201
    await poll.call("ballot_revoke", revoked.digest)
    await poll.call("ballot_return", postal.uin, "postal", now_us())
    await poll.desk.hdel(handoff.credentials_key(poll.id, 0), gate_layout.credential_field(unknown.digest))
    async with booth(stack.servers, f"{poll.id}-b") as other:
        await other.arm()
        (foreign,) = await other.issue()

    voters = [used, revoked, postal, unknown, foreign]
    casts = [await cast(web, poll, voter.vote(poll.document)) for voter in voters]
    asked = [await post(web, poll.path("access"), access_body(voter.key.public)) for voter in voters]

    assert {(status, data) for status, _, data in casts} == {(403, casts[0][2])}
    assert {(status, data) for status, _, data in asked} == {(403, casts[0][2])}
    assert casts[0][1]["error"] == "not_accepted"
    assert "help@scrutineer.example" in casts[0][1]["message"]
    assert len(await poll.stored()) == 2
    outcomes = [entry[handoff.OUTCOME_FIELD] for entry in await poll.attempts()]
    assert outcomes == [b"used", b"revoked", b"already_voted"] * 2


def access_body(credential: bytes) -> bytes:
    """Return the body of an access request."""
    return orjson.dumps({"credential_sha256": sha256(credential).hex()})


async def test_access_answers_ready_and_uses_nothing_up(web: aiohttp.ClientSession, poll: Booth) -> None:
    """Asking changes nothing for the vote that follows; no answer's length depends on the choice."""
    yes, no = await poll.issue(2)

    asked = [await post(web, poll.path("access"), access_body(yes.key.public)) for _ in range(2)]
    lengths = {
        len((await cast(web, poll, voter.vote(poll.document, answer)))[2])
        for voter, answer in ((yes, "yes"), (no, "no"))
    }

    assert [body for _, body, _ in asked] == [{"state": "ready"}] * 2
    assert len(lengths) == 1


async def test_the_window_is_the_queue_s(stack: Stack, web: aiohttp.ClientSession, ballot_id: str) -> None:
    """Never armed is 404; before opens 409; each acceptance has opens <= accepted_at < closes."""
    async with booth(stack.servers, ballot_id) as poll:
        await poll.publish()
        (voter, late) = await poll.issue(2)
        vote = voter.vote(poll.document)
        await until(lambda: served(web, poll))
        assert (await cast(web, poll, vote))[0] == 404
        opens_us = now_us() + 400_000
        await poll.arm(opens_us=opens_us, closes_us=opens_us + HOUR_US)

        status, body, _ = await cast(web, poll, vote)
        assert (status, body["error"]) == (409, "not_open")
        accepted = await until(lambda: accepted_body(web, poll, vote))
        assert receipt.Receipt.from_dict(accepted).accepted_us >= opens_us

        await poll.call("ballot_set_closes", now_us() + 100_000)
        await until(lambda: state_is(web, poll, "closed"))
        assert (await cast(web, poll, late.vote(poll.document)))[0] == 409
        assert (await post(web, poll.path("access"), access_body(late.key.public)))[0] == 409


async def accepted_body(web: aiohttp.ClientSession, poll: Booth, vote: CastVote) -> dict[str, Any] | None:
    """Cast; the receipt if it was accepted."""
    status, body, _ = await cast(web, poll, vote)
    return body if status == 201 else None


async def test_a_document_the_desk_did_not_sign_is_not_served(
    stack: Stack, web: aiohttp.ClientSession, ballot_id: str
) -> None:
    """What was published without the pinned key's signature does not exist, whatever key the entry names."""
    async with booth(stack.servers, ballot_id) as poll, booth(stack.servers, f"{ballot_id}-ok") as good:
        await poll.arm()
        await good.arm()
        await poll.publish(signature=b"\x00" * 64)
        await good.publish()
        await until(lambda: served(web, good))

        async with web.get(f"/api/v1/ballots/{poll.id}") as response:
            assert response.status == 404


async def test_the_ballot_is_described_as_published(web: aiohttp.ClientSession, poll: Booth) -> None:
    """One flat object with the definition's texts, the keys and the signature; the document byte for byte."""
    async with web.get(f"/api/v1/ballots/{poll.id}") as response:
        about = await response.json()
    async with web.get(poll.path("document")) as response:
        assert await response.read() == poll.document.canonical

    assert about.keys() == {
        *("id", "title", "kind", "union", "employer", "scrutineer", "contact", "opens", "closes", "state"),
        *("questions", "definition_sha256", "padded_size", "suite", "public_key", "result_key"),
        *("document_signature", "desk_key_id"),
    }
    assert about["state"] == "open"
    assert about["definition_sha256"] == poll.document.definition.sha256.hex()


@pytest.mark.parametrize(("value", "state"), [("a", "accepted"), ("s", "stored"), ("h", "held")])
async def test_a_receipt_s_state_is_what_the_worker_says(
    web: aiohttp.ClientSession, poll: Booth, value: str, state: str
) -> None:
    """Accepted, stored, or held with whom to contact."""
    reference = "0123-4567-89AB-CDEF"
    await poll.desk.hset(handoff.references_key(poll.id, 0), gate_layout.reference_field(reference), value)

    async with web.get(poll.path(f"receipts/{reference}")) as response:
        body = await response.json()

    contact = {"contact": "help@scrutineer.example"} if state == "held" else {}
    assert (response.status, body) == (200, {"state": state, **contact})


async def test_metrics_add_up_over_the_processes(
    edges: EdgeProcess, web: aiohttp.ClientSession, poll: Booth
) -> None:
    """The metrics port shows the listed names, summed over both processes, without any ballot's name."""
    voters = await poll.issue(8)
    await asyncio.sleep(1.5)  # what earlier tests counted is shown by then
    before = await accepted_total(edges)

    await asyncio.gather(*(cast(web, poll, voter.vote(poll.document)) for voter in voters))

    async def counted() -> bool:
        return await accepted_total(edges) == before + 8

    await until(counted)
    async with aiohttp.ClientSession() as plain, plain.get(edges.metrics_url) as response:
        text = await response.text()
    for name in ("ack_seconds_bucket", "inflight", "batch_votes_bucket", "ready 2.0"):
        assert f"ballot_intake_{name}" in text
    assert poll.id not in text


async def accepted_total(edges: EdgeProcess) -> float:
    """Read how many votes were accepted off the metrics port."""
    async with aiohttp.ClientSession() as plain, plain.get(edges.metrics_url) as response:
        for line in (await response.text()).splitlines():
            if line.startswith('ballot_intake_votes_total{outcome="accepted"}'):
                return float(line.split()[-1])
    return 0.0
