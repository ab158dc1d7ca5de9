"""Refusals tell nobody why, also not by how long they take: unknown, used, revoked, of another ballot.

A round asks once with a credential of each class, in random order, over one connection from one of many
loopback addresses, so that whatever else the machine does falls on all classes alike. Every credential is
used once. Then each two classes are told apart as well as one threshold on the time can: by the area under
the ROC curve (AUC), and, as one threshold is one point of that curve, by the area its best point alone spans.
Unknown credentials are asked with in two groups: if even these differ, or if they would not differ although
one took 20 microseconds longer, the machine's own noise decides, and there is no verdict: the long test is
then skipped, not passed, and says so in pytest's summary. `-rsP` shows that, and the verdict of a passed one.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import re
import socket
import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, Self
from urllib.parse import urlsplit

import orjson
import pytest

from ballot import sealing
from ballot.code import Code
from ballot.receipt import draw_reference
from ballot.suite import keyed_digest
from tests.integration.intake_rig import Booth, EdgeProcess, booth, edge, sha256, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from tests.conftest import Stack

pytestmark = pytest.mark.alone

CLASSES: Final = ("unknown", "used", "revoked", "foreign")
CONTROL: Final = "unknown too"
GROUPS: Final = (*CLASSES, CONTROL)
SEEN_NS: Final = 20_000
"""A difference that must be seen: an entry in a log takes about as long."""

SAME: Final = f"unknown / {CONTROL}"
LATER: Final = f"unknown / {CONTROL}, {SEEN_NS // 1_000} us later"
AUC_TOLERANCE: Final = 0.02
PAIRS_LONG: Final = 10_000
PAIRS_SHORT: Final = 100
ADDRESSES: Final = 200
"""So many that none is refused often enough to be slowed down: 50,000 / 200 is far below 1,000 a minute."""

ROWS_MAX: Final = 500
ANSWER_S: Final = 20.0

Resource = Literal["votes", "access"]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a client sees of one answer: everything but the time of day, and how long it took."""

    text: bytes
    took_ns: int


@pytest.fixture(scope="module")
def edge_process(stack: Stack) -> Iterator[EdgeProcess]:
    """One edge process: with more, which of them answers would only add noise to hide in."""
    with edge(stack.env) as running:
        yield running


@pytest.fixture
async def poll(stack: Stack, ballot_id: str, edge_process: EdgeProcess) -> AsyncIterator[Booth]:
    """An open, published ballot that the edge serves."""
    async with booth(stack.servers, ballot_id) as found:
        await found.arm()
        await found.publish()
        await until(lambda: served(edge_process, found))
        yield found


async def served(edge_process: EdgeProcess, poll: Booth) -> bool:
    """Say whether a refusal comes back: the edge is ready and knows the ballot."""
    with Voters(edge_process, ["127.0.0.1"]) as voters:
        seen = await asyncio.to_thread(
            voters.ask, 0, poll.path("access"), body_maker(poll, "access")(os.urandom(32))
        )
    return seen.text.startswith(b"HTTP/1.1 403 ")


class Voters:
    """One kept connection from each address; requests are made one at a time, by the plainest means."""

    def __init__(self, edge_process: EdgeProcess, addresses: Sequence[str]) -> None:
        parts = urlsplit(edge_process.url)
        self._server = (parts.hostname or "", parts.port or 0)
        self._addresses = addresses
        self._connections: list[socket.socket] = []

    def __enter__(self) -> Self:
        for address in self._addresses:
            connection = socket.create_connection(self._server, timeout=ANSWER_S, source_address=(address, 0))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.append(connection)
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections:
            connection.close()

    def ask(self, index: int, path: str, body: bytes) -> Seen:
        """Post `body` over one of the connections."""
        connection = self._connections[index]
        head = f"POST {path} HTTP/1.1\r\nHost: edge\r\nContent-Type: application/json\r\n"
        request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        started_ns = time.perf_counter_ns()
        connection.sendall(request)
        answer = connection.recv(65_536)
        while not whole(answer):
            more = connection.recv(65_536)
            assert more, answer
            answer += more
        took_ns = time.perf_counter_ns() - started_ns
        return Seen(re.sub(rb"\r\nDate: [^\r]+", b"", answer, count=1), took_ns)


