"""Every vote of a run sealed before the first is sent, on all cores, into files: the generator only sends.

    ahead/ahead.json      what is there, and how a request is addressed
    ahead/people.npy      who comes, by number, and which papers they cast
    ahead/part-K.npy      generator K's rows (timetable.ROW), in the order of their moments
    ahead/part-K.bin      the bodies that its rows point to

A body is written once, however often it is sent. Nothing here is ever whole in memory but the rows.
"""

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ballot.code import Code, CodeMistyped
from loadtests.crowds.comers import first_choices
from loadtests.crowds.timetable import GOING_ON_EVERY, ROW, Draft, Kind, Timetable
from loadtests.published.plan import Plan, Voter, other_paper
from loadtests.voting.desk import DeskFileFault, each_code
from loadtests.voting.session import mistyped
from loadtests.voting.voter import Booth, access_body, seal

FOLDER = "ahead"
LAYOUT = 2
"""Of `ahead.json` and the files beside it: what another release sealed is sealed again."""

PEOPLE = "people.npy"
"""Who comes, as comers.COMER."""

CHUNK_ROWS = 1000
CODE = np.dtype("S32")
Told = Callable[[int, int], None]
Codes = NDArray[np.bytes_]


def rows_file(folder: Path, generator: int) -> Path:
    """Where the rows of generator number `generator` are."""
    return folder / f"part-{generator}.npy"


def bodies_file(folder: Path, generator: int) -> Path:
    """Where their bodies are."""
    return folder / f"part-{generator}.bin"


@dataclass(frozen=True, slots=True)
class Hands:
    """What each sealing process has: the papers, the codes by number, and what to seal them for."""

    folder: Path
    booths: Sequence[Booth]
    plans: Sequence[Plan]
    timetable: Timetable
    first: Codes
    second: Codes

    def voter(self, row: np.void) -> Voter:
        """Whose row it is."""
        ballot, number = int(row["ballot"]), int(row["voter"])
        if number >= self.timetable.voters:
            return self.timetable.extras[number - self.timetable.voters].voter
        return self.plans[ballot].voters[number - self.timetable.first_voter[ballot]]

    def code(self, number: int, *, second: bool = True) -> Code:
        """The code that voter `number` holds, the second if they have one and it is wanted."""
        text = bytes(self.second[number]) if second and self.second[number] else bytes(self.first[number])
        return Code.parse(text.decode("ascii"))


@dataclass(frozen=True, slots=True)
class Sealed:
    """What one chunk came to."""

    bodies: int
    caught: int


def codes_by_number(
    timetable: Timetable,
    plans: Sequence[Plan],
    files: Sequence[tuple[Path, Path | None]],
    *,
    going_on: Callable[[], None] = lambda: None,
) -> tuple[Codes, Codes]:
    """The codes of everybody who comes, first and second, by number; empty where there is none.

    `files` are each ballot's dispatch file and, if some codes were reissued, that of the new ones;
    `going_on` is called now and then.
    """
    size = timetable.voters + len(timetable.extras)
    both = np.zeros(size, CODE), np.zeros(size, CODE)
    for ballot, (plan, names) in enumerate(zip(plans, files, strict=True)):
        start = timetable.first_voter[ballot]
        members = plan.voters.member_ids(np.arange(len(plan.voters)))
        numbers = {member: start + turn for turn, member in enumerate(members)}
        numbers |= {
            extra.voter.member_id: timetable.voters + number
            for number, extra in enumerate(timetable.extras)
            if extra.ballot == ballot
        }
        for codes, name in zip(both, names, strict=True):
            for place, (member, code) in enumerate(each_code(name) if name is not None else ()):
                if place % GOING_ON_EVERY == 0:
                    going_on()
                if (number := numbers.get(member)) is not None:
                    codes[number] = code.encode("ascii")
        missing = next((member for member, number in numbers.items() if not both[0][number]), None)
        if missing is not None:
            raise DeskFileFault(f"{names[0].name} has no code for {missing}.")
    return both


def write_rows(folder: Path, drafts: Sequence[Draft], booths: Sequence[Booth]) -> int:
    """Write each generator's rows, with a place for each body; how many bodies there will be."""
    bytes_each = [vote_bytes(booth) for booth in booths]
    access_bytes = len(access_body(booths[0], Code.draw(os.urandom)))
    bodies = 0
    for generator, draft in enumerate(drafts):
        rows = draft.rows(bytes_each, access_bytes)
        np.save(rows_file(folder, generator), rows)
        own = rows["of"] == np.arange(len(rows))
        with bodies_file(folder, generator).open("wb") as file:
            file.truncate(int(rows["length"][own].sum()))
        bodies += int(own.sum())
    return bodies


def vote_bytes(booth: Booth) -> int:
    """How long every vote of this ballot is as it is sent."""
    paper = first_choices(booth.document.definition)
    return len(seal(booth, Code.draw(os.urandom), paper).to_json())


_HANDS: list[Hands] = []
"""Set before the sealing processes are forked: they share it, and nothing is copied."""


