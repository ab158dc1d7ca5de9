"""What this process remembers of the votes it confirmed: reference and number, for the books after a loss.

Best effort, and no vote ever waits for it or fails by it: what the gate accepted is noted in memory, and a
thread of its own writes it down twice a second, without an fsync. So it may lack the last second of a process
that was killed, and anything while the disk is full; a line in the log says how much. It holds no secret: no
code, credential, address or choice.
"""

import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ballot.acceptances import Acceptances
from intake.faults import place
from intake.gate import Decision
from intake.journal_files import JournalFiles
from runtime import logs
from runtime.clock import Clock

log = logs.get("journal")

FLUSH_S: Final = 0.5
"""How often what waits is written: half of the second by which the journal may lag, for a busy machine."""

VOTES_WAITING_MAX: Final = 200_000
"""What may wait for the disk, some 20 MB; what comes beyond it is counted and not noted."""

VOTES_WRITTEN: Final = 8_192
"""Lines are written until they hold so many: some 200 kB at once."""

CLOSE_S: Final = 2.0
"""How long stopping waits for a disk."""

SAID_S: Final = 60.0
"""While the disk stays as it is, that is said so often."""

Noted = tuple[str, int, int, list[str], list[int]]


class Journal:
    """`note` is called by the event loop, everything else is the thread's; `folder` is BALLOT_HOME/journal.

    Each count has one writer: `_taken` and `_lost` the event loop, `_done` the thread.
    """

    def __init__(self, folder: Path, *, clock: Clock, flush_s: float = FLUSH_S) -> None:
        self._files = JournalFiles(folder, clock=clock)
        self._clock = clock
        self._flush_s = flush_s
        self._waiting: deque[Noted] = deque()
        self._taken = self._done = self._lost = self._lost_said = 0
        self._unwritten = b""
        self._unwritten_votes = 0
        self._failing = False
        self._say_at_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def note(self, ballot: str, shard: int, decisions: Sequence[Decision]) -> None:
        """Remember what one call of the gate accepted."""
        accepted = [decision for decision in decisions if decision.outcome == "accepted"]
        if not accepted:
            return
        if self._taken - self._done + len(accepted) > VOTES_WAITING_MAX:
            self._lost += len(accepted)
            return
        self._taken += len(accepted)
        references = [decision.reference for decision in accepted]
        numbers = [decision.number for decision in accepted]
        self._waiting.append((ballot, shard, accepted[0].accepted_us, references, numbers))

    def close(self) -> None:
        """Write what waits, and end; a disk that does not answer is not waited for."""
        self._stop.set()
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        while not self._stop.wait(self._flush_s):
            self._flush()
        self._flush()
        self._files.close()

    def _flush(self) -> None:
        """Write all that waits, or say why that cannot be done; it is tried again."""
        try:
            while self._unwritten or self._waiting:
                if not self._unwritten:
                    self._encode()
                self._files.append(self._unwritten)
                self._done += self._unwritten_votes
                self._unwritten, self._unwritten_votes = b"", 0
        except OSError as error:
            self._say(f"{type(error).__name__}: {error.strerror}")
        except Exception as error:  # noqa: BLE001  # the one place: a bug costs the journal, not a vote
            self._done += self._unwritten_votes
            self._unwritten, self._unwritten_votes = b"", 0
            log.alarm("journal failed", error=type(error).__name__, place=place(error))
        else:
            if self._failing or self._lost > self._lost_said:
                log.warning("journal written again", votes_missing=self._lost - self._lost_said)
                self._failing, self._lost_said = False, self._lost

    def _encode(self) -> None:
        """Take the next calls out of what waits, as lines."""
        lines = []
        while self._waiting and self._unwritten_votes < VOTES_WRITTEN:
            ballot, shard, at_us, references, numbers = self._waiting.popleft()
            self._unwritten_votes += len(references)
            lines.append(Acceptances(ballot, shard, at_us, references, numbers).to_line())
        self._unwritten = b"".join(lines)

    def _say(self, reason: str) -> None:
        now_s = self._clock.monotonic()
        if not self._failing or now_s >= self._say_at_s:
            self._failing, self._say_at_s = True, now_s + SAID_S
            log.error("journal not written", reason=reason, text="Votes are taken as ever: see to the disk.")
