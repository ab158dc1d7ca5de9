"""How findings read: a line a book, a line a kind of fault, a line a vote, the difference last."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops.check.command import Outcome

#: How many of each kind are named; all of them are counted.
NAMED_MAX = 100


def as_text(outcome: Outcome) -> str:
    """Return the report for a person; the last line is `differences: N`."""
    b = outcome.books
    differences = b.differences()
    lines = [f"ballot {outcome.ballot}: {', '.join(sorted(set(outcome.states)))}", ""]
    equations = {
        "issued": f"issued {b.issued} = used {b.used} + unused {b.unused} + revoked {b.revoked}",
        "accepted": f"accepted {b.accepted} = un-acknowledged {b.unacknowledged} + stored {b.stored}"
        f" + quarantined {b.quarantined}",
        "electronic": f"accepted {b.accepted} - released {b.released}"
        f" = voted electronically {b.voted_electronic}",
        "entitled": f"entitled {b.entitled} >= voted electronically {b.voted_electronic}"
        f" + returned otherwise {b.returned_other}",
    }
    lines += [f"{equations.get(name, name)}; difference {value}" for name, value in differences.items()]
    lines += ["", *(f"{kind}: {count}" for kind, count in outcome.counts.items())]
    if outcome.named:
        lines += ["", *(f"{found.kind.value}: {found.where}: {found.what}" for found in outcome.named)]
    for name, rows in outcome.notes.items():
        lines += [f"note, {name}: {where}: {what}" for where, what in rows]
    lines += ["", f"differences: {outcome.differences}"]
    return "\n".join(lines)


def as_json(outcome: Outcome) -> str:
    """Return the report for a program."""
    return json.dumps(
        {
            "ballot": outcome.ballot,
            "states": outcome.states,
            "books": outcome.books.to_dict(),
            "books_differences": outcome.books.differences(),
            "counts": outcome.counts,
            "findings": [
                {"kind": found.kind.value, "where": found.where, "what": found.what}
                for found in outcome.named
            ],
            "notes": {
                name: [{"where": where, "what": what} for where, what in rows]
                for name, rows in outcome.notes.items()
            },
            "differences": outcome.differences,
        },
        indent=2,
    )


def list_as_json(ballots: Sequence[str]) -> str:
    """Return the published ballots for a program."""
    return json.dumps({"ballots": list(ballots)})
