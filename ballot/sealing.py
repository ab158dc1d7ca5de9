"""The voter's side: answers in, one sealed and signed vote out; for clients, load and tests.

The browser does the same in its own words; tests/vectors/ keep the two from drifting apart.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ballot import answers as answer_rules
from ballot import vote
from ballot.answers import pad, padded_size
from ballot.definition import Definition
from ballot.document import BallotDocument
from ballot.suite import SigningKey, hpke_seal
from ballot.vote import NONCE_BYTES, CastVote

__all__ = ["answers_plaintext", "bind", "hpke_info", "pad", "padded_size", "seal", "seal_plaintext"]

INFO_PREFIX: Final = b"strike-ballot/v1/"


def answers_plaintext(definition: Definition, answers: Mapping[str, Sequence[str]]) -> bytes:
    """`answers` (option ids by question id) as unpadded JSON; Malformed if they would be spoilt."""
    return answer_rules.plaintext(definition.questions, answers)


def seal(
    document: BallotDocument,
    signing_key: SigningKey,
    answers: Mapping[str, Sequence[str]],
    *,
    random: Callable[[int], bytes],
) -> CastVote:
    """`answers` padded, sealed to the document's key, bound to this credential, signed."""
    return seal_plaintext(
        document, signing_key, answers_plaintext(document.definition, answers), random=random
    )


def seal_plaintext(
    document: BallotDocument, signing_key: SigningKey, plaintext: bytes, *, random: Callable[[int], bytes]
) -> CastVote:
    """As `seal`, for any `plaintext` up to the padded size: what a hostile voter could send."""
    nonce = random(NONCE_BYTES)
    digest = document.definition.sha256
    info = hpke_info(document.definition.id, digest, bind(nonce, signing_key.public))
    sealed = hpke_seal(document.public_key, pad(plaintext, document.padded_size), info=info)
    sealed_sha256 = hashlib.sha256(sealed).digest()
    signature = signing_key.sign(vote.signed_message(document.definition.id, digest, nonce, sealed_sha256))
    return CastVote(signing_key.public, document.suite, nonce, sealed, signature)


def bind(nonce: bytes, credential: bytes) -> bytes:
    """SHA-256(nonce ‖ credential): ties a sealed vote to its sender; all the tally learns of either."""
    return hashlib.sha256(nonce + credential).digest()


def hpke_info(ballot_id: str, definition_sha256: bytes, bind: bytes) -> bytes:
    """The HPKE `info`: a vote sealed for one ballot, definition and credential opens nowhere else."""
    return INFO_PREFIX + f"{ballot_id}/{definition_sha256.hex()}/{bind.hex()}".encode()
