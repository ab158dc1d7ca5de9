"""Sealed backup files: what was written comes back, and nothing else ever does."""

from __future__ import annotations

import io
import pickle
import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ballot.suite import AEAD_OVERHEAD_BYTES, AeadKey
from ops.backup.opening import BackupKey, open_sealed
from ops.backup.sealed_file import (
    SEALED_KEY_BYTES,
    DoesNotOpen,
    Header,
    SealingWriter,
    chunks,
    read_back,
    read_head,
)

KEY = BackupKey(b"k" * 32)
OTHER = BackupKey(b"o" * 32)
CHUNK = 64
SEALED_CHUNK = CHUNK + AEAD_OVERHEAD_BYTES


def sealed(content: bytes, *, backup_id: str = "one", pieces: int = 1_000, chunk_bytes: int = CHUNK) -> bytes:
    """Return `content` sealed, written in pieces of so many bytes."""
    file = io.BytesIO()
    with SealingWriter(
        file, KEY.public_key, what="voterdb", kind="full", backup_id=backup_id, chunk_bytes=chunk_bytes
    ) as writer:
        for start in range(0, len(content), pieces):
            writer.write(content[start : start + pieces])
    return file.getvalue()


def opened(data: bytes, key: BackupKey = KEY) -> bytes:
    """Return what the sealed file holds."""
    _, content = open_sealed(io.BytesIO(data), key)
    return b"".join(content)


def body_at(data: bytes) -> int:
    """Return where the first chunk begins."""
    return data.index(b"\n") + 1 + SEALED_KEY_BYTES


def parts(data: bytes) -> tuple[bytes, list[bytes]]:
    """Return head and chunks of a sealed file."""
    at = body_at(data)
    return data[:at], [data[start : start + SEALED_CHUNK] for start in range(at, len(data), SEALED_CHUNK)]


@given(content=st.binary(max_size=5 * CHUNK), pieces=st.integers(1, 3 * CHUNK))
@settings(max_examples=60, deadline=None)
def test_what_was_sealed_comes_back(content: bytes, pieces: int) -> None:
    """Whatever the content and however it was written, exactly it is read again."""
    assert opened(sealed(content, pieces=pieces)) == content


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1])
def test_chunks_end_where_they_should(size: int) -> None:
    """At each border there are as few chunks as hold the content, and one when there is none."""
    _, found = parts(sealed(b"x" * size))
    assert len(found) == max(1, -(-size // CHUNK))
    assert opened(sealed(b"x" * size)) == b"x" * size


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_changed_bit_is_found(data: st.DataObject) -> None:
    """Any one bit changed anywhere, in head, key or content, and the file does not open."""
    whole = bytearray(sealed(bytes(range(200))))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(DoesNotOpen):
        opened(bytes(whole))


@given(kept=st.integers(0, len(sealed(bytes(200))) - 1))
@settings(max_examples=100, deadline=None)
def test_a_file_cut_short_is_found(kept: int) -> None:
    """Cut anywhere, also between two chunks, the file does not open."""
    with pytest.raises(DoesNotOpen):
        opened(sealed(bytes(200))[:kept])


def test_a_file_cut_between_chunks_says_so() -> None:
    """The cut that leaves only whole chunks is named by the chunk that should not be the last."""
    head, found = parts(sealed(bytes(4 * CHUNK)))
    with pytest.raises(DoesNotOpen, match="at chunk 2"):
        opened(head + b"".join(found[:3]))


@given(extra=st.binary(min_size=1, max_size=2 * SEALED_CHUNK), size=st.integers(0, 3 * CHUNK))
@settings(max_examples=60, deadline=None)
def test_an_extended_file_is_found(extra: bytes, size: int) -> None:
    """Anything after the last chunk, and the file does not open."""
    with pytest.raises(DoesNotOpen):
        opened(sealed(bytes(size)) + extra)


def test_an_extension_with_its_own_chunks_is_found() -> None:
    """Also when what is added are genuine chunks of the same file."""
    head, found = parts(sealed(bytes(3 * CHUNK)))
    for extra in (found[0], found[-1], b"".join(found)):
        with pytest.raises(DoesNotOpen):
            opened(head + b"".join(found) + extra)


@given(order=st.permutations(range(5)))
@settings(max_examples=60, deadline=None)
def test_chunks_out_of_order_are_found(order: list[int]) -> None:
    """Chunks in any other order, and the file does not open."""
    head, found = parts(sealed(bytes(range(5)) * CHUNK))
    if order == sorted(order):
        assert opened(head + b"".join(found)) == bytes(range(5)) * CHUNK
        return
    with pytest.raises(DoesNotOpen):
        opened(head + b"".join(found[number] for number in order))


def test_a_missing_or_doubled_chunk_is_found() -> None:
    """A chunk left out or given twice, and the file does not open."""
    head, found = parts(sealed(bytes(range(5)) * CHUNK))
    for number in range(len(found)):
        for spoilt in (
            found[:number] + found[number + 1 :],
            [*found[:number], found[number], *found[number:]],
        ):
            with pytest.raises(DoesNotOpen):
                opened(head + b"".join(spoilt))


def test_a_chunk_of_another_backup_is_found() -> None:
    """Two backups sealed to one key cannot be pieced together, chunk by chunk or head with body."""
    head, found = parts(sealed(bytes(3 * CHUNK)))
    other_head, other = parts(sealed(bytes(3 * CHUNK)))
    for number in range(3):
        with pytest.raises(DoesNotOpen):
            opened(head + b"".join([*found[:number], other[number], *found[number + 1 :]]))
    with pytest.raises(DoesNotOpen):
        opened(other_head + b"".join(found))
    line, other_line = head.index(b"\n") + 1, other_head.index(b"\n") + 1
    with pytest.raises(DoesNotOpen):
        opened(head[:line] + other_head[other_line:] + b"".join(found))


def test_another_header_is_found() -> None:
    """A header that says something else of the same content does not open with it."""
    whole = sealed(b"content")
    line, rest = whole.split(b"\n", 1)
    for changed in (
        Header("userdb", "full", "one", KEY.key_id, CHUNK),
        Header("voterdb", "incremental", "one", KEY.key_id, CHUNK),
        Header("voterdb", "full", "two", KEY.key_id, CHUNK),
        Header("voterdb", "full", "one", KEY.key_id, CHUNK + 1),
    ):
        assert changed.line != line + b"\n"
        with pytest.raises(DoesNotOpen, match="chunk 0"):
            opened(changed.line + rest)


def test_another_key_is_named() -> None:
    """The wrong private half is refused by name, and so is a data key that is not the file's."""
    whole = sealed(b"content")
    with pytest.raises(DoesNotOpen, match=f"{KEY.key_id}.*{OTHER.key_id}"):
        opened(whole, OTHER)
    file = io.BytesIO(whole)
    header, _ = read_head(file)
    with pytest.raises(DoesNotOpen, match="chunk 0"):
        list(chunks(file, header, AeadKey(b"x" * 32)))


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\n",
        b"{}\n",
        b"[]\n",
        b"PGDMP" * 999,
        Header("voterdb", "full", "one", KEY.key_id, 0).line,
        Header("voterdb", "full", "one", KEY.key_id, 1 << 40).line,
        Header("voterdb", "full", "one", KEY.key_id).line.replace(b'"v":1', b'"v":2'),
        Header("voterdb", "full", "one", KEY.key_id).line.replace(b'"v":1', b'"v":1 '),
        b'{"chunk_bytes":true,"id":"a","key_id":"b","kind":"c","v":1,"what":"d"}\n',
        b'{"chunk_bytes":64,"id":1,"key_id":"b","kind":"c","v":1,"what":"d"}\n',
        b'{"chunk_bytes":64,"extra":1,"id":"a","key_id":"b","kind":"c","v":1,"what":"d"}\n',
    ],
)
def test_what_is_no_backup_is_refused(head: bytes) -> None:
    """A head that we would not write is refused in a sentence, with little read."""
    with pytest.raises(DoesNotOpen):
        opened(head + bytes(5_000))


