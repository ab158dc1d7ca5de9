"""Reads a roll in one bounded pass: every fault with its line, never the value that caused it."""

import csv
import hashlib
import re
import secrets
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

COLUMNS = ("member_id", "name", "email", "mobile", "address")
#: Characters; a name or an address beyond these is a column gone astray.
CHARACTERS_MAX = {"member_id": 64, "name": 200, "email": 254, "mobile": 32, "address": 500}
#: Twice the longest legal line in UTF-8, so that a file without line ends cannot fill the memory.
LINE_BYTES_MAX = 16 * 1024
#: Faults listed one by one; the rest are counted.
FAULTS_SHOWN_MAX = 20
#: Faults after which reading stops: the file is another file.
FAULTS_KEPT_MAX = 10_000
MEMBERS_MAX = 5_000_000
#: How a file in UTF-16, as spreadsheets write it under the name "Unicode text", begins.
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")

EMAIL = re.compile(r"[^@\s,;<>\"()\[\]\\:]{1,64}@[^@\s,;<>\"()\[\]\\:.]+(\.[^@\s,;<>\"()\[\]\\:.]+)+")
MOBILE_NOISE = re.compile(r"\(0\)|[\s().\-\u2010-\u2015]")
#: All of Unicode's control characters (category Cc), and those of them that an address may not hold either.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
CONTROL_BUT_LINES = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
MOBILE = re.compile(r"\+[1-9][0-9]{7,14}")


@dataclass(frozen=True, slots=True, repr=False)
class Voter:
    """One line of the roll; contact details are as given, byte for byte."""

    line: int
    member_id: str
    name: str
    email: str
    mobile: str
    address: str

    def __repr__(self) -> str:
        return f"<voter of line {self.line}>"


class RollFaults(ValueError):  # noqa: N818  # it carries all of them
    """Everything wrong with a roll, by line; str() lists the first twenty."""

    def __init__(self, faults: list[tuple[int, str]]) -> None:
        self.faults = sorted(faults)
        shown = [f"line {line}: {message}" for line, message in self.faults[:FAULTS_SHOWN_MAX]]
        more = len(self.faults) - FAULTS_SHOWN_MAX
        if more > 0:
            shown.append(f"and {more:,} more")
        super().__init__("\n".join(shown))


def email_key(text: str) -> str:
    """Give one spelling for all variants of one email address (requirement A-11): case, width and blanks."""
    return unicodedata.normalize("NFKC", text).strip().casefold()


def mobile_key(text: str) -> str:
    """Give the international form (requirement A-15): 07…, +447… and 00447… are one number."""
    digits = MOBILE_NOISE.sub("", unicodedata.normalize("NFKC", text))
    if digits.startswith("00"):
        return "+" + digits[2:]
    if digits.startswith("0"):
        return "+44" + digits[1:]
    return digits


@dataclass(slots=True)
class Seen:
    """What must be unique across the roll, as short keyed digests: a million lines fit in memory."""

    key: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    digests: set[int] = field(default_factory=set)
    repeated: set[int] = field(default_factory=set)

    def digest(self, kind: str, value: str) -> int:
        """12 bytes: a chance meeting among five million values is below one in 10^14."""
        told = hashlib.blake2b(f"{kind}\x00{value}".encode(), digest_size=12, key=self.key).digest()
        return int.from_bytes(told)

    def add(self, kind: str, value: str) -> bool:
        """Take a value in; False if it was there already."""
        digest = self.digest(kind, value)
        if digest in self.digests:
            self.repeated.add(digest)
            return False
        self.digests.add(digest)
        return True


def unique_keys(voter: Voter) -> Iterator[tuple[str, str]]:
    """Give what no other voter may share: member id, email and mobile in their one spelling."""
    yield "member_id", voter.member_id
    if voter.email:
        yield "email", email_key(voter.email)
    if voter.mobile:
        yield "mobile", mobile_key(voter.mobile)


@dataclass(frozen=True, slots=True)
class Checked:
    """A roll without a fault: how many voters, and the digest of the bytes that were read."""

    voters: int
    sha256: bytes


def check(path: Path, *, seen: Seen) -> Checked:
    """Read the whole roll and raise RollFaults if anything is wrong.

    `seen` may hold voters imported before.
    """
    faults: list[tuple[int, str]] = []
    before = set(seen.digests) if seen.digests else set()
    count = 0
    with path.open("rb") as file:
        lines = _Lines(file, faults)
        for voter in rows(lines, faults):
            count += 1
            faults += ((voter.line, message) for message in voter_faults(voter))
            for kind, value in unique_keys(voter):
                if not seen.add(kind, value) and seen.digest(kind, value) in before:
                    faults.append((voter.line, f"a voter with this {kind} was imported before"))
            if count > MEMBERS_MAX:
                faults.append((voter.line, f"a roll has at most {MEMBERS_MAX:,} voters"))
            if len(faults) > FAULTS_KEPT_MAX or count > MEMBERS_MAX:
                break
    if not count and not faults:
        faults.append((1, "the roll has no voter"))
    if seen.repeated - before:
        faults += _repeats(path, seen, before)
    if faults:
        raise RollFaults(faults)
    return Checked(count, lines.sha256.digest())


