"""How a run's votes were to come: over the ballot's own days, and how those days were fitted into the run."""

import math
import zipfile
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from loadtests.report.happenings import real, windows
from loadtests.report.reading import RunDirectory

FILE: Final = "schedule.npz"
ARRIVALS_MAX: Final = 5_000_000
STEPS_MAX: Final = 336
"""Half-hours of a week, hours of a fortnight: fine enough to see a message go out."""

STEP_SECONDS: Final = (60, 300, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)


def plan(files: RunDirectory) -> dict[str, Any]:
    """Votes due by step of the ballot's own time, the windows, and how many votes were due in each."""
    run_s, ballot_s = _column(files, "run_s"), _column(files, "ballot_s")
    listed = windows(files)
    for window in listed:
        window["real"] = real(window)
        window["votes"] = (
            None
            if run_s is None
            else int(np.count_nonzero((run_s >= window["from_run_s"]) & (run_s < window["to_run_s"])))
        )
    told: dict[str, Any] = {"windows": listed}
    if run_s is not None and run_s.size:
        told |= {"votes": int(run_s.size), "run_seconds": round(float(run_s.max() - run_s.min()), 1)}
        told |= {"votes_real": sum(window["votes"] or 0 for window in listed if window["real"])}
    if ballot_s is not None and ballot_s.size:
        told |= _by_step(ballot_s)
    return told


def _by_step(ballot_s: NDArray[np.float64]) -> dict[str, Any]:
    first, last = float(ballot_s.min()), float(ballot_s.max())
    length = max(1.0, last - first)
    step = next((s for s in STEP_SECONDS if length / s <= STEPS_MAX), math.ceil(length / STEPS_MAX))
    begins = math.floor(first / step) * step
    steps = int((last - begins) // step) + 1
    counts = np.bincount(((ballot_s - begins) // step).astype(np.int64), minlength=steps)
    return {"ballot_step_s": step, "ballot_from_s": begins, "ballot_votes": [int(count) for count in counts]}


def _column(files: RunDirectory, name: str) -> NDArray[np.float64] | None:
    """One array of the schedule, if it is there and is numbers."""
    path = files.path(FILE)
    if path is None:
        return None
    try:
        with np.load(path, allow_pickle=False) as kept:
            column = np.asarray(kept[name], dtype=np.float64)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        files.faults.append(f"{FILE} holds no {name}.")
        return None
    column = column[:ARRIVALS_MAX]
    return column[np.isfinite(column)]
