"""Which ballots there are: what the desk published, believed only with the desk's signature on it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ballot import document, handoff
from ballot.encoding import Malformed, b64decode, strict_json
from ballot.limits import OBJECT_BYTES_MAX, SHARDS_MAX
from ballot.suite import VERIFY_KEY_BYTES, SignatureInvalid

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class PublishedBallot:
    """A ballot to serve: its name, the digest that voters signed, and its shards."""

    id: str
    definition_sha256: bytes
    shards: int

    @property
    def votes(self) -> dict[str, int]:
        """The shard of each votes stream."""
        return {handoff.votes_key(self.id, shard): shard for shard in range(self.shards)}

    @property
    def attempts(self) -> dict[str, int]:
        """The shard of each attempts stream."""
        return {handoff.attempts_key(self.id, shard): shard for shard in range(self.shards)}


def read(ballot: str, published: bytes, *, pinned: bytes) -> PublishedBallot:
    """The ballot in its published form; Malformed or SignatureInvalid unless the desk signed it.

    `pinned` is the desk's public key from our own disk: the one in the queue proves nothing.
    """
    value = strict_json(published, bytes_max=OBJECT_BYTES_MAX)
    signed = document.verify(_binary(value, "document"), _binary(value, "document_signature"), pinned)
    shards = value.get("shards")
    if type(shards) is not int or not 1 <= shards <= SHARDS_MAX:
        raise Malformed("The published number of shards is not one.")
    if signed.definition.id != ballot:
        raise Malformed("The published document is another ballot's.")
    return PublishedBallot(ballot, signed.definition.sha256, shards)


def pinned_desk_key(path: "Path") -> bytes | None:
    """The desk's public key in `path`; None if there is none, Malformed if the file is odd."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    return _binary(strict_json(data, bytes_max=OBJECT_BYTES_MAX), "public_key", VERIFY_KEY_BYTES)


class Catalogue:
    """The ballots served so far, refreshed from what is published.

    A served ballot stays as it is; a refused one is looked at again each time, for the fault may have been
    in our pinned key.
    """

    def __init__(self, pinned_key_file: "Path") -> None:
        self._pinned_key_file = pinned_key_file
        self._served: dict[str, PublishedBallot] = {}
        self._refused: dict[str, str] = {}
        self._unpinned = False

    @property
    def ballots(self) -> Mapping[str, PublishedBallot]:
        """The ballots that may be served, by name."""
        return self._served

    @property
    def unpinned(self) -> bool:
        """Whether something is published that nobody here can judge, for lack of the desk's key."""
        return self._unpinned

    def refresh(self, published: Mapping[str, bytes]) -> tuple[list[str], dict[str, str]]:
        """Take in what is published; the ballots that came, and what is newly wrong with refused ones."""
        came: list[str] = []
        refused: dict[str, str] = {}
        self._unpinned = False
        waiting = {name: text for name, text in published.items() if name not in self._served}
        for name, text in waiting.items():
            try:
                pinned = pinned_desk_key(self._pinned_key_file)
                self._unpinned = pinned is None
                if pinned is None:
                    break
                self._served[name] = read(name, text, pinned=pinned)
                came.append(name)
            except (Malformed, SignatureInvalid) as error:
                refused[name] = str(error)
        new = {name: why for name, why in refused.items() if self._refused.get(name) != why}
        self._refused = refused
        return came, new


def _binary(value: Mapping[str, object], name: str, length: int | None = None) -> bytes:
    text = value.get(name)
    if not isinstance(text, str):
        raise Malformed(f"The field {name} is not text.")
    return b64decode(text, length=length)
