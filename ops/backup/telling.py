"""What a command found of the backups, as an event of their cluster, if the servers run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ops.backup.cluster import ClusterSource
from runtime import logs
from runtime.addresses import configured
from runtime.embedded import Embedded
from runtime.servers import Servers

if TYPE_CHECKING:
    from ops.backup.keys import What
    from runtime.addresses import Cluster
    from runtime.home import Home

log = logs.get("backup")


def tell(home: Home, what: What, detail: dict[str, object]) -> None:
    """Write what a verification found as an event, if the servers run: nothing is started for it."""
    configured_ones = configured(os.environ)
    if configured_ones is not None:
        found = Servers(home, _configured=configured_ones, _userinfo=configured_ones.userinfo)
    else:
        embedded = Embedded(home, supervise=False)
        found = Servers(home, _embedded=embedded)
        if not {"voterdb", "userdb"} <= set(embedded.processes()):
            return
    cluster: Cluster = "voterdb" if what == "queue" else what
    ClusterSource(found, cluster).event("backup.verified", {"what": what, **detail})
