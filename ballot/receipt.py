"""The receipt: reference, time and digest, signed alone or in a batch; nothing of voter or choice."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ballot import alphabet, limits, merkle
from ballot.encoding import Malformed, b64decode, b64encode, format_time, hex_decode, parse_time
from ballot.suite import SIGNATURE_BYTES, SignatureInvalid, SigningKey, key_id, verify_signature

RECEIPTS_LABEL: Final = b"strike-ballot/v1/receipts"
REFERENCE_SYMBOLS: Final = 16
REFERENCE_BYTES: Final = REFERENCE_SYMBOLS * alphabet.BITS // 8

_FIELDS: Final = {"ballot", "reference", "accepted_at", "sealed_sha256", "signature", "key_id", "path"}
_CANONICAL: Final = re.compile("-".join([f"[{alphabet.SYMBOLS}]{{4}}"] * (REFERENCE_SYMBOLS // 4)))
_ID: Final = re.compile(r"[a-z0-9-]{1,40}")
_DIGEST_BYTES: Final = hashlib.sha256().digest_size
_SHARD_BITS: Final = {1 << bits: bits for bits in range(limits.SHARDS_MAX.bit_length())}


def draw_reference(shard: int, shards: int, *, random: Callable[[int], bytes]) -> str:
    """A new reference, grouped: the leading bits name `shard` of `shards`, the other bits are random."""
    bits = _shard_bits(shards)
    if not 0 <= shard < shards:
        raise ValueError("There is no such shard.")
    free = REFERENCE_BYTES * 8 - bits
    value = int.from_bytes(random(REFERENCE_BYTES), "big") & ((1 << free) - 1) | shard << free
    pairs = alphabet.PAIRS  # a symbol has five bits
    return (
        f"{pairs[value >> 70]}{pairs[value >> 60 & 1023]}-{pairs[value >> 50 & 1023]}"
        f"{pairs[value >> 40 & 1023]}-{pairs[value >> 30 & 1023]}{pairs[value >> 20 & 1023]}"
        f"-{pairs[value >> 10 & 1023]}{pairs[value & 1023]}"
    )


def parse_reference(text: str) -> str:
    """The reference a person typed, grouped and in upper case."""
    if _CANONICAL.fullmatch(text):  # as all are that come from us
        return text
    symbols = alphabet.read(text)
    if symbols is None or len(symbols) != REFERENCE_SYMBOLS:
        raise Malformed(f"A reference has {REFERENCE_SYMBOLS} letters and digits, and never the letter U.")
    return alphabet.grouped(symbols)


def shard_of_reference(reference: str, shards: int) -> int:
    """The shard that a canonical `reference` names."""
    return alphabet.VALUES[reference[0]] >> (alphabet.BITS - _shard_bits(shards))


def shard_of_digest(digest: bytes, shards: int) -> int:
    """The shard of a credential's keyed digest: its leading bits."""
    return digest[0] >> (8 - _shard_bits(shards))


def _shard_bits(shards: int) -> int:
    bits = _SHARD_BITS.get(shards)
    if bits is None:
        raise ValueError(f"The number of shards is a power of two from 1 to {limits.SHARDS_MAX}.")
    return bits


@dataclass(slots=True)
class Leaf:
    """What a receipt states. Never changed: frozen would cost each vote more than the digest of it does."""

    ballot: str
    reference: str
    accepted_us: int
    sealed_sha256: bytes

    def canonical(self) -> bytes:
        """The leaf's bytes: all four values are plain ASCII, so sorted compact JSON is the canonical form."""
        return (
            f'{{"accepted_at":"{format_time(self.accepted_us, decimals=6)}","ballot":"{self.ballot}",'
            f'"reference":"{self.reference}","sealed_sha256":"{self.sealed_sha256.hex()}"}}'
        ).encode()


