"""Whose request it is: the peer's address, or what a proxy of ours vouches for; never a forged one."""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

UNKNOWN = "0.0.0.0"  # noqa: S104  # recorded when a connection has no address of its own; nothing is bound to it
IPV6_NETWORK_BITS = 64


def client_address(peer: str | None, forwarded_for: Sequence[str], *, proxy_hops: int) -> str:
    """The client's address in canonical text.

    Each proxy appends the address it was called from, so with n proxies of ours the nth entry from the right
    is the last one that a proxy of ours wrote; what is left of it the client sent and is not believed.
    A header that is too short or holds no address there came past the proxies: then the peer is the client.
    """
    if proxy_hops > 0:
        entries = [entry.strip() for line in forwarded_for for entry in line.split(",")]
        if len(entries) >= proxy_hops:
            named = _canonical(entries[-proxy_hops])
            if named is not None:
                return named
    return _canonical(peer or "") or UNKNOWN


def throttle_key(address: str) -> str:
    """What is counted as one address: an IPv4 address, or the IPv6 network that one customer usually has."""
    if ":" not in address:
        return address
    return str(ipaddress.ip_network((address, IPV6_NETWORK_BITS), strict=False).network_address)


@lru_cache(maxsize=4_096)
def _canonical(text: str) -> str | None:
    """`text` as an address without zone or port, IPv4 written as IPv4; nothing if it is not one."""
    try:
        address = ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)
