"""What overlays' own voters sent, written down before: who is cut short leaves votes that nobody tells of.

`NAME.attempts.jsonl` has two kinds of lines. Before a vote is sent for the first time:
`{"ballot", "sealed_sha256", "member_id", "marks": {question: [option, ...]}}`; once every answer to it was a
refusal for good: `{"sealed_sha256", "refused": status}`. A vote that has the first, not the second, and is
not in `NAME.sealed.jsonl`, where those with a receipt are, may have been accepted or not: `read` tells how
many these are, and what they would add. A torn last line is of a vote that was not sent yet.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ATTEMPTS: Final = "attempts.jsonl"
SEALED: Final = "sealed.jsonl"
LINE_BYTES_MAX: Final = 1 << 16

Marks = dict[str, dict[str, int]]


@dataclass(slots=True)
class Sent:
    """Votes by question and option: those with a receipt, and those that may have been accepted beside them.

    `open` are the lines of the latter, as `ballot check --attempts` reads them.
    """

    counted: Marks = field(default_factory=dict)
    unconfirmed: Marks = field(default_factory=dict)
    open: list[dict[str, str]] = field(default_factory=list)


def read(folder: Path, name: str) -> Sent | None:
    """What the own voters of overlay `name` sent, by their files in `folder`; None if it has none."""
    path = folder / f"{name}.{ATTEMPTS}"
    if not path.exists():
        return None
    held = {told["sealed_sha256"] for told in _lines(folder / f"{name}.{SEALED}")}
    refused = {told["sealed_sha256"] for told in _lines(path) if "refused" in told}
    sent = Sent()
    for told in _lines(path):
        digest = told["sealed_sha256"]
        if "marks" not in told or digest in refused:
            continue
        into = sent.counted if digest in held else sent.unconfirmed
        for question, options in told["marks"].items():
            column = into.setdefault(question, {})
            for option in options:
                column[option] = column.get(option, 0) + 1
        if digest not in held:
            sent.open.append({"ballot": told["ballot"], "sealed_sha256": digest})
    return sent


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a file of JSON lines; none where there is no such file."""
    if not path.exists():
        return
    with path.open("rb") as lines:
        for line in iter(lambda: lines.readline(LINE_BYTES_MAX), b""):
            try:
                told = json.loads(line)
            except ValueError:
                continue
            if isinstance(told, dict) and "sealed_sha256" in told:
                yield told