def test_an_unfinished_file_does_not_open() -> None:
    """What a writer left behind by an exception is no backup."""
    file = io.BytesIO()
    writer = SealingWriter(file, KEY.public_key, what="voterdb", kind="full", backup_id="one", chunk_bytes=8)

    def stop_halfway() -> None:
        with writer:
            writer.write(bytes(100))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        stop_halfway()
    with pytest.raises(DoesNotOpen):
        opened(file.getvalue())


def test_nothing_of_the_content_shows() -> None:
    """A known text stands nowhere in the file."""
    secret = b"jane.doe@example.org"
    assert secret not in sealed(secret * 50)


def test_the_writer_reads_back_what_it_wrote() -> None:
    """With the data key in memory the writer proves its own file; size and digest are the file's."""
    file = io.BytesIO()
    with SealingWriter(file, KEY.public_key, what="queue", kind="queue", backup_id="q") as writer:
        writer.write(b"all of it")
    assert writer.bytes_written == len(file.getvalue())
    file.seek(0)
    assert b"".join(read_back(file, writer.header, writer.data_key)) == b"all of it"
    with pytest.raises(DoesNotOpen, match="another backup"):
        read_back(io.BytesIO(sealed(b"x")), writer.header, writer.data_key)


def test_memory_does_not_grow_with_the_file() -> None:
    """Forty megabytes pass both ways through less than ten."""
    piece, pieces = random.Random(1).randbytes(1 << 20), 40

    class Null:
        """Counts only."""

        def write(self, data: bytes) -> int:
            """Take it."""
            return len(data)

    tracemalloc.start()
    try:
        with SealingWriter(Null(), KEY.public_key, what="v", kind="full", backup_id="i") as writer:
            for _ in range(pieces):
                writer.write(piece)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()
    assert writer.bytes_written > pieces << 20


def test_the_private_half_shows_nowhere() -> None:
    """It prints as nothing, is not pickled, and is of 32 bytes."""
    assert repr(KEY) == "<BackupKey>"
    with pytest.raises(TypeError):
        pickle.dumps(KEY)
    with pytest.raises(ValueError, match="32 bytes"):
        BackupKey(b"short")
