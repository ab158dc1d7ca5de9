"""Where voters come from: each device from a loopback address of its own, as it has one in the real world.

An edge slows down who tries many wrong codes: from one address a whole electorate's would be too many. Out
of 127.0.1.0 to 127.0.255.255: those of the overlays begin after that, the monitors are at 127.0.0.1.
"""

import ipaddress
from typing import Final

FIRST: Final = int(ipaddress.IPv4Address("127.0.1.0"))
ADDRESSES: Final = 255 * 256


def of_device(number: int) -> str:
    """The address of device `number`; more devices than there are addresses share them."""
    return str(ipaddress.IPv4Address(FIRST + number % ADDRESSES))


def are_possible(host: str) -> bool:
    """Whether a server at `host` is reached over the loopback device, from any of its addresses."""
    try:
        return ipaddress.IPv4Address(host).is_loopback
    except ValueError:
        return False
