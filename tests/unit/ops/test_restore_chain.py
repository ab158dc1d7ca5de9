"""Which backups make up a moment, across restores, gaps and lost files; and what would be lost."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING

import click
import pytest

from ops.backup import drill_loss
from ops.backup.catalogue import Entry
from ops.backup.drill_loss import Holding
from ops.backup.restore_chain import (
    BEYOND,
    Restored,
    choose,
    lsn_of,
    restores,
    segment_number,
    size_of_segments,
)
from ops.backup.restore_unpacking import Stream, unpack
from ops.backup.sealed_file import DoesNotOpen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ops.backup.catalogue import Kind

MINUTE = 60_000_000


def lsn(segment: int, offset: int = 0) -> str:
    """A place in the WAL."""
    position = segment * (16 << 20) + offset
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def base(
    minute: int, segment: int, *, parent: Entry | None = None, timeline: int = 1, verified: bool | None = True
) -> Entry:
    """A base backup made at that minute, within one segment."""
    kind: Kind = "full" if parent is None else "incremental"
    return Entry(
        id=f"20250701T09{minute:02d}00Z-{kind}",
        kind=kind,
        file="",
        bytes=1,
        sha256="",
        key_id="",
        started=minute * MINUTE,
        ended=minute * MINUTE + 1,
        parent=None if parent is None else parent.id,
        start_lsn=lsn(segment, 40),
        end_lsn=lsn(segment, 400),
        timeline=timeline,
        verified=verified,
    )


def wal(minute: int, segment: int, timeline: int = 1) -> Entry:
    """A segment that was full and sealed at that minute."""
    name = f"{timeline:08X}{segment >> 8:08X}{segment & 255:08X}"
    identity = f"20250701T09{minute:02d}00Z-wal-{name}"
    at = minute * MINUTE
    return Entry(identity, "wal", "", 1, "", "", at, at + 1, segment=name)


def test_the_newest_state_takes_the_chain_and_all_wal_after_it() -> None:
    """Full, increment, and every segment from the increment's own on."""
    full = base(0, 10)
    added = base(10, 20, parent=full)
    segments = [wal(minute, number) for minute, number in ((1, 10), (9, 19), (11, 20), (12, 21), (13, 22))]
    chain = choose([full, added, *segments], (), what="voterdb")
    assert chain.bases == (full, added)
    assert [segment_number(each.segment or "") for each in chain.wal] == [20, 21, 22]
    assert (chain.next_segment, chain.reaches, chain.gap, chain.more) == (23, 13 * MINUTE, None, ())


def test_a_moment_takes_the_newest_base_before_it_and_little_wal_after_it() -> None:
    """The base must have ended by then; two segments beyond the one that shows the moment are enough."""
    full = base(0, 10)
    added = base(10, 20, parent=full)
    segments = [wal(minute, minute + 10) for minute in range(30)]
    chain = choose([full, added, *segments], (), what="voterdb", at=5 * MINUTE)
    assert chain.bases == (full,)
    assert [segment_number(each.segment or "") for each in chain.wal] == [*range(10, 19)]
    assert [segment_number(each.segment or "") for each in chain.more] == [*range(19, 40)]
    assert chain.next_segment == 40


def test_wal_that_was_sealed_late_stands_ready_behind_what_should_be_enough() -> None:
    """Ten segments sealed at once say nothing of when their commits were: none of them is left out."""
    full = base(0, 10)
    chain = choose([full, *(wal(20, number) for number in range(11, 21))], (), what="voterdb", at=5 * MINUTE)
    assert [segment_number(each.segment or "") for each in (*chain.wal, *chain.more)] == [*range(11, 21)]
    assert len(chain.wal) == BEYOND + 1


def test_wal_that_cannot_be_used_is_a_gap_and_another_copy_of_it_closes_the_gap() -> None:
    """Whether the file or the key is missing, also where nothing follows; what failed is the last choice."""
    full, before, lost = base(0, 10), wal(1, 11), wal(2, 12)
    chain = choose([full, before, lost], (), what="x", flaw=lambda each: "is lost" if each is lost else None)
    assert (chain.wal, chain.gap) == ((before,), f"The WAL segment {lost.segment} () is lost")
    assert chain.reaches == MINUTE
    copy = wal(3, 12)
    chain = choose(
        [full, before, copy, lost], (), what="x", flaw=lambda each: "is lost" if each is lost else None
    )
    assert (chain.wal, chain.gap) == ((before, copy), None)
    proven = replace(wal(1, 12), verified=True)
    failed = replace(wal(4, 12), verified=False)
    assert choose([full, before, proven, copy, failed], (), what="x").wal == (before, proven)
    assert choose([full, before, failed], (), what="x").wal == (before, failed)