def seal_all(hands: Hands, bodies: int, *, processes: int, told: Told) -> dict[str, Any]:
    """Seal everything into the parts' files; what it took."""
    started_s = time.monotonic()
    chunks = list(_chunks(hands))
    done = caught = 0
    _HANDS[:] = [hands]
    try:
        with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("fork")) as pool:
            try:
                for future in as_completed([pool.submit(_seal_chunk, chunk) for chunk in chunks]):
                    sealed = future.result()
                    done += sealed.bodies
                    caught += sealed.caught
                    told(done, bodies)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        _HANDS.clear()
    size = sum(bodies_file(hands.folder, part).stat().st_size for part in range(len(hands.timetable.drafts)))
    seconds = time.monotonic() - started_s
    return {
        "bodies": done,
        "bytes": size,
        "bytes_each": round(size / max(done, 1), 1),
        "seconds": round(seconds, 3),
        "processes": processes,
        "mistyped_caught": caught,
    }


def _chunks(hands: Hands) -> Iterator[tuple[int, int, int]]:
    """Generator, first row and the row behind the last, of each chunk."""
    for generator in range(len(hands.timetable.drafts)):
        count = len(np.load(rows_file(hands.folder, generator), mmap_mode="r"))
        for begin in range(0, count, CHUNK_ROWS):
            yield generator, begin, min(begin + CHUNK_ROWS, count)


def _seal_chunk(chunk: tuple[int, int, int]) -> Sealed:
    """Seal the rows of one chunk that have a body of their own; their bodies stand side by side."""
    (hands,) = _HANDS
    generator, begin, end = chunk
    rows = np.load(rows_file(hands.folder, generator), mmap_mode="r+")
    bodies: list[bytes] = []
    offset, caught = -1, 0
    for number in range(begin, end):
        row = rows[number]
        if row["of"] != number:
            continue
        if offset < 0:
            offset = int(row["offset"])
        body, digest = _body(hands, row)
        if len(body) != row["length"]:
            raise AssertionError("A body is as long as the others of its kind.")
        bodies.append(body)
        rows["digest"][number] = np.frombuffer(digest, np.uint8)
        caught += int(row["kind"] in {Kind.CAST, Kind.LAST} and _slip_is_caught(hands, row))
    if bodies:
        file = os.open(bodies_file(hands.folder, generator), os.O_WRONLY)
        try:
            os.pwrite(file, b"".join(bodies), offset)
        finally:
            os.close(file)
    return Sealed(bodies=len(bodies), caught=caught)


def _body(hands: Hands, row: np.void) -> tuple[bytes, bytes]:
    """The body that `row` sends, and the digest of the sealed vote in it (zeros if there is none)."""
    booth, number, kind = hands.booths[int(row["ballot"])], int(row["voter"]), Kind(int(row["kind"]))
    if kind is Kind.ACCESS:
        return access_body(booth, hands.code(number)), bytes(32)
    paper = hands.voter(row).paper
    if kind in {Kind.DEVICE, Kind.USED, Kind.RETURNED}:
        paper = other_paper(paper, booth.document.definition)
    code = (
        Code.draw(os.urandom) if kind is Kind.FOREIGN else hands.code(number, second=kind is not Kind.REVOKED)
    )
    vote = seal(booth, code, paper)
    return vote.to_json(), vote.sealed_sha256


def _slip_is_caught(hands: Hands, row: np.void) -> bool:
    """Whether a voter who gets a symbol wrong is told so by their own device; False if this one does not."""
    if not hands.voter(row).mistyped:
        return False
    text = bytes(hands.first[int(row["voter"])]).decode("ascii")
    try:
        Code.parse(mistyped(text))
    except CodeMistyped:
        return True
    raise AssertionError("A wrong symbol in a code is always noticed.")


def write_description(folder: Path, told: dict[str, Any]) -> None:
    """Write `ahead.json`, last of all: with it everything is there."""
    draft = folder / "ahead.draft.json"
    draft.write_text(json.dumps({"layout": LAYOUT, **told}, indent=2) + "\n", encoding="utf-8")
    draft.rename(folder / "ahead.json")


def description(folder: Path) -> dict[str, Any]:
    """What `write_description` wrote; DeskFileFault if nothing was sealed there."""
    try:
        told = json.loads((folder / "ahead.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DeskFileFault(f"No votes have been sealed ahead in {folder.name}.") from error
    if not isinstance(told, dict) or told.get("layout") != LAYOUT:
        raise DeskFileFault(f"The votes in {folder.name} were sealed by another release; seal them again.")
    return told


def rows_of(folder: Path, generator: int) -> NDArray[np.void]:
    """The rows of a generator, read from the file as they are wanted."""
    rows: NDArray[np.void] = np.load(rows_file(folder, generator), mmap_mode="r")
    if rows.dtype != ROW:
        raise DeskFileFault(f"{rows_file(folder, generator).name} is not a file of rows.")
    return rows
