"""Clocks that differ keep votes out, doubt set aside; a server that holds nothing keeps out only itself."""

from intake.clocks import Clocks, Reading


def reading(milliseconds: int, doubt: int = 0) -> Reading:
    """A clock that is so far ahead."""
    return Reading(milliseconds * 1_000, doubt * 1_000)


def test_a_reading_lies_half_way() -> None:
    """Half of the round trip is the doubt."""
    found = Reading.of(b"1700000000", b"500000", asked_s=10.0, answered_s=10.02)

    assert found == Reading(1_700_000_000_500_000 - 10_010_000, 10_000)


def test_two_deciding_clocks_apart_stop_both() -> None:
    """More than 50 ms apart nobody decides; within it, or again within it, both do."""
    clocks = Clocks()
    clocks.decide_by({"a", "b"})
    clocks.read("a", reading(0))
    clocks.read("b", reading(50))
    assert clocks.agree

    clocks.read("b", reading(51))
    assert not clocks.agree
    assert not clocks.fits("a")
    clocks.read("b", reading(51, doubt=2))
    assert clocks.fits("a")
    ahead = reading(2_000)
    clocks.read("b", ahead)
    clocks.forget("b", ahead)
    assert clocks.fits("a")


def test_only_ones_own_reading_is_forgotten() -> None:
    """A connection that ends late leaves what its successor to the same primary has read."""
    clocks = Clocks()
    clocks.decide_by({"a", "b"})
    clocks.read("a", reading(0))
    old, new = reading(2_000), reading(2_000)
    clocks.read("b", old)
    clocks.read("b", new)

    clocks.forget("b", old)
    clocks.forget("b", None)
    assert not clocks.agree
    clocks.forget("b", new)
    assert clocks.agree


def test_who_decides_nothing_keeps_nobody_else_out() -> None:
    """A new primary with a wrong clock is not used, and the others go on; until slots are its own."""
    clocks = Clocks()
    clocks.decide_by({"a"})
    clocks.read("a", reading(0))
    clocks.read("new", reading(2_000))
    assert clocks.fits("a")
    assert not clocks.fits("new")

    clocks.decide_by({"a", "new"})
    assert not clocks.fits("a")


def test_one_server_alone_is_its_own_measure() -> None:
    """Its clock may jump; there is nothing to compare it with."""
    clocks = Clocks()
    clocks.read("a", reading(0))
    clocks.read("a", reading(5_000))

    assert clocks.fits("a")