def test_segments_of_another_size_are_put_in_order() -> None:
    """The list says how large they are: `initdb --wal-segsize=64`, 64 of them in a log."""
    size = 64 << 20
    names = [f"{1:08X}{number // 64:08X}{number % 64:08X}" for number in range(62, 67)]
    places = [lsn_of(name, size) for name in names]
    full = replace(base(0, 0), start_lsn=places[0][0], end_lsn=places[0][0])
    sealed = [
        replace(wal(minute, 0), id=name, segment=name, start_lsn=at[0], end_lsn=at[1])
        for minute, (name, at) in enumerate(zip(names, places, strict=True))
    ]
    chain = choose([full, *sealed], (), what="voterdb")
    assert ([each.segment for each in chain.wal], chain.gap) == (names, None)
    assert (chain.segment_bytes, chain.next_segment) == (size, 67)
    assert size_of_segments(places[0][0], names[0]) == size
    assert size_of_segments("0/4000028", "000000010000000000000004") == 16 << 20
    assert size_of_segments("5/28", "000000010000000500000000") is None  # any size would do


def test_a_backup_that_failed_its_verification_is_passed_over_unless_named() -> None:
    """The one before it is taken instead, with more WAL."""
    full = base(0, 10)
    bad = base(10, 20, verified=False)
    assert choose([full, bad], (), what="voterdb").bases == (full,)
    assert choose([full, bad], (), what="voterdb", base=bad.id).bases == (bad,)
    with pytest.raises(click.ClickException, match="has failed its verification"):
        choose([bad], (), what="voterdb")


def test_a_missing_increment_is_named() -> None:
    """And so is the way out."""
    full = base(0, 10)
    lost = base(5, 15, parent=full)
    last = base(10, 20, parent=lost)
    with pytest.raises(click.ClickException, match=f"{lost.id}, which is missing"):
        choose([full, last], (), what="voterdb")
    assert choose([full, last], (), what="voterdb", base=full.id).bases == (full,)


def test_a_gap_in_the_wal_is_named_and_nothing_after_it_is_taken() -> None:
    """What comes before the base's end is in the base, so that only what follows must be there."""
    full = base(0, 10)
    segments = [wal(minute, minute + 10) for minute in (1, 2, 4, 5)]
    chain = choose([full, *segments], (), what="voterdb")
    assert chain.gap == "The WAL segment 00000001000000000000000D is missing"
    assert chain.reaches == 2 * MINUTE
    assert [segment_number(each.segment or "") for each in chain.wal] == [11, 12]


def test_after_a_restore_the_timeline_that_was_live_is_followed() -> None:
    """Later backups of the time that was given up are no past of the new one, but of their own they are."""
    full = base(0, 10)
    given_up = base(10, 20)
    old = [wal(minute, minute + 10) for minute in range(1, 15)]
    back = Restored(20 * MINUTE, 2, f"1\t{lsn(15, 100)}\tno reason\n")
    new = [wal(21, 15, timeline=2), wal(22, 16, timeline=2)]
    there = [full, given_up, *old, *new]

    now = choose(there, (back,), what="voterdb")
    assert (now.bases, now.timeline) == ((full,), 2)
    assert [each.segment for each in now.wal][-2:] == ["00000002000000000000000F", "000000020000000000000010"]
    assert [segment_number(each.segment or "") for each in now.wal] == [*range(11, 17)]
    assert now.histories == {"00000002.history": back.history}

    then = choose(there, (back,), what="voterdb", at=12 * MINUTE)
    assert (then.bases, then.timeline) == ((given_up,), 1)

    after = base(30, 17, timeline=2)
    assert choose([*there, after], (back,), what="voterdb").bases == (after,)


def test_a_later_timeline_that_nothing_explains_is_not_passed_over() -> None:
    """Its WAL may be what was committed since a restore: whoever takes the older one says so."""
    full = base(0, 10)
    there = [full, wal(1, 11), wal(2, 11, timeline=2)]
    with pytest.raises(click.ClickException, match="WAL of the timeline 2, and nothing tells"):
        choose(there, (), what="voterdb")
    assert choose(there, (), what="voterdb", base=full.id).timeline == 1
    assert choose(there, (), what="voterdb", at=2 * MINUTE).timeline == 1
    back = Restored(2 * MINUTE, 2, f"1\t{lsn(11, 100)}\tno reason\n")
    assert choose(there, (back,), what="voterdb").timeline == 2


