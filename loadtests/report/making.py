"""A report made from a run directory: report.json for programs, report.html for people."""

from pathlib import Path
from typing import Any

from loadtests.report import document


class ReportFault(Exception):  # noqa: N818  # a fault in what was given, in one sentence
    """Why there is no report."""


def make(folder: Path) -> Path:
    """Write both files into `folder`, and return the page; what the run did not leave is told there."""
    told = read(folder)
    try:
        document.write(folder, told)
        return write_page(folder / "report.html", page_of(told))
    except OSError as error:
        raise ReportFault(f"The report cannot be written: {error.strerror}.") from error


def read(folder: Path) -> dict[str, Any]:
    """What report.json would say of the run in `folder`; ReportFault if no run has left anything there."""
    if not folder.is_dir():
        raise ReportFault(f"There is no directory {folder}.")
    told = document.build(folder)
    if not told["run"] and told["axis"] is None and told["verdict"]["verdict"] is None:
        raise ReportFault(f"No run has left anything in {folder}.")
    return told


def page_of(told: dict[str, Any]) -> str:
    """The page."""
    from loadtests.report import page  # noqa: PLC0415  # it draws; who only reads does not wait for that

    return page.render(told)


def write_page(path: Path, text: str) -> Path:
    """Put a page there; it appears whole."""
    draft = path.with_name(f".{path.name}")
    draft.write_text(text, encoding="utf-8")
    return draft.replace(path)
