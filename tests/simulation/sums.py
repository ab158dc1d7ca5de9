"""Runs of the simulation added up over days: one JSON line a run in a file, and what all of them come to."""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parents[2]
FIELDS: Final = {
    "commit": str,
    "level": str,
    "from": int,
    "seeds": int,
    "failed": list,
    "seconds": float,
    "cpu_seconds": float,
}
FAILURES_SHOWN: Final = 10


def commit() -> str:
    """The commit that is played; with a plus when the tree is not as that commit has it."""
    head = _git("rev-parse", "--short=12", "HEAD")
    if not head:
        return "unknown"
    return f"{head}+" if _git("status", "--porcelain", "--untracked-files=no") else head


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def append(path: Path, summary: dict[str, Any]) -> None:
    """Add what one run of a level came to."""
    first, last = summary["seeds"]
    line = {
        "commit": commit(),
        "level": summary["level"],
        "from": first,
        "seeds": last - first + 1,
        "failed": summary["failed"],
        "seconds": summary["seconds"],
        "cpu_seconds": summary["cpu_seconds"],
    }
    try:
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        raise click.ClickException(f"{path} cannot be added to: {error.strerror}") from None


def told(path: Path) -> list[str]:
    """The totals of a file by level, for a person; ClickException when it is no file of ours."""
    by_level: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in _lines(path):
        by_level[line["level"]].append(line)
    said = [_total(level, by_level[level]) for level in sorted(by_level)]
    failed = [(seed, line) for lines in by_level.values() for line in lines for seed in line["failed"]]
    said += [f"failed: seed {seed} at level {line['level']}, {line['commit']}" for seed, line in failed]
    if len(failed) > FAILURES_SHOWN:
        said[FAILURES_SHOWN - len(failed) :] = [f"and {len(failed) - FAILURES_SHOWN:,} more failed"]
    return said or ["nothing was played yet"]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError):
        raise click.ClickException(f"{path} cannot be read") from None
    for number, line in enumerate(text.splitlines(), 1):
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if not isinstance(found, dict) or not all(
            isinstance(found.get(name), (int, float) if kind is float else kind)
            for name, kind in FIELDS.items()
        ):
            raise click.ClickException(f"line {number} of {path} is no run of the simulation")
        yield found


def _total(level: str, lines: list[dict[str, Any]]) -> str:
    played, failed = sum(line["seeds"] for line in lines), sum(len(line["failed"]) for line in lines)
    cpu_s = sum(line["cpu_seconds"] for line in lines)
    commits = len({line["commit"] for line in lines})
    return (
        f"{level}: {played:,} histories in {len(lines):,} runs, {_different(lines):,} of them different "
        f"(seeds of {commits:,} commits), {failed:,} failed, {cpu_s / 3600:.1f} hours of CPU"
    )


def _different(lines: list[dict[str, Any]]) -> int:
    """Histories that are not one played before: the same commit plays a seed the same."""
    spans: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for line in lines:
        spans[line["commit"]].append((line["from"], line["from"] + line["seeds"]))
    count = 0
    for found in spans.values():
        end = 0
        for first, after in sorted(found):
            count += max(0, after - max(first, end))
            end = max(end, after)
    return count
