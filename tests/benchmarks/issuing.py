"""The two halves of the figure of codes issued a second, each in a process of its own; prints JSON.

Both are started as `python -c`, because a child of the pool would import again whatever module is run.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

from ballot import code_series
from runtime import children
from scrutineer import codes, session
from scrutineer.making import STRETCH
from scrutineer.session import Desk

WARM_CODES = 2_000


def ours() -> None:
    """Issue to every voter of a ballot as `ballot codes issue` does; our own start is not timed."""
    ballot, out = sys.argv[1:]

    async def issue(desk: Desk) -> None:
        started_s, cpu_s = time.perf_counter(), time.process_time()
        count = await codes.issue_all(desk, ballot, Path(out))
        seconds, desk_s = time.perf_counter() - started_s, time.process_time() - cpu_s
        makers = resource.getrusage(resource.RUSAGE_CHILDREN)
        found = {
            "count": count,
            "seconds": seconds,
            "desk_s": desk_s,
            "makers_s": makers.ru_utime + makers.ru_stime,
            "desk_kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
            "maker_kb": makers.ru_maxrss,
        }
        sys.stdout.write(json.dumps(found))

    session.run_desk(issue, people=True)


def raw() -> None:
    """Derive the credentials of as many codes in as many processes: HKDF and Ed25519, and nothing else."""
    count, processes = int(sys.argv[1]), children.cores()
    with children.pool(processes) as pool:
        list(pool.map(derive, [WARM_CODES] * processes))
        found = list(pool.map(derive, [count // processes] * processes))
    seconds, cpu_s = max(wall for wall, _ in found), sum(cpu for _, cpu in found)
    sys.stdout.write(json.dumps({"seconds": seconds, "cpu_s": cpu_s}))


def derive(count: int) -> tuple[float, float]:
    """Derive in this process; gives wall and CPU seconds."""
    drawn = code_series.draw(count, random=os.urandom)
    started_s, cpu_s = time.perf_counter(), time.process_time()
    for start in range(0, count, STRETCH):
        code_series.credentials(drawn[start : start + STRETCH], "bench")
    return time.perf_counter() - started_s, time.process_time() - cpu_s
