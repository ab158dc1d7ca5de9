"""A ballot's key is made so that it is never lost and never whole: split, written, read back, proven at once.

The proof is a rehearsal: shares read from their files open a freshly sealed test vote, and the result key
that they make signs a statement saying so. A ballot cannot be opened to voters without one.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from ballot import document
from ballot.code import Code
from ballot.definition import Definition, parse_toml
from ballot.encoding import b64encode, canonical_json, format_time
from ballot.sealing import bind, seal
from tally import shares as share_files
from tally.count import SealedVote, open_and_count
from tally.custody import BallotKeys, derive, new_secret, split
from tally.shares import HeldShare

REHEARSAL_LABEL = b"strike-ballot/v1/rehearsal"

Random = Callable[[int], bytes]

_TEST_DEFINITION = """
[ballot]
id = "{ballot}"
title = "Rehearsal"
kind = "probe"
union = "Rehearsal"
employer = "Rehearsal"
scrutineer = "Rehearsal"
contact = "rehearsal@scrutineer.example"
opens = 2025-01-01T00:00:00Z
closes = 2025-01-02T00:00:00Z
methods = ["electronic"]
precedence = "first-recorded"

[[question]]
id = "rehearsal"
text = "Does the key open?"
form = "single"
options = [{{id = "yes", text = "Yes"}}, {{id = "no", text = "No"}}]
"""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The proof that shares open votes: canonical JSON and the result key's signature over it."""

    statement: bytes
    signature: bytes

    def fields(self) -> dict[str, object]:
        """Return it as the desk's `keyring` takes it."""
        return {"statement": b64encode(self.statement), "signature": b64encode(self.signature)}


def rehearse(keys: BallotKeys, *, ballot: str, shares_used: int, now_us: int, random: Random) -> Rehearsal:
    """Seal a test vote as a voter's device would, open it with the private half, and sign that it did."""
    test = _test_definition(ballot)
    page = document.build(test, public_key=keys.public_key, result_key=keys.result_key)
    cast = seal(page, Code.draw(random).signing_key(ballot), {"rehearsal": ["yes"]}, random=random)
    vote = SealedVote(line=1, bind=bind(cast.nonce, cast.credential), sealed=cast.sealed)
    count = open_and_count([vote], definition=test, key=keys.opening.key())
    if count.opened != 1 or count.questions[0].counts != {"yes": 1, "no": 0}:
        raise click.ClickException("the key does not open its own test vote: nothing was registered")
    statement = canonical_json(
        {
            "ballot": ballot,
            "rehearsed_at": format_time(now_us),
            "shares_used": shares_used,
            "test_vote_sha256": cast.sealed_sha256.hex(),
        }
    )
    signature = keys.result.sign(REHEARSAL_LABEL + b"\0" + hashlib.sha256(statement).digest())
    return Rehearsal(statement, signature)


def _test_definition(ballot: str) -> Definition:
    """Return the test vote's definition, with this ballot's id: it is bound to it as a real vote is."""
    return parse_toml(_TEST_DEFINITION.format(ballot=ballot))


@dataclass(frozen=True, slots=True, repr=False)
class MadeKey:
    """What is left of a ceremony once the secret is forgotten: public halves, proof, share files."""

    public_key: bytes
    result_key: bytes
    threshold: int
    rehearsal: Rehearsal
    files: tuple[Path, ...]

    def registration(self) -> bytes:
        """Return the JSON that the desk's `keyring register` takes."""
        fields: dict[str, object] = {
            "public_key": b64encode(self.public_key),
            "result_key": b64encode(self.result_key),
            "threshold": self.threshold,
            "shares": len(self.files),
            **self.rehearsal.fields(),
        }
        return canonical_json(fields)


def make_key(
    ballot: str, *, threshold: int, shares: int, directory: Path, now_us: int, random: Random
) -> MadeKey:
    """Make the key of `ballot` and leave only its share files in `directory`; on failure, not even those.

    (1) Draw and split. (2) Write each share. (3) Read all back from disk and combine subsets that
    together use every share: each must make the same secret. (4) Rehearse with one such subset.
    """
    secret = new_secret(random)  # (1)
    word_lists = split(secret, threshold=threshold, shares=shares)
    files: list[Path] = []
    try:
        for number, words in enumerate(word_lists, start=1):  # (2)
            content = share_files.text(
                words, ballot=ballot, number=number, threshold=threshold, shares=shares
            )
            path = directory / share_files.file_name(number)
            share_files.write(path, content)
            files.append(path)
        share_files.sync_directory(directory)
        read_back = _read_back(files, secret, ballot=ballot, threshold=threshold, random=random)  # (3)
        keys = derive(read_back, ballot=ballot)
        rehearsal = rehearse(keys, ballot=ballot, shares_used=threshold, now_us=now_us, random=random)  # (4)
    except BaseException:
        remove(files)
        raise
    return MadeKey(keys.public_key, keys.result_key, threshold, rehearsal, tuple(files))


def _read_back(files: Sequence[Path], secret: bytes, *, ballot: str, threshold: int, random: Random) -> bytes:
    """Return the secret as the files give it, after every share has had a part in making it."""
    held = [share_files.read(path, ballot=ballot) for path in files]
    found = [share_files.secret_of(some, ballot=ballot) for some in _subsets(held, threshold, random)]
    if any(one != secret for one in found):
        raise click.ClickException(
            "the shares read back do not make the key that was split; none was registered"
        )
    return found[0]


def remove(files: Sequence[Path]) -> None:
    """Remove share files of a key that no ballot uses."""
    for path in files:
        path.unlink(missing_ok=True)


def _subsets(held: Sequence[HeldShare], threshold: int, random: Random) -> list[list[HeldShare]]:
    """Return subsets of `threshold` shares, in random order, that together use every share."""
    # Sixteen random bytes a share as sorting keys: a shuffle from the same source as every other secret here.
    shuffled = sorted(held, key=lambda _: random(16))
    count = len(shuffled)
    return [
        [shuffled[(start + step) % count] for step in range(threshold)]
        for start in range(0, count, threshold)
    ]