@dataclass(frozen=True, slots=True)
class Receipt:
    """A leaf, the signature that covers it, and the path from the one to the other."""

    ballot: str
    reference: str
    accepted_us: int
    sealed_sha256: bytes
    signature: bytes
    key_id: str
    path: tuple[merkle.Step, ...]

    @property
    def leaf(self) -> Leaf:
        """What is signed."""
        return Leaf(self.ballot, self.reference, self.accepted_us, self.sealed_sha256)

    def to_dict(self) -> dict[str, Any]:
        """The receipt as returned to the voter."""
        return {
            "ballot": self.ballot,
            "reference": self.reference,
            "accepted_at": format_time(self.accepted_us, decimals=6),
            "sealed_sha256": self.sealed_sha256.hex(),
            "signature": b64encode(self.signature),
            "key_id": self.key_id,
            "path": [[side, b64encode(sibling)] for side, sibling in self.path],
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "Receipt":
        """The receipt in `value`; Malformed unless every field is in its one form."""
        texts = _FIELDS - {"path"}
        if value.keys() != _FIELDS or not all(isinstance(value[name], str) for name in texts):
            raise Malformed("This is not a receipt.")
        if not _ID.fullmatch(value["ballot"]) or parse_reference(value["reference"]) != value["reference"]:
            raise Malformed("This receipt's ballot or reference is not in its canonical form.")
        accepted_us = parse_time(value["accepted_at"])
        if format_time(accepted_us, decimals=6) != value["accepted_at"]:
            raise Malformed("This receipt's time is not in UTC with six decimals.")
        hex_decode(value["key_id"], length=8)
        return cls(
            ballot=value["ballot"],
            reference=value["reference"],
            accepted_us=accepted_us,
            sealed_sha256=hex_decode(value["sealed_sha256"], length=_DIGEST_BYTES),
            signature=b64decode(value["signature"], length=SIGNATURE_BYTES),
            key_id=value["key_id"],
            path=_path(value["path"]),
        )


def issue(leaves: Sequence[Leaf], key: SigningKey) -> list[Receipt]:
    """One receipt a leaf, in order, under a single signature."""
    if len(leaves) > limits.RECEIPT_BATCH_MAX:
        raise ValueError(f"One signature covers at most {limits.RECEIPT_BATCH_MAX} receipts.")
    if not leaves:
        return []
    data = [leaf.canonical() for leaf in leaves]
    paths = merkle.all_paths(data)
    signature = key.sign(signed_message(merkle.root_from_path(merkle.leaf_hash(data[0]), paths[0])))
    return [
        Receipt(
            leaf.ballot,
            leaf.reference,
            leaf.accepted_us,
            leaf.sealed_sha256,
            signature,
            key.key_id,
            tuple(path),
        )
        for leaf, path in zip(leaves, paths, strict=True)
    ]


def issue_bodies(leaves: Sequence[Leaf], key: SigningKey) -> list[bytes]:
    """The same receipts as `issue` gives, as they are sent: compact JSON.

    What a batch's receipts share is written once: the signature, and of the paths each step. A path is its
    first step and the path of the node above, so from the root down every node's is made once.
    """
    if len(leaves) > limits.RECEIPT_BATCH_MAX:
        raise ValueError(f"One signature covers at most {limits.RECEIPT_BATCH_MAX} receipts.")
    if not leaves:
        return []
    levels = merkle.levels([leaf.canonical() for leaf in leaves])
    signature = b64encode(key.sign(signed_message(levels[-1][0])))
    paths = [""]
    for level in reversed(levels[:-1]):
        paths = _paths_below(paths, level)
    end = f'","signature":"{signature}","key_id":"{key.key_id}","path":['
    return [
        (
            f'{{"ballot":"{leaf.ballot}","reference":"{leaf.reference}",'
            f'"accepted_at":"{format_time(leaf.accepted_us, decimals=6)}",'
            f'"sealed_sha256":"{leaf.sealed_sha256.hex()}{end}{path}]}}'
        ).encode()
        for leaf, path in zip(leaves, paths, strict=True)
    ]


def _paths_below(above: Sequence[str], level: Sequence[bytes]) -> list[str]:
    """The paths of the nodes of `level`, from those of the level above it."""
    # All are encoded at once: a zero byte behind each hash makes it 44 symbols, of which 43 are its own.
    hashes = b64encode(b"\x00".join(level) + b"\x00")
    paths = []
    for index in range(0, len(level) - 1, 2):
        rest = above[index >> 1]
        rest = "," + rest if rest else rest
        at = 44 * index
        paths.append(f'["R","{hashes[at + 44 : at + 87]}"]{rest}')
        paths.append(f'["L","{hashes[at : at + 43]}"]{rest}')
    if len(level) % 2:  # an odd node at the end rises as it is
        paths.append(above[-1])
    return paths


def signed_message(root: bytes) -> bytes:
    """What is signed: label ‖ 0x00 ‖ root."""
    return RECEIPTS_LABEL + b"\x00" + root


def verify(receipt: Receipt, public: bytes) -> None:
    """Raise SignatureInvalid unless the pinned key `public` signed this receipt."""
    if receipt.key_id != key_id(public):
        raise SignatureInvalid("The receipt names another key.")
    root = merkle.root_from_path(merkle.leaf_hash(receipt.leaf.canonical()), receipt.path)
    verify_signature(public, receipt.signature, signed_message(root))


def _path(value: object) -> tuple[merkle.Step, ...]:
    """The steps of a receipt's `path`."""
    if not isinstance(value, list) or len(value) > limits.RECEIPT_PATH_STEPS_MAX:
        raise Malformed(f"A receipt's path is a list of at most {limits.RECEIPT_PATH_STEPS_MAX} steps.")
    steps: list[merkle.Step] = []
    for step in value:
        match step:
            case ["L" | "R" as side, str(sibling)]:
                steps.append((side, b64decode(sibling, length=_DIGEST_BYTES)))
            case _:
                raise Malformed('A step of a receipt\'s path is "L" or "R" and a hash.')
    return tuple(steps)
