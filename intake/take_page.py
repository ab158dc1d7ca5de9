"""`python -m intake.take_page FOLDER NAME…`: takes the page into FOLDER, where the versions named are in use.

A process of its own, so that a parent that has run for weeks takes a page with the code that is there now.
It imports little, because processes are replaced only after it.
"""

import sys
from pathlib import Path

from intake.page_store import PageStore


def main(folder: str, *in_use: str) -> None:
    """Print what was taken, or why nothing was."""
    sys.stdout.write(f"{PageStore(Path(folder), in_use=lambda: in_use).report()}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
