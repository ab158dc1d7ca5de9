"""A sealed backup: whoever lacks the private half reads nothing, and whoever alters it is found out.

One line of canonical JSON says what it is; then comes the data key, sealed to the public half (HPKE), then
the content in chunks, each an AES-256-GCM record under the data key. A chunk's nonce is its number (11
bytes) and whether it is the last (1 byte), and it is bound to the SHA-256 of the header line: the STREAM
construction. So a file that was cut, extended, rearranged or pieced together does not open. A chunk is
handed out only once it is proven, the missing end of a file only when it is reached: who restores uses
nothing before the last chunk was read. Both ways hold a few chunks in memory, however large the file.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from ballot.encoding import Malformed, canonical_json, canonical_object
from ballot.suite import (
    AEAD_KEY_BYTES,
    AEAD_OVERHEAD_BYTES,
    SEAL_OVERHEAD_BYTES,
    AeadKey,
    Unreadable,
    hpke_seal,
    key_id,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

VERSION: Final = 1
INFO: Final = b"strike-ballot/v1/backup"
CHUNK_BYTES: Final = 1 << 20
CHUNK_BYTES_MAX: Final = 16 << 20
HEADER_BYTES_MAX: Final = 1024
SEALED_KEY_BYTES: Final = AEAD_KEY_BYTES + SEAL_OVERHEAD_BYTES
NONCE_AT: Final = slice(9, 21)
COUNTER_BYTES: Final = 11


class DoesNotOpen(Exception):  # noqa: N818  # named for what it says of the file
    """The file is no backup of ours, is for another key, or is not as it was written; one plain sentence."""


class Readable(Protocol):
    """What is read: blocks of at most so many bytes, nothing at the end."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes."""


class Writable(Protocol):
    """What is written to."""

    def write(self, data: bytes, /) -> object:
        """Take all of `data`."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a sealed file says of itself in clear; the chunks are bound to every letter of it."""

    what: str
    kind: str
    id: str
    key_id: str
    chunk_bytes: int = CHUNK_BYTES

    @property
    def line(self) -> bytes:
        """The file's first line."""
        return canonical_json({"v": VERSION, **asdict(self)}) + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> Header:
        """The header in `line`; DoesNotOpen unless it is exactly one that we write."""
        try:
            fields: dict[str, Any] = canonical_object(line.removesuffix(b"\n"), bytes_max=HEADER_BYTES_MAX)
            if not line.endswith(b"\n") or fields.pop("v", None) != VERSION:
                raise DoesNotOpen("This is not a backup that this version can read.")
            header = cls(**fields)
        except (Malformed, TypeError) as error:
            raise DoesNotOpen("This is not a sealed backup.") from error
        texts = (header.what, header.kind, header.id, header.key_id)
        size = header.chunk_bytes
        if not all(isinstance(text, str) for text in texts) or type(size) is not int:
            raise DoesNotOpen("This is not a sealed backup.")
        if not 1 <= size <= CHUNK_BYTES_MAX:
            raise DoesNotOpen(f"This backup's chunks are not of 1 to {CHUNK_BYTES_MAX} bytes.")
        return header


class SealingWriter:
    """Seals what is written to it into `file`; nothing is a backup before `close()`.

    Leaving its block by an exception closes nothing: what was written then does not open. `data_key` lets the
    writer read back what it wrote, for as long as it lives; nobody else can without the private half.
    """

    def __init__(
        self,
        file: Writable,
        public_key: bytes,
        *,
        what: str,
        kind: str,
        backup_id: str,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        self.header: Final = Header(what, kind, backup_id, key_id(public_key), chunk_bytes)
        self._file = file
        key = secrets.token_bytes(AEAD_KEY_BYTES)
        self.data_key: Final = AeadKey(key)
        self.bytes_written = 0
        self._digest = hashlib.sha256()
        self._aad = hashlib.sha256(self.header.line).digest()
        self._waiting = bytearray()
        self._number = 0
        self._closed = False
        self._put(self.header.line)
        self._put(hpke_seal(public_key, key, info=INFO))

    @property
    def sha256(self) -> str:
        """SHA-256 of everything put into the file, in hex."""
        return self._digest.hexdigest()

    def write(self, data: bytes) -> int:
        """Take more of the content."""
        if self._closed:
            raise ValueError("This backup is closed.")
        self._waiting += data
        size = self.header.chunk_bytes
        whole = (max(len(self._waiting), 1) - 1) // size  # the last bytes wait: theirs may be the last chunk
        for start in range(0, whole * size, size):
            self._chunk(bytes(self._waiting[start : start + size]), last=False)
        del self._waiting[: whole * size]
        return len(data)

    def close(self) -> None:
        """Write the last chunk. The file itself stays open: its owner syncs and closes it."""
        if not self._closed:
            self._closed = True
            self._chunk(bytes(self._waiting), last=True)
            self._waiting.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()

    def _chunk(self, data: bytes, *, last: bool) -> None:
        self._put(self.data_key.seal(data, aad=self._aad, nonce=_nonce(self._number, last=last)))
        self._number += 1

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self.bytes_written += len(data)


def read_head(file: Readable) -> tuple[Header, bytes]:
    """The header of the sealed file, and its data key, sealed."""
    head = _exactly(file, 1)
    while not head.endswith(b"\n"):
        if len(head) > HEADER_BYTES_MAX:
            raise DoesNotOpen("This is not a sealed backup.")
        head += _exactly(file, 1)
    return Header.parse(head), _exactly(file, SEALED_KEY_BYTES)


def chunks(file: Readable, header: Header, data_key: AeadKey) -> Iterator[bytes]:
    """The content behind the head that was just read, chunk after proven chunk, up to the proven end."""
    aad = hashlib.sha256(header.line).digest()
    size = header.chunk_bytes + AEAD_OVERHEAD_BYTES
    number, sealed = 0, _at_most(file, size)
    while True:
        following = _at_most(file, size) if len(sealed) == size else b""
        last = not following
        if sealed[NONCE_AT] != _nonce(number, last=last):
            raise DoesNotOpen(f"This backup is cut short, extended or out of order at chunk {number}.")
        try:
            yield data_key.open(sealed, aad=aad)
        except Unreadable as error:
            raise DoesNotOpen(
                f"This backup is not as it was written: chunk {number} does not open."
            ) from error
        if last:
            return
        number, sealed = number + 1, following


def read_back(file: Readable, expected: Header, data_key: AeadKey) -> Iterator[bytes]:
    """The content of a file that its own writer reads again, with the data key it still holds."""
    header, _ = read_head(file)
    if header != expected:
        raise DoesNotOpen("This is another backup than the one that was written.")
    return chunks(file, header, data_key)


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(COUNTER_BYTES, "big") + bytes([last])


def _at_most(file: Readable, size: int) -> bytes:
    """Up to `size` bytes: fewer only at the end of the file."""
    parts, wanted = [], size
    while wanted and (data := file.read(wanted)):
        parts.append(data)
        wanted -= len(data)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _exactly(file: Readable, size: int) -> bytes:
    data = _at_most(file, size)
    if len(data) < size:
        raise DoesNotOpen("This backup is cut short before its content begins.")
    return data
