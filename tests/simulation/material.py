"""Keys, voters and sealed votes, made once a process: every seed takes its own few of the same ones.

Signatures and the queue's encryption are real; the sealed bytes are drawn, for nothing here could open them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Final

from ballot import definition, document, vote
from ballot.encoding import b64decode, b64encode, canonical_json
from ballot.suite import SEAL_OVERHEAD_BYTES, SUITE, AeadKey, SigningKey, keyed_digest
from ballot.vote import NONCE_BYTES, CastVote
from workers.opening import Keys

BALLOT: Final = "simulated"
VOTERS_MAX: Final = 12
VOTES_EACH: Final = 2
"""What a voter's two devices would cast: the first, and another one."""

_VECTORS: Final = Path(__file__).resolve().parent.parent / "vectors"
_DEFINITION: Final = """
[ballot]
id = "simulated"
title = "Pay"
kind = "industrial-action"
union = "Union"
employer = "Employer"
scrutineer = "Scrutineer"
contact = "help@scrutineer.example"
opens = 2025-06-01T09:00:00+01:00
closes = 2099-07-29T12:00:00+01:00
methods = ["electronic", "postal"]
precedence = "first-recorded"

[[question]]
id = "strike"
text = "Are you prepared to take part in a strike?"
form = "single"
options = [ {id = "yes", text = "Yes"}, {id = "no", text = "No"} ]
"""


@dataclass(frozen=True, slots=True)
class Paper:
    """One voter's vote as its device keeps it."""

    body: bytes
    cast: CastVote


@dataclass(frozen=True, slots=True)
class Roll:
    """One voter of the roll, with an issued code."""

    uin: bytes
    digest: bytes
    access: bytes
    papers: tuple[Paper, ...]


@dataclass(frozen=True, slots=True)
class Material:
    """All that is made before the first seed."""

    document: document.BallotDocument
    document_signature: bytes
    desk: SigningKey
    pinned: bytes
    """The file with the desk's public key."""

    keys: Keys
    voters: tuple[Roll, ...]

    def published(self, shards: int) -> bytes:
        """What the desk publishes of the ballot."""
        return canonical_json(
            {
                "document": b64encode(self.document.canonical),
                "document_signature": b64encode(self.document_signature),
                "desk_public_key": b64encode(self.desk.public),
                "shards": shards,
            }
        )


@cache
def material() -> Material:
    """The same in every process."""
    random = Random("material")
    desk = SigningKey.from_seed(random.randbytes(32))
    public_key = b64decode(json.loads((_VECTORS / "vote.json").read_text())["public_key"])
    built = document.build(definition.parse_toml(_DEFINITION), public_key=public_key, result_key=bytes(32))
    keys = Keys(AeadKey(random.randbytes(32)), AeadKey(random.randbytes(32)), random.randbytes(32))
    voters = tuple(_voter(random, built, keys) for _ in range(VOTERS_MAX))
    pinned = canonical_json({"public_key": b64encode(desk.public)})
    return Material(built, document.sign(built, desk), desk, pinned, keys, voters)


def _voter(random: Random, built: document.BallotDocument, keys: Keys) -> Roll:
    key = SigningKey.from_seed(random.randbytes(32))
    credential = hashlib.sha256(key.public).digest()
    papers = tuple(_ballot(random, built, key) for _ in range(VOTES_EACH))
    access = canonical_json({"credential_sha256": credential.hex()})
    return Roll(random.randbytes(16), keyed_digest(keys.digest, credential), access, papers)


def _ballot(random: Random, built: document.BallotDocument, key: SigningKey) -> Paper:
    sealed = random.randbytes(SEAL_OVERHEAD_BYTES + built.padded_size)
    nonce = random.randbytes(NONCE_BYTES)
    message = vote.signed_message(BALLOT, built.definition.sha256, nonce, hashlib.sha256(sealed).digest())
    cast = CastVote(key.public, SUITE, nonce, sealed, key.sign(message))
    return Paper(cast.to_json(), cast)
