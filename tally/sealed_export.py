"""An export is believed only as the desk signed it: every byte that is counted is a byte that was hashed.

The votes are hashed in the same pass that opens them. A pass of its own beforehand would leave a moment in
which the file could change between checking and counting; so instead nothing of the count is shown or written
before `check_votes` has compared what was read with what the desk signed.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click

from ballot import document, export_file, limits, signed
from ballot.document import BallotDocument
from ballot.encoding import Malformed
from ballot.export_file import Manifest
from ballot.suite import SEAL_OVERHEAD_BYTES, SignatureInvalid, key_id
from tally.count import SealedVote


class SealedExport:
    """An export whose manifest and ballot document are the desk's; its votes are read once, by `votes`."""

    def __init__(self, file: BinaryIO, path: Path, manifest: Manifest, page: BallotDocument) -> None:
        self.manifest = manifest
        self.page = page
        self._file = file
        self._path = path
        self._hash = hashlib.sha256()
        self._read = 0
        sealed_bytes = SEAL_OVERHEAD_BYTES + page.padded_size
        self._line_bytes = len(export_file.vote_line(bytes(export_file.BIND_BYTES), bytes(sealed_bytes)))

    def votes(self) -> Iterator[SealedVote]:
        """Read the votes one after another; memory does not grow with their number."""
        # The manifest is line 1. One line more than promised is read, so that a surplus shows.
        for line_number in range(2, self.manifest.votes + 3):
            line = self._file.read(self._line_bytes)
            if not line:
                return
            self._hash.update(line)
            self._read += 1
            try:
                bind, sealed = export_file.parse_vote_line(line)
            except Malformed as fault:
                raise click.ClickException(f"{self._path}, line {line_number}: {fault}") from None
            yield SealedVote(line_number, bind, sealed)

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
