"""Byte-exact vectors for every format that others build against.

`make.py` writes them, `make.py --check` compares. Everything follows from the seeds below, except the sealed
vote: sealing draws its own randomness, so the ciphertext in vote.json was made once and is kept; the check
opens it and re-derives everything around it.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import click
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from ballot import (
    complaint,
    definition,
    document,
    export_file,
    merkle,
    queue_record,
    receipt,
    register,
    sealing,
    signed,
    suite,
    vote,
)
from ballot.books import Books
from ballot.code import Code
from ballot.encoding import b64decode, b64encode
from ballot.limits import COMPLAINT_BYTES_MAX
from scrutineer.unsealing import ComplaintsKey
from tests.vectors import edges

HERE = Path(__file__).parent
TUBE = HERE / "tube-2025.toml"
COMMITTEE = HERE / "committee-2025.toml"
ACCEPTED_US = 1_752_000_000_123_456

Vector = dict[str, Any]


def seed(label: str, length: int = 32) -> bytes:
    """`length` bytes that follow from `label`."""
    return hashlib.shake_256(b"strike-ballot vectors " + label.encode()).digest(length)


DESK = suite.SigningKey.from_seed(seed("desk"))
RECEIPTS = suite.SigningKey.from_seed(seed("receipts"))
RESULT = suite.SigningKey.from_seed(seed("result"))
MLKEM = MLKEM768PrivateKey.from_seed_bytes(seed("ballot mlkem768", 64))
X25519 = X25519PrivateKey.from_private_bytes(seed("ballot x25519"))
PUBLIC_KEY = MLKEM.public_key().public_bytes_raw() + X25519.public_key().public_bytes_raw()
DIGEST_KEY = seed("credential digest key")
QUEUE_KEY = suite.AeadKey(seed("queue key"))
DEFINITION = definition.parse_toml(TUBE.read_text(encoding="utf-8"))
DOCUMENT = document.build(DEFINITION, public_key=PUBLIC_KEY, result_key=RESULT.public)


def code(label: str) -> Code:
    """The code drawn from the bytes of `label`."""
    return Code.draw(lambda length: seed(label, length))


def codes() -> Vector:
    """Random bytes → code → credential → keyed digest."""
    cases = []
    for label in ("voter 1", "voter 2", "voter 3"):
        drawn = code(label)
        credential = drawn.credential(DEFINITION.id)
        digest = hashlib.sha256(credential).digest()
        cases.append(
            {
                "random": seed(label, 12).hex(),
                "code": drawn.text(),
                "ballot": DEFINITION.id,
                "credential": b64encode(credential),
                "credential_elsewhere": b64encode(drawn.credential("another-ballot")),
                "credential_sha256": digest.hex(),
                "keyed_digest": suite.keyed_digest(DIGEST_KEY, digest).hex(),
            }
        )
    example = {"symbols": "0123456789ABCDEFGHJ", "check_symbol": "4"}
    return {
        "check_symbol": [example],
        "keyed_digest_key": DIGEST_KEY.hex(),
        "codes": cases,
        "typed": edges.typed_codes(code("voter 3")),
    }


def definitions() -> Vector:
    """TOML → canonical bytes, digest, padded size."""
    cases = []
    for path in (TUBE, COMMITTEE):
        parsed = definition.parse_toml(path.read_text(encoding="utf-8"))
        cases.append(
            {
                "toml": path.name,
                "canonical": parsed.canonical.decode(),
                "definition_sha256": parsed.sha256.hex(),
                "padded_size": parsed.padded_size,
            }
        )
    return {"definitions": cases}


def documents() -> Vector:
    """The signed ballot document."""
    return {
        "canonical": DOCUMENT.canonical.decode(),
        "desk_seed": seed("desk").hex(),
        "desk_public_key": b64encode(DESK.public),
        "desk_key_id": DESK.key_id,
        "signed_message": document.signed_message(DOCUMENT.canonical).hex(),
        "document_signature": b64encode(document.sign(DOCUMENT, DESK)),
    }


def votes(kept: Vector | None) -> Vector:
    """A sealed and signed vote; the ciphertext is `kept` if there is one."""
    key, nonce = code("voter 1").signing_key(DEFINITION.id), seed("vote nonce", 16)
    answers = {"strike": ["yes"], "short-of-strike": ["no"]}
    bind = sealing.bind(nonce, key.public)
    info = sealing.hpke_info(DEFINITION.id, DEFINITION.sha256, bind)
    plaintext = sealing.answers_plaintext(DEFINITION, answers)
    padded = sealing.pad(plaintext, DEFINITION.padded_size)
    sealed = b64decode(kept["sealed"]) if kept else suite.hpke_seal(PUBLIC_KEY, padded, info=info)
    if open_sealed(sealed, info) != padded:
        raise click.ClickException("The sealed vote does not open to its answers.")
    digest = hashlib.sha256(sealed).digest()
    message = vote.signed_message(DEFINITION.id, DEFINITION.sha256, nonce, digest)
    cast = vote.CastVote(key.public, suite.SUITE, nonce, sealed, key.sign(message))
    return {
        "code": code("voter 1").text(),
        "ballot": DEFINITION.id,
        "definition_sha256": DEFINITION.sha256.hex(),
        "private_key": {
            "mlkem768_seed": seed("ballot mlkem768", 64).hex(),
            "x25519": seed("ballot x25519").hex(),
        },
        "public_key": b64encode(PUBLIC_KEY),
        "answers": answers,
        "plaintext": plaintext.decode(),
        "padded_plaintext": padded.hex(),
        "bind": bind.hex(),
        "info": info.decode(),
        "sealed": b64encode(sealed),
        "sealed_sha256": digest.hex(),
        "signed_message": message.hex(),
        "identity": cast.identity.hex(),
        "request": cast.to_json().decode(),
    }


def open_sealed(sealed: bytes, info: bytes) -> bytes:
    """The padded plaintext of `sealed`."""
    opener = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
    return opener.decrypt(sealed, hpke.MLKEM768X25519PrivateKey(MLKEM, X25519), info=info)


def receipts() -> Vector:
    """Five receipts under one signature, and one under its own."""
    leaves = [
        receipt.Leaf(DEFINITION.id, reference(n % 4, 4, n), ACCEPTED_US + n, seed(f"sealed digest {n}"))
        for n in range(5)
    ]
    root = merkle.root([leaf.canonical() for leaf in leaves])
    return {
        "seed": seed("receipts").hex(),
        "public_key": b64encode(RECEIPTS.public),
        "shards": 4,
        "leaves": [leaf.canonical().decode() for leaf in leaves],
        "leaf_hashes": [merkle.leaf_hash(leaf.canonical()).hex() for leaf in leaves],
        "root": root.hex(),
        "signed_message": receipt.signed_message(root).hex(),
        "receipts": [issued.to_dict() for issued in receipt.issue(leaves, RECEIPTS)],
        "alone": receipt.issue(leaves[:1], RECEIPTS)[0].to_dict(),
    }


def reference(shard: int, shards: int, number: int) -> str:
    """The reference drawn from the bytes of `number`."""
    return receipt.draw_reference(shard, shards, random=lambda length: seed(f"reference {number}", length))


def trees() -> Vector:
    """Roots and paths of small trees; the leaves are those of RFC 6962's well-known test trees."""
    leaves = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243")]
    leaves += [bytes.fromhex("5051525354555657"), bytes(range(0x60, 0x70))]
    cases = []
    for count in range(len(leaves) + 1):
        paths = merkle.all_paths(leaves[:count])
        shown = [[[side, sibling.hex()] for side, sibling in path] for path in paths]
        cases.append({"leaves": count, "root": merkle.root(leaves[:count]).hex(), "paths": shown})
    return {"leaves": [leaf.hex() for leaf in leaves], "trees": cases}


