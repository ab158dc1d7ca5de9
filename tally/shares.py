"""A share on paper: a text file that can be printed, kept in a safe and typed back by someone in a hurry.

Reading forgives what people do (case, line breaks, numbering or none, blank lines, comments) and names what
it cannot forgive in one sentence with the file and, where there is one, the word.
"""

import difflib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from shamir_mnemonic import MnemonicError, Share
from shamir_mnemonic.wordlist import WORD_INDEX_MAP, WORDLIST

from tally.custody import SHARES_MAX, NotOneSecret, combine

WORDS_IN_A_SHARE = 33  # SLIP-39 for 256 bits: 4 words of header, 26 of value, 3 of checksum
SHARE_FILE_BYTES_MAX = 16 * 1024  # ten times a share with all its comments

# A word with the number before it, if any; punctuation between words; or something that does not belong.
_TOKEN = re.compile(r"(?:(\d+)[\s.:)\-]*)?([^\W\d_]+)|[,;.:)\-]+|(\S+)")
_SAID_BALLOT = re.compile(r"#\s*ballot:\s*(\S+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, repr=False)
class HeldShare:
    """One share as a key holder brought it: `name` is the file, for messages."""

    name: str
    share: Share

    @property
    def number(self) -> int:
        """The number printed on it, from 1."""
        return int(self.share.index) + 1

    @property
    def threshold(self) -> int:
        """How many shares of its set open the ballot."""
        return int(self.share.member_threshold)


def file_name(number: int) -> str:
    """Return the name of the share file numbered `number`, from 1."""
    return f"share-{number:02d}.txt"


def text(words: Sequence[str], *, ballot: str, number: int, threshold: int, shares: int) -> str:
    """Return the share file: what it is, what to do with it, and its words in two numbered columns."""
    lines = [
        "# Key share. Whoever holds enough of these can open the votes of this ballot.",
        f"# Ballot: {ballot}",
        f"# Share: {number} of {shares}",
        f"# Needed to open the ballot: {threshold}",
        "# Print this page, keep it locked away, and delete the file.",
        "# To use it, type the words into a text file, in any case, with or without their numbers.",
        "",
    ]
    cells = [f"{position:2d}. {word}" for position, word in enumerate(words, start=1)]
    lines += [
        f"{left:<20}{right}".rstrip() for left, right in zip(cells[::2], [*cells[1::2], ""], strict=False)
    ]
    return "\n".join(lines) + "\n"


def write(path: Path, content: str) -> None:
    """Write one share file that only its owner can read, on disk before this returns."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as fault:
        raise click.ClickException(f"{path} cannot be written: {fault.strerror}") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as fault:
        path.unlink(missing_ok=True)
        raise click.ClickException(f"{path} cannot be written: {fault.strerror}") from None


def sync_directory(directory: Path) -> None:
    """Make the names of the files in `directory` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path, *, ballot: str) -> HeldShare:
    """Read one share file of the ballot `ballot`, or say in one sentence what is wrong with it."""
    name = str(path)
    content = _content(path)
    said = _SAID_BALLOT.search(content)
    if said is not None and said.group(1) != ballot:
        raise click.ClickException(f"{name} says it is a share of ballot {said.group(1)}, not of {ballot}")
    words = _words(content, name=name)
    for position, word in enumerate(words, start=1):
        if word not in WORD_INDEX_MAP:
            raise click.ClickException(_unknown_word(word, name=name, position=position))
    if len(words) != WORDS_IN_A_SHARE:
        raise click.ClickException(
            f"{name} has {len(words)} words, not {WORDS_IN_A_SHARE}: is one missing or there twice?"
        )
    try:
        share = Share.from_mnemonic(" ".join(words))
    except MnemonicError:
        raise click.ClickException(
            f"{name} does not pass its check: one of its words is mistyped for another, or two are swapped"
        ) from None
    return HeldShare(name=name, share=share)


