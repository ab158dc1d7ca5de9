"""What the desk's own journal of the register says of batches; it is kept outside the voter database.

`desk/roots/<ballot>.jsonl`, a line an act: signed, abandoned, pushed (scrutineer/roots.py writes it).
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def live(roots: Path, ballot: str) -> set[int]:
    """Return the batches that the desk signed and did not give up: the register must hold them."""
    acts = _acts(roots, ballot)
    return acts["signed"] - acts["abandoned"]


def on_their_way(roots: Path, ballot: str) -> set[int]:
    """Return those of them that are not at the gate yet, as far as the desk has noted."""
    acts = _acts(roots, ballot)
    return acts["signed"] - acts["abandoned"] - acts["pushed"]


def _acts(roots: Path, ballot: str) -> defaultdict[str, set[int]]:
    """The batches by act; a line that is not whole was being written when its desk died."""
    found: defaultdict[str, set[int]] = defaultdict(set)
    try:
        lines = (roots / f"{ballot}.jsonl").read_bytes().splitlines()
    except FileNotFoundError:
        return found
    for line in lines:
        try:
            act = json.loads(line)
            found[str(act["act"])].add(int(act["batch"]))
        except (ValueError, KeyError, TypeError):
            continue
    return found