def test_lines_that_tell_of_no_restore_are_passed_over() -> None:
    """A damaged line of the list costs a timeline, never the restore."""
    good = {"fact": "restored", "id": "x", "at": "2025-07-01T09:00:00Z", "timeline": 2, "history": ""}
    assert [each.timeline for each in restores([{"fact": "made"}, {**good, "timeline": "x"}, good])] == [2]


def test_without_any_backup_or_before_the_first_it_is_said() -> None:
    """One plain sentence each."""
    with pytest.raises(click.ClickException, match="There is no backup of userdb here"):
        choose([wal(1, 1)], (), what="userdb")
    with pytest.raises(click.ClickException, match="nothing earlier can be restored"):
        choose([base(5, 1)], (), what="userdb", at=4 * MINUTE)
    with pytest.raises(click.ClickException, match="no full or incremental backup of userdb called x"):
        choose([base(5, 1)], (), what="userdb", base="x")


def _tar(*members: tuple[str, bytes | None, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            info.size = len(content or b"")
            info.linkname = "/etc/passwd"
            tar.addfile(info, io.BytesIO(content or b""))
    return out.getvalue()


@pytest.mark.parametrize(
    "member",
    [
        ("../outside", b"x", tarfile.REGTYPE),
        ("/absolute", b"x", tarfile.REGTYPE),
        ("link", None, tarfile.SYMTYPE),
        ("hard", None, tarfile.LNKTYPE),
        ("pipe", None, tarfile.FIFOTYPE),
    ],
    ids=["above", "absolute", "symlink", "hard link", "pipe"],
)
def test_nothing_but_files_below_the_place_is_unpacked(
    tmp_path: Path, member: tuple[str, bytes | None, bytes]
) -> None:
    """A backup that holds a way out of its own directory is not one of ours."""
    content = _tar(("fine/file", b"content", tarfile.REGTYPE), member)
    with pytest.raises(DoesNotOpen, match="not one of ours"):
        unpack(Stream(iter([content])), tmp_path / "into")
    assert not (tmp_path / "outside").exists()


def test_the_end_of_a_file_is_proven_even_behind_the_archive(tmp_path: Path) -> None:
    """What comes after the tar's own end is read too, so that a cut there is noticed."""
    read = []

    def content() -> Iterator[bytes]:
        for number, block in enumerate([_tar(("file", b"content", tarfile.REGTYPE)), bytes(512), bytes(512)]):
            read.append(number)
            yield block

    assert unpack(Stream(content()), tmp_path / "into") == len(b"content")
    assert (tmp_path / "into" / "file").read_bytes() == b"content"
    assert read == [0, 1, 2]


def test_what_would_be_lost_is_what_was_accepted_and_is_not_restored() -> None:
    """By ballot; one that no backup knows is lost whole."""
    living = {"a": Holding(10, 9, 1_000_000), "b": Holding(4, 4, 2_000_000)}
    rows = drill_loss.lost(living, {"a": Holding(7, 7, 500_000)})
    assert [(row["ballot"], row["lost"]) for row in rows] == [("a", 3), ("b", 4)]
    said = drill_loss.as_text(rows)
    assert "a: 3 of 10 accepted votes (stored 7 of 9; newest stored 1970-01-01T00:00:00.500000Z" in said


def test_a_drill_fails_for_a_ballot_that_is_nowhere_and_for_more_lost_than_may_be() -> None:
    """By default for any vote that every backup should have; with a number, for more than that."""
    living = {"a": Holding(10, 9, 1, settled=6), "b": Holding(4, 4, 1, settled=4)}
    rows = drill_loss.lost(living, {"a": Holding(7, 7, 1, settled=6)})
    assert drill_loss.faults(rows, 0, None) == ["The living ballot b is not in what was restored."]
    assert len(drill_loss.faults(rows, 0, 3)) == 1
    assert "a: 3 votes would be lost, more than 2." in drill_loss.faults(rows, 0, 2)
    rows = drill_loss.lost({"a": living["a"]}, {"a": Holding(7, 7, 1, settled=5)})
    (fault,) = drill_loss.faults(rows, 0, None)
    assert fault.startswith("a: 1 stored votes would be lost")
