"""Which primary of a Cluster holds which shard: 16,384 slots, each with an owner, as the Cluster tells it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from ballot import handoff
from intake.durability import information

Address = tuple[str, int]
"""Host and port."""

TRUST_SLOT: Final = key_slot(handoff.TRUST_KEY.encode())


def slot_of(ballot: str, shard: int) -> int:
    """The slot in which all keys of a shard are."""
    return key_slot(handoff.tag(ballot, shard).encode())


def name_of(address: Address) -> str:
    """The address as it is logged."""
    host, port = address
    return f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class Map:
    """The Cluster as one of its nodes told it; a primary without slots may be given some at any time."""

    epoch: int
    primaries: frozenset[Address]
    owners: list[Address | None]

    def moved(self, slot: int, owner: Address) -> None:
        """A node said where a slot is: it knows better than what we were told before."""
        self.owners[slot] = owner

    @property
    def deciding(self) -> frozenset[Address]:
        """The primaries that own slots."""
        return frozenset(owner for owner in self.owners if owner is not None)

    @property
    def whole(self) -> bool:
        """Whether every slot has an owner."""
        return None not in self.owners


def parse(info: bytes, shards: Sequence[Any], *, asked: Address, tls: bool) -> Map | None:
    """The answers to CLUSTER INFO and CLUSTER SHARDS; nothing from a node that sees no working Cluster."""
    state = information(info)
    if state.get("cluster_state") != "ok":
        return None
    owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
    primaries = set()
    for shard in map(_fields, shards):
        for node in map(_fields, shard["nodes"]):
            if node["role"] != b"master":
                continue
            address = _address(node, asked=asked, tls=tls)
            ranges = shard["slots"]
            if node["health"] == b"fail" and not ranges:
                continue  # what was a primary before another took its place
            primaries.add(address)
            for first, last in zip(ranges[::2], ranges[1::2], strict=True):
                owners[int(first) : int(last) + 1] = [address] * (int(last) - int(first) + 1)
    return Map(int(state.get("cluster_current_epoch", "0")), frozenset(primaries), owners)


def _fields(flat: Sequence[Any]) -> dict[str, Any]:
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


def _address(node: dict[str, Any], *, asked: Address, tls: bool) -> Address:
    host = next((node[name].decode() for name in ("endpoint", "ip") if node.get(name)), "")
    # A node that was told no name of its own is where we asked; "?" is how it says that it has none.
    return (asked[0] if host in {"", "?"} else host, int(node["tls-port"] if tls else node["port"]))
