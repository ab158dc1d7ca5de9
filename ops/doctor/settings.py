"""Every setting of every process, as that process itself reads it; and names that no process knows."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from ops.doctor.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PREFIX = "BALLOT_"
WAIT_S = 30
CORRECT = "correct it; README, Settings, says what may be there"

KNOWN = frozenset(
    {
        "BALLOT_HOME",
        "BALLOT_VALKEY_URL",
        "BALLOT_VOTERDB_URL",
        "BALLOT_USERDB_URL",
        "BALLOT_PUBLIC_URL",
        "BALLOT_PROXY_HOPS",
        "BALLOT_CONFIRM_SECONDS",
        "BALLOT_DURABILITY",
        "BALLOT_REPLICAS",
        "BALLOT_INFLIGHT_MAX",
        "BALLOT_PROXY_PROTOCOL",
        "BALLOT_HEAD_SECONDS",
        "BALLOT_BODY_SECONDS",
        "BALLOT_CONNECTIONS_MAX",
        "BALLOT_FAILURES_PER_MINUTE",
        "BALLOT_COMPLAINTS_PER_MINUTE",
        "BALLOT_TLS_CERTIFICATE",
        "BALLOT_TLS_KEY",
        "BALLOT_CHECK_SECONDS",
        "BALLOT_WORKER_PROCESSES",
        "BALLOT_WORKER_CLAIM_IDLE",
        "BALLOT_BACKUP",
        "BALLOT_BACKUP_FULL_HOURS",
        "BALLOT_BACKUP_MINUTES",
        "BALLOT_BACKUP_KEEP_DAYS",
        "BALLOT_METRICS_HOST",
        "BALLOT_PARENT_PID",
    }
)
"""The settings in the README's table, and what `ballot up` tells its children."""

#: Each process reads its own settings, in a process of its own: nobody here knows what another's may be.
READERS = {
    "servers": "from runtime.addresses import configured; configured(os.environ)",
    "intake": "from intake.settings import Settings; Settings.from_environment(os.environ)",
    "worker": "from workers.service import WorkerSettings; WorkerSettings.of(os.environ)",
    "monitor": "from runtime.environment import Environment; e = Environment(os.environ);"
    " e.seconds('BALLOT_CHECK_SECONDS', 300.0); e.done()",
    "backup": "from ops.backup.settings import BackupSettings; BackupSettings.of(os.environ)",
}
ASK = """
import os, sys, click
try:
    {reader}
except click.ClickException as error:
    sys.stdout.write(error.message)
    sys.exit(3)
"""
REFUSED = 3


def settings(home: Path) -> Iterator[Finding]:  # noqa: ARG001  # settings are the environment's
    """Ask every process, and look at the names."""
    yield from look(os.environ)


def look(env: Mapping[str, str]) -> Iterator[Finding]:
    """Say what each process says of `env`."""
    asked = [(name, _ask(reader, env)) for name, reader in READERS.items()]
    wrong = [
        Finding("settings", f"{name}: {line.rstrip('.')}", CORRECT)
        for name, said in asked
        for line in said.splitlines()
    ]
    unknown = sorted(name for name in env if name.startswith(PREFIX) and name not in KNOWN)
    wrong += [Finding("settings", f"{name} is no setting of any process", CORRECT) for name in unknown]
    given = sum(name in KNOWN for name in env)
    yield from wrong or [Finding("settings", f"{given} given, each as its process wants it")]


def _ask(reader: str, env: Mapping[str, str]) -> str:
    """What the process says is wrong; nothing if it would start."""
    command = [sys.executable, "-c", ASK.format(reader=reader)]
    try:
        done = subprocess.run(
            command, env=dict(env), capture_output=True, text=True, timeout=WAIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return "it does not say whether it would start"
    if done.returncode == REFUSED:
        return done.stdout
    return "" if done.returncode == 0 else "it cannot be asked: this installation is damaged"
