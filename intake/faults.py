"""Where in our own code an error arose, for the log: files and lines, never a value."""

import traceback
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGES: Final = ("ballot", "intake", "runtime")


def place(error: BaseException) -> str:
    """`file:line` of the innermost frame that is ours; empty when none is."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in PACKAGES:
            return f"{path.relative_to(ROOT)}:{frame.lineno}"
    return ""
