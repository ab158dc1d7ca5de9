"""The metrics port answers on loopback and adds up the processes that share a directory."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING

import click
import pytest
from prometheus_client import CollectorRegistry, Counter

from runtime import metrics

if TYPE_CHECKING:
    from pathlib import Path

CHILD = """
from prometheus_client import Counter
Counter("ballot_try_total", "Tries.").inc(2)
"""

PARENT = """
import urllib.request
from runtime import metrics
from prometheus_client import Counter
Counter("ballot_try_total", "Tries.").inc(1)
server = metrics.serve(0)
print(urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics").read().decode())
server.close()
"""


def test_metrics_are_served_and_the_port_is_freed() -> None:
    """A registry's numbers are answered on loopback until the server is closed."""
    registry = CollectorRegistry()
    Counter("ballot_x_total", "X.", registry=registry).inc()
    server = metrics.serve(0, registry=registry)

    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as answer:
        assert b"ballot_x_total 1.0" in answer.read()
    server.close()
    metrics.serve(server.port, registry=registry).close()


def test_a_taken_port_is_one_sentence() -> None:
    """A port that is in use is a user's mistake."""
    server = metrics.serve(0)
    try:
        with pytest.raises(click.ClickException, match=f"127.0.0.1:{server.port} cannot be used"):
            metrics.serve(server.port)
    finally:
        server.close()


def test_processes_that_share_a_directory_are_added_up(tmp_path: Path) -> None:
    """With PROMETHEUS_MULTIPROC_DIR the parent's port shows the sum over all processes, ended ones too."""
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for _ in range(2):
        subprocess.run([sys.executable, "-c", CHILD], env=env, check=True)

    done = subprocess.run([sys.executable, "-c", PARENT], env=env, check=True, capture_output=True, text=True)

    assert "ballot_try_total 5.0" in done.stdout
