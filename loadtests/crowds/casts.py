"""What became of every vote that was sent: when it was planned, how long its voter waited, how it ended.

A wait counts from the moment the vote was first to be sent to the receipt, with every attempt in between; who
never got a receipt waits for ever. `casts.npz` of a run's directory; it says nothing of who or what.
"""

import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from loadtests.crowds.buckets import BUCKETS_MAX, bucket_of_each
from loadtests.crowds.ledger import ACCEPTING, LEFT_OUT
from loadtests.crowds.timetable import Kind, Rows
from loadtests.voting.voter import FORBIDDEN

FILE: Final = "casts.npz"
CASTS_MAX: Final = 20_000_000
CAST: Final = np.dtype(
    [
        ("at_s", "<f8"),
        ("waited_s", "<f8"),
        ("late_s", "<f8"),
        ("sent_s", "<f8"),
        ("answered_s", "<f8"),
        ("first", "<u2"),
        ("kind", "u1"),
        ("held", "?"),
    ]
)
"""Run seconds of the planned moment; seconds to the receipt (infinite without, no number for a vote that lost
to the voter's other device); how late its first attempt was sent by the generator's fault, when it was sent,
by whosever fault, when that was answered and with what; whether the voter holds a receipt in the end."""

Casts = NDArray[np.void]
NOT_OPEN: Final = 409
VOTES: Final = [int(kind) for kind in (Kind.CAST, Kind.LAST)]
"""A voter's own vote: one of these each."""

JUDGED: Final = [*VOTES, *(int(kind) for kind in (Kind.CLICK, Kind.AGAIN, Kind.UNREAD))]


def of_part(rows: Rows, answers: NDArray[np.void], held: NDArray[np.bool_]) -> Casts:
    """The votes of one generator's part, of its rows, its answers, and which rows' voters hold a receipt.

    Without those who came in the last second and were told at once that it had closed.
    """
    answers = answers[answers["status"] != LEFT_OUT]
    answers = answers[np.argsort(answers["attempt"], kind="stable")]
    first = answers[answers["attempt"] == 1]
    accepted = answers[np.isin(answers["status"], list(ACCEPTING))]
    found = np.zeros(len(rows), CAST)
    found["at_s"], found["kind"], found["held"] = rows["at_s"], rows["kind"], held
    found["waited_s"] = np.inf
    waited_s = accepted["done_s"] - rows["at_s"][accepted["row"]]
    np.minimum.at(found["waited_s"], accepted["row"], waited_s)
    found["first"][first["row"]] = first["status"]
    found["answered_s"][first["row"]] = first["done_s"]
    found["sent_s"][first["row"]] = first["sent_s"]
    # What waited for a device to be free waited for answers: that is no lateness of the generator's.
    found["late_s"][first["row"]] = np.where(first["waited"], 0.0, first["sent_s"] - first["planned_s"])
    last = np.zeros(len(rows), np.uint16)
    last[answers["row"]] = answers["status"]  # of several attempts the last one stands
    found["waited_s"][(last == FORBIDDEN) & held & np.isinf(found["waited_s"])] = np.nan
    sent = np.zeros(len(rows), np.bool_)
    sent[first["row"]] = True
    too_late = (rows["kind"] == Kind.LAST) & (found["first"] == NOT_OPEN)
    judged: NDArray[np.bool_] = sent & np.isin(rows["kind"], JUDGED) & ~too_late
    return found[judged]


def waits(votes: Casts, start_s: float) -> dict[int, tuple[Counter[int], int]]:
    """By the unix second in which each vote was first due: buckets of the waits, and who waited for ever.

    Run second 0 is at unix time `start_s`. Who lost to their other device is in neither.
    """
    found: dict[int, tuple[Counter[int], int]] = {}
    seconds = (start_s + votes["at_s"]).astype(np.int64)
    came = np.isfinite(votes["waited_s"])
    places = seconds[came] * BUCKETS_MAX + bucket_of_each(votes["waited_s"][came] * 1000)
    for place, count in zip(*(each.tolist() for each in np.unique(places, return_counts=True)), strict=True):
        second, index = divmod(place, BUCKETS_MAX)
        found.setdefault(second, (Counter(), 0))[0][index] += count
    never = np.unique(seconds[np.isinf(votes["waited_s"])], return_counts=True)
    for second, count in zip(*(each.tolist() for each in never), strict=True):
        found[second] = (found[second][0] if second in found else Counter(), count)
    return found


def save(folder: Path, parts: Sequence[Casts]) -> None:
    """Write `casts.npz` of all parts, in the order of the moments."""
    whole = np.concatenate(parts) if parts else np.zeros(0, CAST)
    np.savez_compressed(folder / FILE, casts=whole[np.argsort(whole["at_s"], kind="stable")])


def load(path: Path | None) -> Casts | None:
    """The votes of a run; None when they were not recorded or cannot be read."""
    if path is None:
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            casts: Any = file["casts"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    return casts if casts.dtype == CAST and 0 < len(casts) <= CASTS_MAX else None
