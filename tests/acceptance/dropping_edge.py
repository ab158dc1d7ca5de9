"""A broken build to try the load lab on: an edge that acknowledges every Nth vote and never queues it.

    python -m tests.acceptance.dropping_edge --one-in 1000 -- ballot load tube-two-questions --report DIR

The voter of such a vote gets a receipt that is genuine in every check. Nothing of this is in the product: the
edges of the command that is run import this module because of the environment they are started in.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from itertools import count
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[2]
ONE_IN, TOLD = "DROPPING_EDGE_ONE_IN", "DROPPING_EDGE_TOLD"
EDGE = "--inherit-socket"
LOADED = f"""import sys
if {EDGE!r} in sys.orig_argv:
    from tests.acceptance import dropping_edge
    dropping_edge.install()
"""


@contextmanager
def environment(one_in: int, told: Path) -> Iterator[Mapping[str, str]]:
    """What to start a command in whose edges are to drop votes; `told` gets `BALLOT REFERENCE` a line."""
    with tempfile.TemporaryDirectory(prefix="dropping-edge-") as folder:
        Path(folder, "sitecustomize.py").write_text(LOADED, encoding="utf-8")
        yield os.environ | {
            "PYTHONPATH": os.pathsep.join((folder, str(ROOT))),
            ONE_IN: str(one_in),
            TOLD: str(told.absolute()),
        }


def install() -> None:
    """Break this process."""
    from intake.batch import Batcher  # noqa: PLC0415  # in an edge only

    Batcher.submit = _dropping(Batcher.submit, int(os.environ[ONE_IN]), Path(os.environ[TOLD]))  # type: ignore[method-assign]


def _dropping(submit: Callable[..., bool], one_in: int, told: Path) -> Callable[..., bool]:
    """`submit`, but every Nth vote is only asked about, and acknowledged if it would be taken."""
    from intake.gate import ACCESS, CAST, Decision  # noqa: PLC0415  # in an edge only

    votes = count(1)

    @wraps(submit)
    def broken(batcher: Any, function: str, **of: Any) -> bool:
        if function != CAST or next(votes) % one_in:
            return submit(batcher, function, **of)
        digest, _, reference, _, sealed_sha256, sealed_ip = of["args"]

        def acknowledge(found: Decision | None) -> None:
            if found is None or found.outcome != "ready":
                if not submit(batcher, CAST, **of):
                    of["done"](None)
                return
            found.outcome = "accepted"
            found.reference = reference.decode()
            found.accepted_us = batcher._clock.now_us()
            found.sealed_sha256 = sealed_sha256
            found.receipt = _receipt(batcher, of["ballot"], found)
            with told.open("a", encoding="ascii") as lines:
                lines.write(f"{of['ballot']} {found.reference}\n")
            of["done"](found)

        return submit(batcher, ACCESS, **of | {"args": (digest, sealed_ip), "done": acknowledge})

    return broken


def _receipt(batcher: Any, ballot: str, decision: Any) -> bytes:
    from ballot.receipt import Leaf  # noqa: PLC0415  # in an edge only

    leaf = Leaf(ballot, decision.reference, decision.accepted_us, decision.sealed_sha256)
    (receipt,) = batcher._issue_receipts([leaf])
    return bytes(receipt)


@click.command(context_settings={"ignore_unknown_options": True})
@click.option(
    "--one-in", type=click.IntRange(1), default=1000, show_default=True, help="One vote in so many."
)
@click.option("--told", type=click.Path(path_type=Path), default=Path("dropped"), help="What was dropped.")
@click.argument("command", nargs=-1, required=True)
def main(one_in: int, told: Path, command: Sequence[str]) -> None:
    """Run COMMAND with edges that drop votes after acknowledging them; its exit code is ours."""
    with environment(one_in, told) as env:
        sys.exit(subprocess.run(command, env=env, check=False).returncode)


if __name__ == "__main__":
    main()
