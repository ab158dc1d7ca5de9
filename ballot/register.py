"""The issue register's leaves and signed roots, so that desk and checker agree to the byte."""

import hashlib
from typing import Final, Literal

import orjson

from ballot.encoding import canonical_json

REGISTER_LABEL: Final = b"strike-ballot/v1/register"


def issue_leaf(
    ballot: str, credential_digest: bytes, uin: bytes, channel: str, issued_us: int, shard: int
) -> bytes:
    """One issued code: canonical JSON (all values plain ASCII or whole numbers, names sorted)."""
    return orjson.dumps(
        {
            "ballot": ballot,
            "channel": channel,
            "credential_digest": credential_digest.hex(),
            "issued_us": issued_us,
            "shard": shard,
            "uin": uin.hex(),
        }
    )


def revoke_leaf(ballot: str, credential_digest: bytes, revoked_us: int) -> bytes:
    """One revoked code, with the gate's time."""
    return orjson.dumps(
        {"ballot": ballot, "credential_digest": credential_digest.hex(), "revoked_us": revoked_us}
    )


def root_message(ballot: str, batch: int, kind: Literal["issue", "revoke"], count: int, root: bytes) -> bytes:
    """What the desk signs for one batch: label ‖ 0x00 ‖ SHA-256 of canonical JSON describing it."""
    value = {"ballot": ballot, "batch": batch, "count": count, "kind": kind, "root": root.hex()}
    return REGISTER_LABEL + b"\x00" + hashlib.sha256(canonical_json(value)).digest()