def queue_records(cast: Vector) -> Vector:
    """The queue's encryption of the vote above, and of an attempt's address."""
    request = vote.parse(cast["request"].encode(), padded_size=DEFINITION.padded_size)
    digest = suite.keyed_digest(DIGEST_KEY, request.credential_sha256)
    queued = reference(0, 1, 5)
    record = queue_record.QueueRecord(
        request.credential, request.nonce, request.sealed, request.signature, "2001:db8::1", ACCEPTED_US
    )
    blob = queue_record.wrap(
        QUEUE_KEY,
        record,
        ballot_id=DEFINITION.id,
        credential_digest=digest,
        reference=queued,
        random=lambda length: seed("queue nonce", length),
    )
    sealed_ip = queue_record.wrap_ip(
        QUEUE_KEY,
        record.ip,
        ballot_id=DEFINITION.id,
        credential_digest=digest,
        random=lambda length: seed("ip nonce", length),
    )
    return {
        "key": seed("queue key").hex(),
        "key_id": QUEUE_KEY.key_id,
        "ballot": DEFINITION.id,
        "credential_digest": digest.hex(),
        "reference": queued,
        "ip": record.ip,
        "received_us": record.received_us,
        "wrapped": blob.hex(),
        "sealed_ip": sealed_ip.hex(),
    }


def registers() -> Vector:
    """Leaves and the signed root of a batch of issues and one of revocations."""
    digests = [seed(f"register digest {n}") for n in range(3)]
    issues = [
        register.issue_leaf(DEFINITION.id, digest, seed(f"uin {n}", 16), "email", ACCEPTED_US, n)
        for n, digest in enumerate(digests)
    ]
    revoked = [register.revoke_leaf(DEFINITION.id, digests[1], ACCEPTED_US)]
    batches = []
    for batch, (kind, leaves) in enumerate((("issue", issues), ("revoke", revoked))):
        root = merkle.root(leaves)
        message = register.root_message(
            DEFINITION.id, batch, "issue" if kind == "issue" else "revoke", len(leaves), root
        )
        batches.append(
            {
                "kind": kind,
                "batch": batch,
                "leaves": [leaf.decode() for leaf in leaves],
                "root": root.hex(),
                "signed_message": message.hex(),
                "signature": b64encode(DESK.sign(message)),
            }
        )
    return {"batches": batches}


