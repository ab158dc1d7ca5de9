"""An export is believed only as the desk signed it: every byte that is counted is a byte that was hashed.

The votes are hashed in the same pass that opens them. A pass of its own beforehand would leave a moment in
which the file could change between checking and counting; so instead nothing of the count is shown or written
before `check_votes` has compared what was read with what the desk signed. Processes that open votes read
them again, and open them only if they have the digest of the bytes that were hashed here.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import click

from ballot import document, export_file, limits, signed
from ballot.document import BallotDocument
from ballot.encoding import Malformed
from ballot.export_file import Manifest
from ballot.suite import SEAL_OVERHEAD_BYTES, SignatureInvalid, key_id
from tally.count import SealedVote


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some lines of an export, not looked at yet: `line` is the number of the first, `path` for messages."""

    path: str
    line: int
    line_bytes: int
    lines: bytes = field(repr=False)
    offset: int | None
    """Where in the file they are; None for one that can be read only once."""

    def __len__(self) -> int:
        """How many votes it has; a line that was cut off is one."""
        return (len(self.lines) + self.line_bytes - 1) // self.line_bytes

    def votes(self) -> list[SealedVote]:
        """Take the lines apart; the first that is no sealed vote ends it."""
        found = []
        for place in range(len(self)):
            start = place * self.line_bytes
            try:
                bind, sealed = export_file.parse_vote_line(self.lines[start : start + self.line_bytes])
            except Malformed as fault:
                raise click.ClickException(f"{self.path}, line {self.line + place}: {fault}") from None
            found.append(SealedVote(self.line + place, bind, sealed))
        return found

    def to_send(self) -> "Chunk | Reread":
        """What another process needs to have the same lines, as little as there can be."""
        if self.offset is None:
            return self
        digest = hashlib.sha256(self.lines).digest()
        return Reread(self.path, self.line, self.line_bytes, self.offset, len(self.lines), digest)


@dataclass(frozen=True, slots=True)
class Reread:
    """A chunk that another process reads again, no pipe carrying it; the digest says that it is the same."""

    path: str
    line: int
    line_bytes: int
    offset: int
    size_bytes: int
    sha256: bytes

    def votes(self) -> list[SealedVote]:
        """Read and take apart exactly the bytes that were hashed, or raise."""
        try:
            with Path(self.path).open("rb", buffering=0) as file:
                lines = os.pread(file.fileno(), self.size_bytes, self.offset)
        except OSError as fault:
            raise click.ClickException(f"{self.path} cannot be read: {fault.strerror}") from None
        if hashlib.sha256(lines).digest() != self.sha256:
            raise click.ClickException(f"{self.path} changed while its votes were counted")
        return Chunk(self.path, self.line, self.line_bytes, lines, self.offset).votes()


class SealedExport:
    """An export whose manifest and ballot document are the desk's; its votes are read once, by `chunks`."""

    def __init__(self, file: BinaryIO, path: Path, manifest: Manifest, page: BallotDocument) -> None:
        self.manifest = manifest
        self.page = page
        self._file = file
        self._path = path
        self._hash = hashlib.sha256()
        self._read = 0
        self._again = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        self._begin = file.tell() if self._again else 0
        sealed_bytes = SEAL_OVERHEAD_BYTES + page.padded_size
        self._line_bytes = len(export_file.vote_line(bytes(export_file.BIND_BYTES), bytes(sealed_bytes)))

    def chunks(self, votes: int) -> Iterator[Chunk]:
        """Read so many votes at a time, as they stand in the file; memory does not grow with their number."""
        # One line more than promised is read, so that a surplus shows.
        while (wanted := min(votes, self.manifest.votes + 1 - self._read)) > 0:
            lines = self._file.read(wanted * self._line_bytes)
            if not lines:
                return
            self._hash.update(lines)
            # The manifest is line 1.
            offset = self._begin + self._read * self._line_bytes if self._again else None
            chunk = Chunk(str(self._path), self._read + 2, self._line_bytes, lines, offset)
            self._read += len(chunk)
            yield chunk

    def check_votes(self) -> None:
        """Compare what was read with what the desk signed; before this, nothing is known of the votes."""
        if self._read != self.manifest.votes:
            relation = "more" if self._read > self.manifest.votes else "fewer"
            raise click.ClickException(
                f"{self._path} holds {relation} votes than the {self.manifest.votes} that the desk signed"
            )
        if self._hash.digest() != self.manifest.votes_sha256:
            raise click.ClickException(f"the votes in {self._path} are not the ones that the desk signed")


@contextmanager
def open_export(path: Path, *, desk: bytes) -> Iterator[SealedExport]:
    """Open an export as far as it can be believed before its votes are read; `check_votes` does the rest.

    (1) The manifest's signature by the pinned `desk` key. (2) The ballot document's, by the same key. (3)
    Both are of one ballot, and the number entitled is one.
    """
    try:
        file = path.open("rb")
    except OSError as fault:
        raise click.ClickException(f"{path} cannot be read: {fault.strerror}") from None
    with file:
        line = file.readline(limits.MANIFEST_BYTES_MAX + len(b"\n"))
        try:
            manifest = export_file.parse_manifest(line)
            signed.verify_object(manifest.value, label=signed.EXPORT_LABEL, public=desk)  # (1)
            page = document.verify(manifest.document, manifest.document_signature, desk)  # (2)
        except SignatureInvalid:
            raise click.ClickException(f"{path} is not signed by the desk key {key_id(desk)}") from None
        except Malformed as fault:
            raise click.ClickException(f"{path} is not an export: {fault}") from None
        of_document = (page.definition.id, page.definition.sha256, manifest.books.entitled)
        if of_document != (manifest.ballot, manifest.definition_sha256, manifest.entitled):  # (3)
            raise click.ClickException(
                f"{path} contradicts itself: it carries the document of another ballot"
            )
        yield SealedExport(file, path, manifest, page)
