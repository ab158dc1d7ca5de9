"""The PROXY protocol: who a connection is for, however it arrives in pieces, and no other exception."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intake.proxy_protocol import (
    HEADER_BYTES_MAX,
    SIGNATURE,
    V1_BYTES_MAX,
    V2_FIXED_BYTES,
    Header,
    Prologue,
    ProxyRefused,
    crc32c,
)

IPV4 = ipaddress.IPv4Address("203.0.113.9").packed
IPV6 = ipaddress.IPv6Address("2001:db8::9").packed
PORTS = bytes((0xDB, 0xFC, 0x01, 0xBB))
TCP4 = IPV4 + IPV4 + PORTS


def v2(block: bytes, *, family: int = 0x11, command: int = 0x21, length: int | None = None) -> bytes:
    """Return a version 2 header around an address block."""
    declared = len(block) if length is None else length
    return SIGNATURE + bytes((command, family)) + declared.to_bytes(2, "big") + block


def addition(kind: int, value: bytes) -> bytes:
    """Return one type-length-value addition."""
    return bytes((kind,)) + len(value).to_bytes(2, "big") + value


def checked(block: bytes) -> bytes:
    """Return a header whose last addition is its own checksum."""
    blank = v2(block + addition(3, bytes(4)))
    return blank[:-4] + crc32c(blank).to_bytes(4, "big")


def fed_by_byte(data: bytes) -> list[Header | None]:
    """Return what a parser says after each byte."""
    prologue = Prologue()
    return [prologue.feed(data[place : place + 1]) for place in range(len(data))]


GOOD = {
    "text, IPv4": (b"PROXY TCP4 203.0.113.9 198.51.100.1 56324 443\r\n", "203.0.113.9"),
    "text, IPv6": (b"PROXY TCP6 2001:DB8::9 ::1 0 65535\r\n", "2001:db8::9"),
    "text, unknown": (b"PROXY UNKNOWN\r\n", None),
    "text, unknown and more": (b"PROXY UNKNOWN " + b"f" * 91 + b"\r\n", None),
    "IPv4": (v2(TCP4), "203.0.113.9"),
    "IPv6": (v2(IPV6 + IPV6 + PORTS, family=0x21), "2001:db8::9"),
    "with additions": (v2(TCP4 + addition(4, b"") + addition(0xE0, b"x" * 40)), "203.0.113.9"),
    "with a checksum": (checked(TCP4), "203.0.113.9"),
    "health check": (v2(b"", family=0, command=0x20), None),
    "health check with a block": (v2(b"\xff" * 30, family=0xFF, command=0x20), None),
    "unspecified": (v2(b"\x01\x02", family=0x00), None),
    "a file's socket": (v2(bytes(216), family=0x31), None),
    "datagrams": (v2(TCP4, family=0x12), None),
    "as long as may be": (
        v2(TCP4 + addition(4, bytes(HEADER_BYTES_MAX - V2_FIXED_BYTES - 15))),
        "203.0.113.9",
    ),
}

BAD = {
    "an HTTP request": b"GET / HTTP/1.1\r\n",
    "a TLS handshake": b"\x16\x03\x01\x02\x00\x01",
    "lower case": b"proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
    "no space": b"PROXYTCP4 ",
    "another family": b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
    "IPv6 as IPv4": b"PROXY TCP4 ::1 ::1 1 2\r\n",
    "IPv4 as IPv6": b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
    "an address too large": b"PROXY TCP4 256.1.1.1 1.2.3.4 1 2\r\n",
    "a zone": b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
    "a port too large": b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
    "a port with a leading zero": b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
    "two spaces": b"PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
    "only a line feed": b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n" + b"x" * 100,
    "unknown, with no space": b"PROXY UNKNOWNS\r\n",
    "never ending": b"PROXY UNKNOWN " + b"x" * 200,
    "ended a byte too late": b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
    "version 1 in binary": v2(TCP4, command=0x11),
    "an unknown command": v2(TCP4, command=0x22),
    "an unknown family": v2(TCP4, family=0x41),
    "an unknown transport": v2(TCP4, family=0x13),
    "half an address": v2(IPV4),
    "too long": v2(b"", length=HEADER_BYTES_MAX - V2_FIXED_BYTES + 1),
    "an addition cut short": v2(TCP4 + b"\x04\x00\x09x"),
    "an addition without a length": v2(TCP4 + b"\x04\x00"),
    "a wrong checksum": checked(TCP4)[:-1] + bytes((checked(TCP4)[-1] ^ 1,)),
    "a short checksum": v2(TCP4 + addition(3, b"\x00")),
}


def test_the_checksum_is_castagnoli_s() -> None:
    """The check value that is published with the polynomial."""
    assert crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize("name", GOOD)
def test_a_header_names_the_client_wherever_it_is_split(name: str) -> None:
    """Each byte on its own or all at once: the same address, and what follows is handed on untouched."""
    header, address = GOOD[name]
    at_once = Prologue().feed(header + b"GET /\r\n")
    found = fed_by_byte(header)

    assert at_once == Header(address, b"GET /\r\n")
    assert found == [None] * (len(header) - 1) + [Header(address, b"")]


@pytest.mark.parametrize("name", BAD)
def test_anything_else_is_refused(name: str) -> None:
    """At once, and byte by byte no later than the longest header."""
    with pytest.raises(ProxyRefused):
        Prologue().feed(BAD[name])
    with pytest.raises(ProxyRefused):
        fed_by_byte(BAD[name])


def test_the_bounds_are_the_protocol_s() -> None:
    """The longest line has 107 bytes, and a binary header says at most what one packet holds."""
    longest = b"PROXY UNKNOWN " + b"x" * (V1_BYTES_MAX - 16) + b"\r\n"
    assert len(longest) == V1_BYTES_MAX
    assert Prologue().feed(longest) == Header(None, b"")


addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
ports = st.integers(0, 65_535)


@given(addresses, ports, st.binary(max_size=300), st.integers(0, 400))
def test_what_a_proxy_writes_is_read_back(
    source: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, rest: bytes, split: int
) -> None:
    """Both versions, any address, any split: the same address and the same rest."""
    family = 0x11 if source.version == 4 else 0x21
    text = f"PROXY TCP{source.version} {source} {source} {port} {port}\r\n".encode()
    binary = v2(source.packed * 2 + port.to_bytes(2, "big") * 2, family=family)
    for header in (text, binary):
        prologue, at = Prologue(), min(split, len(header) - 1)
        assert prologue.feed(header[:at]) is None
        assert prologue.feed(header[at:] + rest) == Header(str(source), rest)


nearly = st.builds(
    lambda header, place, byte: header[:place] + byte + header[place + 1 :],
    st.sampled_from([header for header, _ in GOOD.values()]),
    st.integers(0, 60),
    st.binary(max_size=2),
)


@given(st.lists(st.one_of(st.binary(max_size=200), nearly), max_size=6))
def test_nothing_raises_anything_but_a_refusal(pieces: list[bytes]) -> None:
    """Whatever arrives, it is refused, complete, or still within the bound; the rest is the input's end."""
    prologue, seen = Prologue(), b""
    for piece in pieces:
        seen += piece
        try:
            found = prologue.feed(piece)
        except ProxyRefused:
            return
        if found is not None:
            assert seen.endswith(found.rest)
            assert len(seen) - len(found.rest) <= HEADER_BYTES_MAX
            return
    assert len(seen) < HEADER_BYTES_MAX