def ballot_named(path: Path) -> str | None:
    """Return the ballot that a share file says it is of; None for a file that says nothing of the kind."""
    try:
        said = _SAID_BALLOT.search(_content(path))
    except click.ClickException:
        return None
    return said.group(1) if said else None


def _content(path: Path) -> str:
    """Return the text of a share file, bounded."""
    try:
        with path.open("rb") as file:
            data = file.read(SHARE_FILE_BYTES_MAX + 1)
    except OSError as fault:
        raise click.ClickException(f"{path} cannot be read: {fault.strerror}") from None
    if len(data) > SHARE_FILE_BYTES_MAX:
        raise click.ClickException(f"{path} is far too long to be a share file")
    try:
        return data.decode("utf-16" if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig")
    except UnicodeDecodeError:
        raise click.ClickException(f"{path} is not a text file: save it as plain text") from None


def _words(content: str, *, name: str) -> list[str]:
    """Return the words in order: by their numbers if all are numbered, else as they stand."""
    found: list[tuple[str | None, str]] = []
    bare = "\n".join(line.split("#", 1)[0] for line in content.splitlines())
    for match in _TOKEN.finditer(bare):
        number, word, other = match.groups()
        if other is not None:
            raise click.ClickException(
                f"{name}: '{other}' is out of place; a share is words, with or without numbers"
            )
        if word is not None:
            found.append((number, word.lower()))
    if not found:
        raise click.ClickException(f"{name} has no words in it")
    numbers = [int(number) for number, _ in found if number is not None]
    if len(numbers) == len(found):
        for wanted in range(1, len(found) + 1):
            if numbers.count(wanted) != 1:
                fault = "is missing" if wanted not in numbers else "is there twice"
                raise click.ClickException(f"{name}: word number {wanted} {fault}")
        found.sort(key=lambda pair: int(pair[0] or 0))
    return [word for _, word in found]


def _unknown_word(word: str, *, name: str, position: int) -> str:
    """Say which word is not in the list, and which one was probably meant."""
    sentence = f"{name}: word {position}, '{word}', is not in the word list"
    near = difflib.get_close_matches(word, WORDLIST, n=1, cutoff=0.6)
    return f"{sentence}; did you mean '{near[0]}'?" if near else sentence


def secret_of(held: Sequence[HeldShare], *, ballot: str) -> bytes:
    """Return the secret that these shares make, or say why they do not make one.

    More shares than needed are welcome; the first k are used. That the secret is this ballot's is for the
    caller to check, by the public keys it derives.
    """
    first = held[0]
    by_number: dict[int, HeldShare] = {}
    for one in held:
        if one.share.group_parameters() != first.share.group_parameters():
            raise click.ClickException(
                f"{one.name} is from another set of shares than {first.name}: they cannot be used together"
            )
        twin = by_number.setdefault(one.number, one)
        if twin is not one:
            raise click.ClickException(
                f"{twin.name} and {one.name} are the same share, number {one.number}: bring another"
            )
    if len(held) < first.threshold:
        raise click.ClickException(
            f"ballot {ballot} opens with {first.threshold} shares and {len(held)} "
            f"{'was' if len(held) == 1 else 'were'} given"
        )
    used = held[: first.threshold]
    try:
        return combine([one.share for one in used])
    except NotOneSecret:
        names = " and ".join(one.name for one in used)
        raise click.ClickException(
            f"{names} do not fit together: they are not shares of one secret"
        ) from None


def check_numbers(*, threshold: int, shares: int) -> None:
    """Refuse a threshold and number of shares that SLIP-39 or good sense does not allow."""
    if not 1 <= shares <= SHARES_MAX:
        raise click.ClickException(f"--shares must be between 1 and {SHARES_MAX}")
    if not 1 <= threshold <= shares:
        raise click.ClickException(f"--threshold must be between 1 and the number of shares, {shares}")
    if threshold == 1 and shares > 1:
        raise click.ClickException(
            "a threshold of 1 with several shares would let each holder open the ballot alone: use 2 or more"
        )
