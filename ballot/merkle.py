"""RFC 6962 hash trees: one signature over a root covers every leaf, and a short path proves one of them."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

Step: TypeAlias = tuple[Literal["L", "R"], bytes]
"""A sibling on the way up: "L" when the listed hash is the left operand."""


def leaf_hash(leaf: bytes) -> bytes:
    """SHA-256(0x00 ‖ leaf)."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """The root over `leaves` (their data, not their hashes); SHA-256 of nothing when there are none."""
    return root_of_hashes([leaf_hash(leaf) for leaf in leaves])


def root_of_hashes(hashes: Sequence[bytes]) -> bytes:
    """The root over leaves of which only the hashes are at hand."""
    if not hashes:
        return hashlib.sha256().digest()
    level = list(hashes)
    while len(level) > 1:
        level = _above(level)
    return level[0]


def path(leaves: Sequence[bytes], index: int) -> list[Step]:
    """The steps from leaf `index` to the root."""
    return _steps(levels(leaves), _checked(index, len(leaves)))


def all_paths(leaves: Sequence[bytes]) -> list[list[Step]]:
    """The path of every leaf, in the leaves' order; the tree is hashed once."""
    tree = levels(leaves)
    return [_steps(tree, index) for index in range(len(leaves))]


def root_from_path(leaf: bytes, steps: Iterable[Step]) -> bytes:
    """The root that a leaf's hash `leaf` and its `steps` lead to."""
    for side, sibling in steps:
        leaf = node_hash(sibling, leaf) if side == "L" else node_hash(leaf, sibling)
    return leaf


def levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """All levels, leaf hashes first, root last.

    Pairing from the left gives the same tree as RFC 6962's split at the largest power of two.
    """
    tree = [[leaf_hash(leaf) for leaf in leaves]]
    while len(tree[-1]) > 1:
        tree.append(_above(tree[-1]))
    return tree


def _above(level: list[bytes]) -> list[bytes]:
    """The next level up; an odd node at the end rises unchanged."""
    above = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    if len(level) % 2:
        above.append(level[-1])
    return above


def _steps(tree: list[list[bytes]], index: int) -> list[Step]:
    """The siblings of `index` on every level below the root; an odd node at the end has none on its level."""
    steps: list[Step] = []
    for level in tree[:-1]:
        if index % 2:
            steps.append(("L", level[index - 1]))
        elif index + 1 < len(level):
            steps.append(("R", level[index + 1]))
        index //= 2
    return steps


def _checked(index: int, count: int) -> int:
    if not 0 <= index < count:
        raise IndexError(f"There is no leaf {index} among {count}.")
    return index
