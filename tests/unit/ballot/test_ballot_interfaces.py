"""The published interface, spelt out a second time with bare primitives, as an outsider would."""

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tests.vectors import make


def vector(name: str) -> Any:
    """One vector file."""
    return json.loads((make.HERE / f"{name}.json").read_text(encoding="utf-8"))


def b64(text: str) -> bytes:
    """Base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def sha256(data: bytes) -> bytes:
    """A digest."""
    return hashlib.sha256(data).digest()


def verify(public: bytes, signature: str, message: bytes) -> None:
    """Check an Ed25519 signature."""
    Ed25519PublicKey.from_public_bytes(public).verify(b64(signature), message)


def credential(code: str, ballot: str) -> bytes:
    """The credential of a code."""
    seed = HKDF(
        algorithm=hashes.SHA256(), length=32, salt=f"strike-ballot/v1/{ballot}".encode(), info=b"credential"
    ).derive(code.replace("-", "").encode())
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def test_code_to_credential_to_digest() -> None:
    """The chain from the printed code to the gate's digest is the published one."""
    for case in vector("code")["codes"]:
        public = credential(case["code"], case["ballot"])

        assert b64(case["credential"]) == public
        assert bytes.fromhex(case["credential_sha256"]) == sha256(public)
        key = bytes.fromhex(vector("code")["keyed_digest_key"])
        assert hmac.digest(key, sha256(public), "sha256").hex() == case["keyed_digest"]


def test_document_signature() -> None:
    """The desk signs the label, a zero byte and the digest of the document's bytes."""
    case = vector("document")
    canonical = case["canonical"].encode()

    verify(
        b64(case["desk_public_key"]),
        case["document_signature"],
        b"strike-ballot/v1/document\x00" + sha256(canonical),
    )
    assert json.dumps(json.loads(canonical), separators=(",", ":"), sort_keys=True).encode() == canonical
    assert sha256(b64(case["desk_public_key"])).hex()[:16] == case["desk_key_id"]
    definition = json.dumps(json.loads(canonical)["definition"], separators=(",", ":"), sort_keys=True)
    assert sha256(definition.encode()).hex() == vector("vote")["definition_sha256"]


def test_vote_signature_and_identity() -> None:
    """The voter's signature, the binding info and the gate's 16 bytes are the published ones."""
    case = vector("vote")
    request = json.loads(case["request"])
    nonce, sealed, digest = (
        b64(request["nonce"]),
        b64(request["sealed"]),
        bytes.fromhex(case["definition_sha256"]),
    )

    verify(
        credential(case["code"], case["ballot"]),
        request["signature"],
        b"strike-ballot/v1/vote\x00" + case["ballot"].encode() + b"\x00" + digest + nonce + sha256(sealed),
    )
    bind = sha256(nonce + b64(request["credential"])).hex()
    assert case["info"] == f"strike-ballot/v1/{case['ballot']}/{digest.hex()}/{bind}"
    assert sha256(sealed + nonce + b64(request["signature"]))[:16].hex() == case["identity"]
    assert make.open_sealed(sealed, case["info"].encode()) == case["plaintext"].encode().ljust(64, b"\x00")
    assert case["plaintext"] == '{"v":1,"answers":{"strike":["yes"],"short-of-strike":["no"]}}'


def test_receipt_path_and_signature() -> None:
    """A receipt's leaf, hashed along its path, is what the receipts key signed."""
    case = vector("receipt")
    for one in [*case["receipts"], case["alone"]]:
        leaf = {name: one[name] for name in ("accepted_at", "ballot", "reference", "sealed_sha256")}
        node = sha256(b"\x00" + json.dumps(leaf, separators=(",", ":"), sort_keys=True).encode())
        for side, sibling in one["path"]:
            node = sha256(b"\x01" + (b64(sibling) + node if side == "L" else node + b64(sibling)))
        verify(b64(case["public_key"]), one["signature"], b"strike-ballot/v1/receipts\x00" + node)


def test_export_signature() -> None:
    """An export's manifest is signed over its canonical JSON without signature and key id."""
    manifest = vector("export")["manifest"]
    unsigned = {name: value for name, value in manifest.items() if name not in {"signature", "key_id"}}
    message = b"strike-ballot/v1/export\x00" + sha256(
        json.dumps(unsigned, separators=(",", ":"), sort_keys=True).encode()
    )

    verify(make.DESK.public, manifest["signature"], message)
    with pytest.raises(InvalidSignature):
        verify(make.DESK.public, manifest["signature"], message.replace(b"export", b"result"))
    assert sha256(vector("export")["vote_line"].encode()).hex() == manifest["votes_sha256"]
