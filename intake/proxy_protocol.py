"""What a proxy of ours says before the first byte of a connection: for whom it was opened.

HAProxy's PROXY protocol, versions 1 and 2, as a receiver that requires it. Bytes go in as they arrive; the
parser never looks past the header's end, keeps at most `HEADER_BYTES_MAX` bytes, and raises nothing but
`ProxyRefused`.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

V1_BYTES_MAX: Final = 107
"""The longest line, its CRLF included."""

V2_FIXED_BYTES: Final = 16
HEADER_BYTES_MAX: Final = 536
"""Addresses and the additions of known proxies fit; they send no more, so that it fits one packet."""

SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_V1_START: Final = b"PROXY "
_END: Final = b"\r\n"
_PORT: Final = "(?:0|[1-9][0-9]{0,4})"
_V1_LINE: Final = re.compile(rf"PROXY (TCP[46]) ([0-9a-fA-F:.]+) ([0-9a-fA-F:.]+) ({_PORT}) ({_PORT})")
_V1_UNKNOWN: Final = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?")
_PORT_MAX: Final = 65_535

_VERSION_2: Final = 2
_LOCAL: Final = 0
_PROXY: Final = 1
_FAMILY_MAX: Final = 3
_TRANSPORT_MAX: Final = 2
_ADDRESS_BYTES: Final = {0x11: 4, 0x21: 16}
"""TCP over IPv4 and over IPv6: of anything else that is valid, the peer's own address is recorded."""

_ADDRESSES_BYTES: Final = {0x11: 12, 0x12: 12, 0x21: 36, 0x22: 36, 0x31: 216, 0x32: 216}
_ADDITION_FIXED_BYTES: Final = 3
_CRC32C: Final = 0x03
_CRC_BYTES: Final = 4


class ProxyRefused(Exception):  # noqa: N818  # as Rejected: what it says, not what it is
    """The connection does not begin with a header of the protocol: it is closed at once."""


@dataclass(frozen=True, slots=True)
class Header:
    """A whole header: the client's address (none: the peer speaks for itself), and what follows it."""

    address: str | None
    rest: bytes


class Prologue:
    """The header of one connection."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen = b""

    def feed(self, data: bytes) -> Header | None:
        """The header, once `data` completes it; until then all of `data` belongs to it."""
        self._seen += data
        if self._seen.startswith(_V1_START):
            return self._line()
        if self._seen.startswith(SIGNATURE):
            return self._binary()
        if _V1_START.startswith(self._seen) or SIGNATURE.startswith(self._seen):
            return None
        raise ProxyRefused("no header")

    def _line(self) -> Header | None:
        """Version 1: one line of text."""
        line, end, rest = self._seen[:V1_BYTES_MAX].partition(_END)
        if not end:
            if len(self._seen) >= V1_BYTES_MAX:
                raise ProxyRefused("line too long")
            return None
        rest = self._seen[len(line) + len(_END) :]
        if _V1_UNKNOWN.fullmatch(line):
            return Header(None, rest)
        return Header(_named_in(line), rest)

    def _binary(self) -> Header | None:
        """Version 2: sixteen bytes that say how long the rest is."""
        seen = self._seen
        if len(seen) < V2_FIXED_BYTES:
            return None
        version, command = divmod(seen[12], 16)
        length = V2_FIXED_BYTES + int.from_bytes(seen[14:16], "big")
        if version != _VERSION_2 or command not in {_LOCAL, _PROXY}:
            raise ProxyRefused("unknown version or command")
        if length > HEADER_BYTES_MAX:
            raise ProxyRefused("header too long")
        if len(seen) < length:
            return None
        header, rest = seen[:length], seen[length:]
        if command == _LOCAL:
            return Header(None, rest)
        return Header(_named_by(header), rest)


def _named_in(line: bytes) -> str:
    """The source address of a version 1 line."""
    match = _V1_LINE.fullmatch(line.decode("latin-1"))
    if match is None:
        raise ProxyRefused("no such line")
    family, source, destination, *ports = match.groups()
    kind = ipaddress.IPv4Address if family == "TCP4" else ipaddress.IPv6Address
    try:
        address, _ = kind(source), kind(destination)
    except ValueError:
        raise ProxyRefused("no such address") from None
    if any(int(port) > _PORT_MAX for port in ports):
        raise ProxyRefused("no such port")
    return str(address)


def _named_by(header: bytes) -> str | None:
    """The source address of a whole version 2 header that speaks for another."""
    family, transport = divmod(header[13], 16)
    if family > _FAMILY_MAX or transport > _TRANSPORT_MAX:
        raise ProxyRefused("unknown family")
    addresses_end = V2_FIXED_BYTES + _ADDRESSES_BYTES.get(header[13], 0)
    if len(header) < addresses_end:
        raise ProxyRefused("addresses missing")
    if header[13] in _ADDRESSES_BYTES:
        _check_additions(header, addresses_end)
    size = _ADDRESS_BYTES.get(header[13])
    if size is None:
        return None
    return str(ipaddress.ip_address(header[V2_FIXED_BYTES : V2_FIXED_BYTES + size]))


def _check_additions(header: bytes, start: int) -> None:
    """Skip the type-length-value additions; a checksum among them must be that of the header."""
    while start < len(header):
        value_start = start + _ADDITION_FIXED_BYTES
        end = value_start + int.from_bytes(header[start + 1 : value_start], "big")
        if end > len(header) or value_start > len(header):
            raise ProxyRefused("addition cut short")
        if header[start] == _CRC32C:
            blank = header[:value_start] + bytes(_CRC_BYTES) + header[end:]
            if header[value_start:end] != crc32c(blank).to_bytes(_CRC_BYTES, "big"):
                raise ProxyRefused("wrong checksum")
        start = end


def _crc_table() -> tuple[int, ...]:
    """The reflected Castagnoli polynomial's remainders of one byte each."""
    table = []
    for byte in range(256):
        remainder = byte
        for _ in range(8):
            remainder = remainder >> 1 ^ (0x82F63B78 if remainder & 1 else 0)
        table.append(remainder)
    return tuple(table)


_CRC_TABLE: Final = _crc_table()


def crc32c(data: bytes) -> int:
    """The CRC-32C of a few bytes."""
    remainder = 0xFFFFFFFF
    for byte in data:
        remainder = _CRC_TABLE[(remainder ^ byte) & 0xFF] ^ remainder >> 8
    return remainder ^ 0xFFFFFFFF
