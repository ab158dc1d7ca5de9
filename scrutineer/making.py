"""Makes one batch of codes out of rows of the roll: all that costs CPU, and nothing that needs a server.

It runs in a child process for a large issue and in the desk's own for a small one. A code leaves this module
only in `Made.rows`, which is a piece of the dispatch file.
"""

import csv
import hashlib
import io
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from ballot import code_series, merkle, receipt, register
from ballot.suite import keyed_digest
from runtime.home import Home
from scrutineer.spool import Drawn, pack
from scrutineer.voters import PeopleKeys

DISPATCH_COLUMNS = ("member_id", "channel", "destination", "code", "link")
#: A code is right for its voter's shard once in S draws; after 10,000 something else is wrong.
DRAWS_MAX = 10_000

#: Codes made side by side: enough for each kind of work to stay in the processor's cache, and no more.
STRETCH = 128

#: A voter who is to get a code: UIN, sealed details, and the shard, None until a first code decides it.
Recipient: TypeAlias = tuple[bytes, bytes, int | None]


@dataclass(frozen=True, slots=True)
class Series:
    """The codes of one ballot, as a child process is told of them: no secret, only where the secrets are."""

    home: Home
    ballot: str
    shards: int
    probe: bool
    link: str


@dataclass(frozen=True, slots=True)
class Made:
    """One batch: its piece of the dispatch file, what is kept of its codes, and its hashes."""

    count: int
    rows: bytes = field(repr=False)
    records: bytes = field(repr=False)
    leaf_hashes: bytes = field(repr=False)
    root: bytes


class Maker:
    """Makes codes of one series, with the keys of the desk's home."""

    def __init__(self, series: Series) -> None:
        self._series = series
        self._people = PeopleKeys.from_home(series.home)
        self._key = series.home.secret("credential-digest")

    def make(self, recipients: Sequence[Recipient], issued_us: int) -> Made:
        """Draw a code for each recipient, in order."""
        text = io.StringIO(newline="")
        drawn: list[Drawn] = []
        hashes: list[bytes] = []
        for start in range(0, len(recipients), STRETCH):
            made = self._stretch(recipients[start : start + STRETCH], text)
            drawn += made
            ballot = self._series.ballot
            leaves = [register.issue_leaf(ballot, d, uin, by, issued_us, shard) for d, uin, shard, by in made]
            hashes += [merkle.leaf_hash(leaf) for leaf in leaves]
        rows = text.getvalue().encode()
        return Made(len(drawn), rows, pack(drawn), b"".join(hashes), merkle.root_of_hashes(hashes))

    def _stretch(self, recipients: Sequence[Recipient], text: io.StringIO) -> list[Drawn]:
        """Make a stretch of codes, one kind of work after the other, which is a quarter faster."""
        series = self._series
        codes = code_series.draw(len(recipients), random=secrets.token_bytes)
        digests = self._digests(codes)
        shards = [receipt.shard_of_digest(digest, series.shards) for digest in digests]
        for place, (_, _, wanted) in enumerate(recipients):
            if wanted is not None and wanted != shards[place]:
                codes[place], digests[place] = self._in_shard(wanted)
                shards[place] = wanted
        people = [self._people.open(series.ballot, uin, sealed) for uin, sealed, _ in recipients]
        channels = [person.channel() for person in people]
        csv.writer(text, lineterminator="\r\n").writerows(
            (person.member_id, channel, destination, code, series.link + code)
            for person, (channel, destination), code in zip(people, channels, codes, strict=True)
        )
        return [
            (digest, uin, shard, "probe" if series.probe else channel)
            for digest, (uin, _, _), shard, (channel, _) in zip(
                digests, recipients, shards, channels, strict=True
            )
        ]

    def _digests(self, codes: Sequence[str]) -> list[bytes]:
        credentials = code_series.credentials(codes, self._series.ballot)
        return [keyed_digest(self._key, hashlib.sha256(credential).digest()) for credential in credentials]

    def _in_shard(self, wanted: int) -> tuple[str, bytes]:
        """Give a code that falls in the shard that is wanted, and its digest."""
        for _ in range(DRAWS_MAX):
            codes = code_series.draw(1, random=secrets.token_bytes)
            (digest,) = self._digests(codes)
            if receipt.shard_of_digest(digest, self._series.shards) == wanted:
                return codes[0], digest
        raise AssertionError("no code of ten thousand fell in the voter's shard")


#: The maker of a child process, made when the child starts.
_own: Final[list[Maker]] = []


def become(series: Series) -> None:
    """Make this process, a child, a maker of codes."""
    _own[:] = [Maker(series)]


def make(recipients: Sequence[Recipient], issued_us: int) -> Made:
    """Make one batch in a child process."""
    return _own[0].make(recipients, issued_us)


def heading() -> bytes:
    """Give the dispatch file's first line."""
    return (",".join(DISPATCH_COLUMNS) + "\r\n").encode()
