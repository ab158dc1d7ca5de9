"""After the votes: close, count, verify, compare and check every ballot; what fails is noted, no more."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from subprocess import SubprocessError
from typing import TYPE_CHECKING, Any, TypeVar

from loadtests.crowds import unconfirmed
from loadtests.lifetime import many
from loadtests.lifetime.poll import Marks, Poll, added
from loadtests.lifetime.table import as_json
from loadtests.staging.kept import RESULTS, Kept
from loadtests.staging.stage import StageFault
from loadtests.voting.desk import DeskFileFault

if TYPE_CHECKING:
    from loadtests.lifetime.life import Figure

FINDINGS_MAX = 1_000
RECEIPTS = "receipts.jsonl"
T = TypeVar("T")
FORESEEN = (StageFault, DeskFileFault, SubprocessError)
"""What a run may meet; anything else is a bug, whose traceback is kept beside the sentence."""


class Aftermath:
    """The end of a run's ballots, each step for all of them; `wrong` says in sentences what failed."""

    def __init__(self, polls: Sequence[Poll], kept: Kept) -> None:
        self.polls = polls
        self.kept = kept
        self.wrong: list[str] = []
        self.quiet: list[Any] = []

    def turnouts(self) -> None:
        """Note the streaming turnout and the books: nobody votes now."""
        self.quiet += self.each(lambda poll: {"ballot": poll.ballot, **poll.turnout()})

    def wait_for_close(self) -> None:
        """Let the closing time of all come."""
        for poll in self.polls:
            poll.wait_for_close()

    def close(self) -> None:
        """Close all, wait until all is stored; then tell the gate of the papers that came in time."""
        self._all(many.close, Poll.close)
        with_papers = [poll for poll in self.polls if poll.returns()]
        for poll in with_papers:
            self.attempt(poll.close)

    def tally(self) -> None:
        """Count and sign all."""
        self._all(many.tally, Poll.tally)

    def verify(self) -> None:
        """The signature of every result, under the key pinned at the opening."""
        self._all(many.verify, Poll.verify)

    def _all(self, together: Callable[[Sequence[Poll]], None], alone: Callable[[Poll], None]) -> None:
        """A step that one command does for all ballots, if there are several."""
        if len(self.polls) == 1:
            self.attempt(lambda: alone(self.polls[0]))
        else:
            self.attempt(lambda: together(self.polls))

    def compare(self, beyond: Mapping[str, Marks], papers: Mapping[str, Any]) -> None:
        """Keep the results, and every figure beside what was published, and beside what voters hold.

        `beyond` is what was voted on top of the published votes, by ballot; `papers` what the crowd marked.
        """
        figures: list[Figure] = []
        for poll, found in zip(
            self.polls,
            self.each(
                lambda poll: poll.compared(beyond.get(poll.ballot, {}), moved(papers, poll.ballot)),
                keeps_place=True,
            ),
            strict=True,
        ):
            figures += [replace(each, what=self._named(poll, each.what)) for each in found or ()]
            if poll.result.exists():
                shutil.copyfile(poll.result, self._result(poll))
        self.kept.write("figures.json", as_json(figures))
        self.kept.write("chosen.json", [row for poll in self.polls for row in _bounds(poll, beyond, papers)])

    def _named(self, poll: Poll, what: str) -> str:
        return what if len(self.polls) == 1 else f"{poll.ballot}: {what}"

    def _result(self, poll: Poll) -> Path:
        if len(self.polls) == 1:
            return self.kept.folder / "result.json"
        folder = self.kept.folder / RESULTS
        folder.mkdir(exist_ok=True)
        return folder / f"{poll.ballot}.json"

    def check(self, voters: Path) -> None:
        """`ballot check` of every ballot with what its own voters hold; all findings together."""
        unconfirmed.write(voters)
        for poll in self.polls:
            poll.voters.mkdir(exist_ok=True)
        if len(self.polls) > 1:
            for name in (RECEIPTS, unconfirmed.FILE):
                split(voters / name, {poll.ballot: poll.voters / name for poll in self.polls})
        told = [each for each in self.each(Poll.checked) if each is not None]
        if len(told) < len(self.polls):
            return  # what is not known of all is not known
        counts: Counter[str] = Counter()
        for each in told:
            counts.update(each["counts"])
        found = [finding for each in told for finding in each["findings"]]
        whole = told[0] if len(told) == 1 else {"ballots": len(told), "books": _books(told)}
        together = {
            "differences": sum(each["differences"] for each in told),
            "counts": dict(counts),
            "findings": found[:FINDINGS_MAX],
        }
        self.kept.write("check.json", dict(whole) | together)

    def each(self, do: Callable[[Poll], T], *, keeps_place: bool = False) -> list[T | None]:
        """What `do` gives for each ballot, several at a time; None, and a sentence, where it failed."""
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            found = list(pool.map(lambda poll: self.attempt(lambda: do(poll)), self.polls))
        return found if keeps_place else [each for each in found if each is not None]

    def attempt(self, do: Callable[[], T]) -> T | None:
        """What `do` gives; None, and a sentence, when it failed."""
        try:
            return do()
        except FORESEEN as fault:
            self.wrong.append(str(fault))
        except Exception as bug:  # noqa: BLE001  # a verdict comes out all the same
            self.wrong.append(repr(bug))
            self.kept.bug()
        return None


def beyond(summary: Mapping[str, Any], overlays: Marks, first: str) -> dict[str, Marks]:
    """What was voted on top of the published votes, by ballot: at the close, and by overlays in the first."""
    voted: dict[str, Marks] = dict(summary.get("papers", {}).get("beyond", {}))
    voted[first] = added(voted.get(first, {}), overlays)
    return voted


def moved(papers: Mapping[str, Any], ballot: str) -> Marks:
    """The votes an option has more or fewer because of races that no plan can tell.

    A second device was first, or a vote of the last second came when the ballot had closed.
    """
    fewer = [
        {
            question: {option: -count for option, count in options.items()}
            for question, options in each.items()
        }
        for each in (papers.get(name, {}).get(ballot, {}) for name in ("displaced", "closed"))
    ]
    return added(papers.get("in_place", {}).get(ballot, {}), *fewer)


def split(path: Path, into: Mapping[str, Path]) -> None:
    """Each line of a file of JSON lines to the file of its `ballot`."""
    if not path.exists():
        return
    open_ = {ballot: part.open("w", encoding="utf-8") for ballot, part in into.items()}
    try:
        for line in _lines(path):
            part = open_.get(str(json.loads(line).get("ballot")))
            if part is not None:
                part.write(line)
    finally:
        for part in open_.values():
            part.close()


def _bounds(poll: Poll, beyond: Mapping[str, Marks], papers: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What each option must have at least, by the receipts and papers, and with every unconfirmed vote."""
    receipted, unconfirmed = (
        papers.get(name, {}).get(poll.ballot, {}) for name in ("receipted", "unconfirmed")
    )
    least = added(receipted, beyond.get(poll.ballot, {}), poll.by_hand())
    most = added(least, unconfirmed)
    for question, options in poll.counted().items():
        for option, counted in options.items():
            bounds = {
                "least": least.get(question, {}).get(option, 0),
                "most": most.get(question, {}).get(option, 0),
            }
            yield {"ballot": poll.ballot, "question": question, "option": option, "counted": counted} | bounds


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as lines:
        yield from lines


def _books(told: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The books of all ballots, term by term."""
    total: Counter[str] = Counter()
    for each in told:
        total.update(each["books"])
    return dict(total)