def exports(cast: Vector) -> Vector:
    """A signed manifest and one line of votes."""
    line = export_file.vote_line(bytes.fromhex(cast["bind"]), b64decode(cast["sealed"]))
    terms = dict.fromkeys(Books.__dataclass_fields__, 0)
    terms |= {
        "entitled": 3,
        "issued": 3,
        "used": 1,
        "unused": 2,
        "accepted": 1,
        "stored": 1,
        "voted_electronic": 1,
    }
    manifest = export_file.build_manifest(
        ballot=DEFINITION.id,
        document=DOCUMENT.canonical,
        document_signature=document.sign(DOCUMENT, DESK),
        definition_sha256=DEFINITION.sha256,
        entitled=3,
        votes=1,
        votes_sha256=hashlib.sha256(line).digest(),
        books=Books(**terms),
        by_method={"electronic": 1, "postal": 0, "workplace": 0},
        quarantined={},
        exported_us=ACCEPTED_US,
    )
    return {
        "manifest": signed.sign_object(manifest, label=signed.EXPORT_LABEL, key=DESK),
        "signed_message": signed.signed_message(manifest, label=signed.EXPORT_LABEL).hex(),
        "vote_line": line.decode(),
    }


def complaints(kept: Vector | None) -> Vector:
    """Texts → plaintexts; the published key; one sealed complaint, kept as the vote is → number, requests."""
    secret = seed("complaints")
    key = ComplaintsKey(secret)
    texts = [
        ("My link did not work.", ""),
        ("My link did not work.", "a.voter@example.org"),
        ("", ""),
        ('"Quoted"\\ <b>&amp;</b>\n\ttab \x00\x1f\x7f \u2028', "ffôn: +44 20 7946 0000 \U0001f4f1"),
        ("x" * (COMPLAINT_BYTES_MAX - len('{"v":1,"text":""}')), ""),
    ]
    cases = []
    for text, contact in texts:
        written = complaint.Complaint(text, contact)
        padded = complaint.plaintext(written)
        cases.append(
            {
                "text": text,
                "contact": contact,
                "json": complaint.unpadded(written).decode(),
                "plaintext_bytes": len(padded),
                "plaintext_sha256": hashlib.sha256(padded).hexdigest(),
            }
        )
    sealed = (
        b64decode(kept["sealed"]) if kept else complaint.seal(complaint.Complaint(*texts[1]), key.public_key)
    )
    opened = key.open(sealed)
    return {
        "info": complaint.INFO.decode(),
        "bytes_max": COMPLAINT_BYTES_MAX,
        "sealed_bytes": complaint.SEALED_BYTES,
        "secret": secret.hex(),
        "mlkem768_seed": suite.hkdf(
            secret, salt=b"strike-ballot/v1/complaints", info=b"ml-kem-768", length=64
        ).hex(),
        "x25519_private": suite.hkdf(
            secret, salt=b"strike-ballot/v1/complaints", info=b"x25519", length=32
        ).hex(),
        "desk_key": b64encode(DESK.public),
        "key_statement": complaint.key_statement(key.public_key).hex(),
        "key": complaint.key_entry(key.public_key, DESK),
        "plaintexts": cases,
        "text": opened.text,
        "contact": opened.contact,
        "sealed": b64encode(sealed),
        "number": complaint.number(sealed),
        "request": complaint.request_body(complaint.Lodged(DEFINITION.id, sealed)).decode(),
        "request_without_ballot": complaint.request_body(complaint.Lodged(None, sealed)).decode(),
    }


def kept(name: str) -> Vector | None:
    """What stands in a vector file now, for what is made once and kept."""
    path = HERE / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def build() -> dict[str, bytes]:
    """Every vector file's name and bytes."""
    cast = votes(kept("vote"))
    files = {
        "code": codes(),
        "definition": definitions(),
        "document": documents(),
        "vote": cast,
        "receipt": receipts(),
        "merkle": trees(),
        "queue_record": queue_records(cast),
        "register": registers(),
        "export": exports(cast),
        "complaint": complaints(kept("complaint")),
        "answers": edges.plaintexts(),
        "encoding": edges.spellings(),
        "signature": edges.signatures(),
    }
    return {
        f"{name}.json": (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
        for name, value in files.items()
    }


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; fail if a file differs.")
def main(*, check: bool) -> None:
    """Write the vectors, or compare them with what the code gives today."""
    for name, data in build().items():
        path = HERE / name
        if not check:
            path.write_bytes(data)
        elif not path.exists() or path.read_bytes() != data:
            click.echo(f"{name} differs from what the code gives", err=True)
            sys.exit(1)


if __name__ == "__main__":
    main()
