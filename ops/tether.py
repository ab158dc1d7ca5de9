"""Ties a child to its supervisor, then becomes the command: `tether.py SUPERVISOR_PID COMMAND…`.

The kernel sends the child SIGTERM when its parent ends, however it ends; the tie survives the exec below.
Run by path with an isolated interpreter, so it imports nothing of ours.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie, make sure that the parent did not end before the tie, and exec."""
    supervisor_pid, command = int(sys.argv[1]), sys.argv[2:]
    if (
        sys.platform == "linux"
        and ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM) != 0
    ):
        raise OSError(ctypes.get_errno(), "the kernel refused the tie to the supervisor")
    if os.getppid() != supervisor_pid:
        sys.exit("the supervisor ended first")
    os.execv(command[0], command)  # noqa: S606  # a list made by the supervisor, never a shell string


if __name__ == "__main__":
    main()
