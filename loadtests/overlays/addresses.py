"""Thousands of source addresses on one machine: drawn from a seed out of 127.0.0.0/8."""

import ipaddress
import random
from typing import Final

ADDRESSES: Final = 10_000
"""As many as attacked the NDP's leadership vote of 2012."""

NETWORK: Final = int(ipaddress.IPv4Address("127.0.0.0"))
FIRST, LAST = 1 << 16, (1 << 24) - 2
"""127.0.x.x is left to the voters, the monitor and everything else of the run."""


def drawn(seed: int, count: int = ADDRESSES, *, apart: str = "botnet") -> list[str]:
    """`count` different loopback addresses; the same for the same seed and purpose `apart`."""
    rng = random.Random(f"addresses/{apart}/{seed}")
    return [str(ipaddress.IPv4Address(NETWORK + place)) for place in rng.sample(range(FIRST, LAST), count)]
