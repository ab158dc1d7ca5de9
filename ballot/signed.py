"""Signed JSON objects: results by the result key, exports by the desk, each under its own label."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from ballot.encoding import Malformed, b64decode, b64encode, canonical_json
from ballot.suite import SIGNATURE_BYTES, SignatureInvalid, SigningKey, key_id, verify_signature

RESULT_LABEL: Final = "result"
EXPORT_LABEL: Final = "export"


def sign_object(obj: Mapping[str, Any], *, label: str, key: SigningKey) -> dict[str, Any]:
    """`obj` with `signature` and `key_id`."""
    signature = key.sign(signed_message(obj, label=label))
    return {**obj, "signature": b64encode(signature), "key_id": key.key_id}


def verify_object(obj: Mapping[str, Any], *, label: str, public: bytes) -> None:
    """Raise SignatureInvalid unless the pinned key `public` signed `obj` under `label`."""
    try:
        if not isinstance(obj.get("signature"), str):
            raise SignatureInvalid("There is no signature.")
        if obj.get("key_id") != key_id(public):
            raise SignatureInvalid("This names another key.")
        signature = b64decode(obj["signature"], length=SIGNATURE_BYTES)
        message = signed_message(obj, label=label)
    except Malformed as error:
        raise SignatureInvalid("The signature is not in its canonical form.") from error
    verify_signature(public, signature, message)


def signed_message(obj: Mapping[str, Any], *, label: str) -> bytes:
    """Label ‖ 0x00 ‖ SHA-256 of the canonical JSON of `obj` without `signature` and `key_id`."""
    unsigned = {name: value for name, value in obj.items() if name not in {"signature", "key_id"}}
    return f"strike-ballot/v1/{label}".encode() + b"\x00" + hashlib.sha256(canonical_json(unsigned)).digest()