def whole(answer: bytes) -> bool:
    """Say whether these are all bytes of one answer."""
    head, end, body = answer.partition(b"\r\n\r\n")
    return bool(end) and len(body) == int(head.partition(b"Content-Length: ")[2].split(b"\r\n", 1)[0])


def body_maker(poll: Booth, resource: Resource) -> Callable[[bytes], bytes]:
    """Return what makes a request's body for a credential; edges neither open votes nor check signatures."""
    if resource == "access":
        return lambda credential: orjson.dumps({"credential_sha256": sha256(credential).hex()})
    code = Code.draw(os.urandom)
    vote = sealing.seal(poll.document, code.signing_key(poll.id), {"strike": ["yes"]}, random=os.urandom)
    return lambda credential: replace(
        vote, credential=credential, nonce=os.urandom(16), signature=os.urandom(64)
    ).to_json()


async def credentials(poll: Booth, other: Booth, count: int) -> dict[str, list[bytes]]:
    """Return `count` credentials of each class; each is one that the gate has to refuse for that reason."""
    key = poll.home.secret("credential-digest")
    found = {name: [os.urandom(32) for _ in range(count)] for name in GROUPS}
    digests = {name: [keyed_digest(key, sha256(each)) for each in found[name]] for name in GROUPS}
    for name, on in (("used", poll), ("revoked", poll), ("foreign", other)):
        for part in batched(digests[name]):
            rows = [field for digest in part for field in (digest, os.urandom(16), b"e")]
            assert await on.call("ballot_issue", *rows) == len(part)
            if name == "revoked":
                assert (await on.call("ballot_revoke", *part))[1:] == [1] * len(part)
            if name == "used":
                votes = [
                    field
                    for digest in part
                    for field in (
                        digest,
                        os.urandom(16),
                        draw_reference(0, 1, random=os.urandom).encode(),
                        os.urandom(2_048),
                        os.urandom(32),
                        b"ip",
                    )
                ]
                reply = await on.call("ballot_cast", *votes)
                assert {row[0] for row in reply[3:]} == {b"accepted"}
    return found


def batched(digests: list[bytes]) -> Iterator[list[bytes]]:
    """Cut the list into parts that one call takes."""
    for start in range(0, len(digests), ROWS_MAX):
        yield digests[start : start + ROWS_MAX]


def measure(
    voters: Voters, path: str, asked: dict[str, list[bytes]], make: Callable[[bytes], bytes]
) -> dict[str, list[Seen]]:
    """Ask round by round; within a round the order of the classes is random."""
    seen: dict[str, list[Seen]] = {name: [] for name in GROUPS}
    order = list(GROUPS)
    for number, of_round in enumerate(zip(*(asked[name] for name in GROUPS), strict=True)):
        bodies = {name: make(credential) for name, credential in zip(GROUPS, of_round, strict=True)}
        random.shuffle(order)
        for name in order:
            seen[name].append(voters.ask(number % ADDRESSES, path, bodies[name]))
    return seen


def auc(left: Sequence[int], right: Sequence[int]) -> float:
    """Return how often a value from `right` is above one from `left`, ties counting half (Mann, Whitney)."""
    ranked = sorted([(value, 0) for value in left] + [(value, 1) for value in right])
    below, wins = 0.0, 0.0
    for _, group in itertools.groupby(ranked, key=lambda pair: pair[0]):
        sides = [side for _, side in group]
        rights = sum(sides)
        lefts = len(sides) - rights
        wins += rights * (below + lefts / 2)
        below += lefts
    return wins / (len(left) * len(right))


def best_threshold_auc(left: Sequence[int], right: Sequence[int]) -> float:
    """Return the area under the best one-point ROC curve: (1 + Kolmogorov-Smirnov distance) / 2."""
    ranked = sorted([(value, 0) for value in left] + [(value, 1) for value in right])
    shares, distance = [0.0, 0.0], 0.0
    sizes = (len(left), len(right))
    for _, group in itertools.groupby(ranked, key=lambda pair: pair[0]):
        for _, side in group:
            shares[side] += 1 / sizes[side]
        distance = max(distance, abs(shares[0] - shares[1]))
    return (1 + distance) / 2


