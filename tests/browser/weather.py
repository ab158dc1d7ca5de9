"""A network that is slow or gone, between two sockets of one machine."""

import asyncio
from dataclasses import dataclass
from typing import Final

PACKET_BYTES: Final = 1_400


@dataclass(frozen=True, slots=True)
class Weather:
    """The network between the two: nothing in the way, unless told otherwise."""

    bytes_per_s: float = float("inf")
    """In either direction, for all connections together."""
    round_trip_s: float = 0.0
    handshakes: int = 0
    """Round trips before a new connection carries a request: TCP takes one, TLS 1.3 another."""
    gone: bool = False
    """Every new connection is reset; those that are open are for `cut`."""


@dataclass
class Link:
    """One direction of the network: packets leave one after the other, and arrive half a round trip later."""

    weather: Weather
    free_at: float = 0.0

    async def carry(self, data: bytes, to: asyncio.StreamWriter) -> None:
        """Return when all of it has arrived at `to`."""
        if self.weather == Weather():
            to.write(data)
            await to.drain()
            return
        loop = asyncio.get_running_loop()
        for start in range(0, len(data), PACKET_BYTES):
            packet = data[start : start + PACKET_BYTES]
            self.free_at = max(self.free_at, loop.time()) + len(packet) / self.weather.bytes_per_s
            await asyncio.sleep(self.free_at - loop.time())
            loop.call_at(self.free_at + self.weather.round_trip_s / 2, to.write, packet)
        await asyncio.sleep(self.free_at + self.weather.round_trip_s / 2 - loop.time())
        await to.drain()
