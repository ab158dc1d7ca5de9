"""`ballot recover --dry-run` at the home's own servers: what is wrong, and nothing is started for it.

A server that starts changes its files: the queue's cuts a torn end off, a cluster's takes new migrations. So
those that run are asked, and of a queue that does not run only the files are looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from ops.recovery import wrong
from runtime import append_only
from runtime.embedded import Embedded
from runtime.lifecycle import run_async
from runtime.servers import Servers
from runtime.starting import lost_data, why_not_started
from runtime.valkey_server import ValkeyServer

if TYPE_CHECKING:
    from runtime.home import Home

QUEUE: Final = ValkeyServer.name
NEEDED: Final = frozenset({QUEUE, "voterdb"})


def look(home: Home) -> list[str]:
    """Return what is wrong, empty if nothing is; ClickException if that cannot be known as things are."""
    server = ValkeyServer(home)
    if lost := lost_data(server, home):
        return [lost]
    embedded = Embedded(home, supervise=False)
    running = embedded.processes()
    if running.keys() >= NEEDED and server.answers(embedded.port(QUEUE)):
        return run_async(lambda: wrong.compare(Servers(home, _embedded=embedded), home.desk / "roots"))
    if QUEUE not in running and (told := files(server)):
        return told
    away = ", ".join(sorted(NEEDED - running.keys()))
    what = f"{away} does not run" if away else f"{QUEUE} does not answer"
    last = f" (the last it said: {why_not_started(server, home)})" if QUEUE in what else ""
    raise click.ClickException(
        f"{what}{last}, so the queue could not be compared with the voter database; nothing was started, and "
        "nothing changed. Run this again beside `ballot up`; without --dry-run it starts the servers itself."
    )


def stopped(home: Home) -> bool:
    """Whether the queue has run here and does not now."""
    return ValkeyServer(home).holds_data() and QUEUE not in Embedded(home, supervise=False).processes()


def files(server: ValkeyServer) -> list[str]:
    """What can be seen in the queue's files without starting it, and a start would not mend by itself."""
    if not server.files.is_dir():
        return []
    if append_only.newest(server.files) is None:
        return [f"{server.files / append_only.MANIFEST} names no file that is there"]
    broken = server.broken()
    return [broken] if broken else []