def told_apart(seen: dict[str, list[Seen]]) -> dict[str, tuple[float, float]]:
    """Return for each two classes the AUC and that of the best threshold alone."""
    times = {name: [each.took_ns for each in seen[name]] for name in GROUPS}
    pairs = {f"{one} / {two}": (times[one], times[two]) for one, two in itertools.combinations(CLASSES, 2)}
    pairs[SAME] = (times["unknown"], times[CONTROL])
    pairs[LATER] = (times["unknown"], [took_ns + SEEN_NS for took_ns in times[CONTROL]])
    return {name: (auc(*pair), best_threshold_auc(*pair)) for name, pair in pairs.items()}


def described(seen: dict[str, list[Seen]], areas: dict[str, tuple[float, float]]) -> str:
    """Return the figures as text."""
    lines = [f"{'':30} AUC     best threshold"]
    lines += [f"{name:30} {area:.4f}  {best:.4f}" for name, (area, best) in areas.items()]
    for name in GROUPS:
        times = sorted(each.took_ns / 1_000 for each in seen[name])
        shown = ", ".join(f"{times[len(times) * cent // 100]:.1f}" for cent in (10, 50, 90))
        lines.append(f"{name:30} 10th, 50th and 90th percentile in us: {shown}")
    return "\n".join(lines)


async def refused_alike(
    stack: Stack, edge_process: EdgeProcess, poll: Booth, *, resource: Resource, pairs: int
) -> tuple[dict[str, tuple[float, float]], str]:
    """Ask `pairs` times with each class, require identical answers, and return how well times tell apart."""
    async with booth(stack.servers, f"{poll.id}-b") as other:
        await other.arm()
        asked = await credentials(poll, other, pairs)
    last_octets = range(1, ADDRESSES + 1)
    addresses = [f"127.{random.randint(1, 254)}.{random.randint(0, 255)}.{octet}" for octet in last_octets]
    with Voters(edge_process, addresses) as voters:
        make = body_maker(poll, resource)
        seen = await asyncio.to_thread(measure, voters, poll.path(resource), asked, make)
    texts = {each.text for name in GROUPS for each in seen[name]}
    assert len(texts) == 1, texts
    assert texts.pop().startswith(b"HTTP/1.1 403 ")
    areas = told_apart(seen)
    figures = described(seen, areas)
    sys.stdout.write(f"{pairs} pairs, {resource}\n{figures}\n")
    return areas, figures


@pytest.mark.parametrize("resource", ["votes", "access"])
async def test_refusals_of_each_class_are_the_same_bytes(
    stack: Stack, edge_process: EdgeProcess, poll: Booth, resource: Resource
) -> None:
    """Status, headers, body and length are identical, whatever the reason; times are the long test's."""
    areas, _ = await refused_alike(stack, edge_process, poll, resource=resource, pairs=PAIRS_SHORT)
    assert len(areas) == len(CLASSES) * (len(CLASSES) - 1) // 2 + 2


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("resource", ["votes", "access"])
async def test_ten_thousand_refusals_of_each_class_take_as_long(
    stack: Stack, edge_process: EdgeProcess, poll: Booth, resource: Resource
) -> None:
    """No threshold on the time tells two reasons of refusal apart: the AUC is within 0.5 +- 0.02."""
    areas, figures = await refused_alike(stack, edge_process, poll, resource=resource, pairs=PAIRS_LONG)

    apart = {name: max(abs(area - 0.5), best - 0.5) for name, (area, best) in areas.items()}
    same, later = apart.pop(SAME), apart.pop(LATER)
    if same > AUC_TOLERANCE:
        pytest.skip(
            f"NO VERDICT: noise tells two groups of one class apart (by {same:.4f} of AUC)\n{figures}"
        )
    if later <= AUC_TOLERANCE:
        pytest.skip(f"NO VERDICT: noise would hide {SEEN_NS} ns (they show as {later:.4f} of AUC)\n{figures}")
    worst = max(apart, key=apart.__getitem__)
    verdict = f"{worst} are the furthest apart, by {apart[worst]:.4f} of AUC, {AUC_TOLERANCE} is allowed"
    sys.stdout.write(f"VERDICT: {verdict}\n")
    assert apart[worst] <= AUC_TOLERANCE, f"VERDICT: told apart: {verdict}\n{figures}"
