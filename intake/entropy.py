"""Random bytes drawn from the system a block at a time: a vote needs three, and each is a system call."""

import os
from typing import Final

BLOCK_BYTES: Final = 4_096


class Entropy:
    """The system's random bytes, each given out once. Processes of ours are started, never forked."""

    __slots__ = ("_block", "_given")

    def __init__(self) -> None:
        self._block = b""
        self._given = 0

    def __call__(self, length: int) -> bytes:
        """`length` bytes that nobody else gets."""
        start = self._given
        end = start + length
        if end > len(self._block):
            if length > BLOCK_BYTES:
                return os.urandom(length)
            self._block = os.urandom(BLOCK_BYTES)
            start, end = 0, length
        self._given = end
        return self._block[start:end]
