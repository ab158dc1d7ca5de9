"""A ballot served from memory to the voter's side: real keys, real receipts, one vote a credential."""

import hashlib
import json
import os

from ballot import document as documents
from ballot import receipt as receipts
from ballot.code import Code
from ballot.definition import Definition
from ballot.encoding import b64decode, b64encode
from ballot.receipt import Leaf, Receipt
from ballot.suite import SigningKey
from loadtests.voting.voter import Answer
from tally import custody

ACCEPTED_US = 1_750_000_000_000_000


class ServedBallot:
    """A Door that answers as the API does, `bad_answers` first; it remembers what was posted."""

    def __init__(self, definition: Definition) -> None:
        self.desk = SigningKey.from_seed(os.urandom(32))
        self.receipts_key = SigningKey.from_seed(os.urandom(32))
        self.keys = custody.derive(custody.new_secret(os.urandom), ballot=definition.id)
        self.document = documents.build(
            definition, public_key=self.keys.public_key, result_key=self.keys.result_key
        )
        self.document_signature = documents.sign(self.document, self.desk)
        self.good: dict[str, bytes] = {}
        self.voted: dict[bytes, tuple[bytes, Receipt]] = {}
        self.bad_answers: list[Answer] = []
        self.bodies: list[bytes] = []

    def code(self) -> Code:
        """A new code that is good here."""
        code = Code.draw(os.urandom)
        credential = code.credential(self.document.definition.id)
        self.good[hashlib.sha256(credential).hexdigest()] = credential
        return code

    def revoke(self, code: Code) -> None:
        """A code that is good no longer."""
        credential = code.credential(self.document.definition.id)
        del self.good[hashlib.sha256(credential).hexdigest()]

    def send(self, method: str, path: str, body: bytes | None = None) -> Answer:  # noqa: ARG002  # a Door
        """What the API would answer."""
        if body is not None:
            self.bodies.append(body)
        if self.bad_answers:
            return self.bad_answers.pop(0)
        match path.rpartition("/")[2]:
            case "document":
                return Answer(200, self.document.canonical)
            case "keys":
                public = b64encode(self.receipts_key.public)
                key = {
                    "id": self.receipts_key.key_id,
                    "use": "receipts",
                    "alg": "Ed25519",
                    "public_key": public,
                }
                return told(200, {"keys": [key]})
            case "access":
                asked = json.loads(body or b"")["credential_sha256"]
                credential = self.good.get(asked)
                good = credential is not None and credential not in self.voted
                return told(200, {"state": "ready"}) if good else refused()
            case "votes":
                return self._vote(body or b"")
            case _:
                digest = self.document.definition.sha256.hex()
                return told(
                    200,
                    {"definition_sha256": digest, "document_signature": b64encode(self.document_signature)},
                )

    def _vote(self, body: bytes) -> Answer:
        """The same again gets the same receipt; another vote, or an unknown credential, is refused."""
        vote = json.loads(body)
        credential = b64decode(vote["credential"])
        if credential in self.voted:
            before, receipt = self.voted[credential]
            return told(200, receipt.to_dict()) if before == body else refused()
        if credential not in self.good.values():
            return refused()
        digest = hashlib.sha256(b64decode(vote["sealed"])).digest()
        reference = receipts.draw_reference(0, 1, random=os.urandom)
        leaf = Leaf(self.document.definition.id, reference, ACCEPTED_US, digest)
        (receipt,) = receipts.issue([leaf], self.receipts_key)
        self.voted[credential] = (body, receipt)
        return told(201, receipt.to_dict())


def told(status: int, value: object) -> Answer:
    """A JSON answer."""
    return Answer(status, json.dumps(value).encode())


def refused() -> Answer:
    """The one refusal for unknown, used and revoked codes."""
    return told(403, {"error": "not_accepted", "message": "This code is not accepted here.", "retry": False})
