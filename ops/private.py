"""Files of ours are for their owner alone, whatever the umask and whoever made them first."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MODE = 0o600


def private(path: Path, flags: int = 0) -> int:
    """Open `path` for writing, made if it is not there; `flags` say whether to append or truncate."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flags, MODE)
    os.fchmod(descriptor, MODE)
    return descriptor
