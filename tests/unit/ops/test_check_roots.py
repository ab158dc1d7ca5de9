"""The checker's own Merkle root, computed leaf by leaf, is the desk's."""

import pytest

from ballot import merkle
from ops.check.roots import RunningRoot


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 31, 100])
def test_a_running_root_is_the_rfc_6962_root(count: int) -> None:
    """Any number of leaves, added one by one, gives the root over all of them."""
    leaves = [b"leaf %d" % number for number in range(count)]
    running = RunningRoot()

    for leaf in leaves:
        running.add(leaf)

    assert running.root() == merkle.root(leaves)
    assert running.leaves == count