def read(path: Path, checked: Checked) -> Iterator[Voter]:
    """Read a roll that `check` passed, once more.

    If it is not the same file any more this ends in RollFaults.
    """
    faults: list[tuple[int, str]] = []
    with path.open("rb") as file:
        lines = _Lines(file, faults)
        yield from rows(lines, faults)
    if faults or lines.sha256.digest() != checked.sha256:
        raise RollFaults([*faults, (1, "the file changed while it was read")])


def file_sha256(path: Path) -> bytes:
    """Give the digest of the file as it is now."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def rows(lines: Iterable[str], faults: list[tuple[int, str]]) -> Iterator[Voter]:
    """Give each voter in file order; faults of form go to `faults` and their lines are left out."""
    reader = csv.reader(lines, strict=True)
    order: list[int] | None = None
    start = 1
    try:
        for cells in reader:
            line, start = start, reader.line_num + 1
            if not cells:
                continue
            if order is None:
                order = _order(cells, line, faults)
                if order is None:
                    return
                continue
            if len(cells) != len(COLUMNS):
                faults.append((line, f"{len(cells)} fields where {len(COLUMNS)} are wanted"))
                continue
            yield Voter(line, *(cells[index] for index in order))
    except csv.Error as error:
        faults.append((start, f"not readable as CSV: {error}"))
        return
    if order is None:
        faults.append((1, "the file is empty; the header member_id,name,email,mobile,address is wanted"))


def _order(header: list[str], line: int, faults: list[tuple[int, str]]) -> list[int] | None:
    names = [name.strip() for name in header]
    missing = [name for name in COLUMNS if name not in names]
    extra = len([name for name in names if name not in COLUMNS])
    if missing:
        faults.append((line, f"the header lacks {', '.join(missing)}"))
    if extra:
        faults.append(
            (line, f"the header has {extra} other column(s); exactly {', '.join(COLUMNS)} are wanted")
        )
    if len(set(names)) != len(names):
        faults.append((line, "the header names a column twice"))
    return None if faults else [names.index(name) for name in COLUMNS]


def voter_faults(voter: Voter) -> Iterator[str]:
    """Say what is wrong with one line by itself; a message never repeats the value."""
    for column in COLUMNS:
        value = getattr(voter, column)
        if len(value) > CHARACTERS_MAX[column]:
            yield f"{column} has more than {CHARACTERS_MAX[column]} characters"
        if (CONTROL_BUT_LINES if column == "address" else CONTROL).search(value):
            yield f"{column} has a control character in it"
    if not voter.member_id.strip():
        yield "member_id is empty"
    elif voter.member_id != voter.member_id.strip():
        yield "member_id begins or ends with a blank"
    if not voter.name.strip():
        yield "name is empty"
    if not (voter.email or voter.mobile or voter.address.strip()):
        yield "one of email, mobile and address is needed to send a code"
    if voter.email and not EMAIL.fullmatch(email_key(voter.email)):
        yield "email is not an email address"
    if voter.mobile and not MOBILE.fullmatch(mobile_key(voter.mobile)):
        yield "mobile is not a telephone number"


def _repeats(path: Path, seen: Seen, before: set[int]) -> Iterator[tuple[int, str]]:
    """Read again to name both lines of each repetition; only repeated values are kept this time."""
    first: dict[int, int] = {}
    with path.open("rb") as file:
        for voter in rows(_Lines(file, []), []):
            for kind, value in unique_keys(voter):
                digest = seen.digest(kind, value)
                if digest not in seen.repeated or digest in before:
                    continue
                if digest in first:
                    yield voter.line, f"the {kind} is that of line {first[digest]} too"
                else:
                    first[digest] = voter.line


class _Lines:
    """The file's lines as text, hashed on the way.

    A bad or endless line is a fault and reading goes on or stops.
    """

    def __init__(self, file: BinaryIO, faults: list[tuple[int, str]]) -> None:
        self.file = file
        self.faults = faults
        self.sha256 = hashlib.sha256()

    def __iter__(self) -> Iterator[str]:
        number = 0
        while raw := self.file.readline(LINE_BYTES_MAX + 1):
            number += 1
            self.sha256.update(raw)
            if number == 1 and (raw.startswith(UTF16_MARKS) or b"\x00" in raw):
                raise RollFaults([(1, "this is UTF-16 or no text at all; save it as CSV in UTF-8")])
            if len(raw) > LINE_BYTES_MAX:
                self.faults.append((number, f"longer than {LINE_BYTES_MAX:,} bytes"))
                return
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                self.faults.append((number, "not UTF-8"))
                text = raw.decode("utf-8", "replace")
            yield text
