"""Whose request it is: forged headers are never believed."""

import pytest

from intake.address import client_address, throttle_key


@pytest.mark.parametrize(
    ("peer", "forwarded", "hops", "expected"),
    [
        ("192.0.2.1", ["203.0.113.9"], 0, "192.0.2.1"),
        ("192.0.2.1", ["203.0.113.9"], 1, "203.0.113.9"),
        ("192.0.2.1", ["10.0.0.1, 203.0.113.9"], 1, "203.0.113.9"),
        ("192.0.2.1", ["10.0.0.1", "203.0.113.9"], 1, "203.0.113.9"),
        ("192.0.2.1", ["10.0.0.1, 203.0.113.9, 198.51.100.2"], 2, "203.0.113.9"),
        ("192.0.2.1", ["203.0.113.9"], 2, "192.0.2.1"),
        ("192.0.2.1", [], 1, "192.0.2.1"),
        ("192.0.2.1", ["203.0.113.9, nonsense"], 1, "192.0.2.1"),
        ("192.0.2.1", ["203.0.113.9, "], 1, "192.0.2.1"),
        ("192.0.2.1", ["[2001:db8::1]"], 1, "2001:db8::1"),
        ("::ffff:192.0.2.1", [], 0, "192.0.2.1"),
        ("fe80::1%eth0", [], 0, "fe80::1"),
        (None, [], 0, "0.0.0.0"),  # noqa: S104  # what is recorded when there is no address
    ],
)
def test_only_a_declared_proxy_is_believed(
    peer: str | None, forwarded: list[str], hops: int, expected: str
) -> None:
    """With n proxies the nth entry from the right counts; in every doubt the peer does."""
    assert client_address(peer, forwarded, proxy_hops=hops) == expected


def test_an_ipv6_customer_is_one_address() -> None:
    """A whole /64 is throttled as one; IPv4 addresses each on their own."""
    assert throttle_key("2001:db8:1:2:3::4") == throttle_key("2001:db8:1:2::9") == "2001:db8:1:2::"
    assert throttle_key("192.0.2.1") == "192.0.2.1"
