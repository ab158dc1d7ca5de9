"""Probe codes: each taken once, whatever is killed, and in the shard that was asked for."""

import csv
import hashlib
import secrets
from pathlib import Path

import pytest

from ballot.code import Code
from ballot.receipt import shard_of_digest
from ballot.suite import keyed_digest
from ops.monitor.codes import CodeStore, NoCodes, codes_left

KEY = bytes(32)


def issue(directory: Path, number: int, count: int) -> set[str]:
    """Write a code file as the desk does; give its codes."""
    codes = [Code.draw(secrets.token_bytes).text() for _ in range(count)]
    with (directory / f"codes-{number:03d}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("member_id", "channel", "destination", "code", "link"))
        writer.writerows((f"m{i}", "email", "x@probe.invalid", code, "") for i, code in enumerate(codes))
    return set(codes)


def store(directory: Path) -> CodeStore:
    """A store as after a restart."""
    codes = CodeStore(directory, ballot_id="probe", shards=2, digest_key=KEY)
    codes.load()
    return codes


def take_all(codes: CodeStore, shard: int) -> list[Code]:
    """Every code of a shard."""
    found = []
    while True:
        try:
            found.append(codes.take(shard))
        except NoCodes:
            return found


def test_codes_come_from_the_shard_asked_for(tmp_path: Path) -> None:
    """Each shard is probed with codes that live in it."""
    issue(tmp_path, 1, 20)

    for shard in range(2):
        for code in take_all(store(tmp_path), shard):
            digest = keyed_digest(KEY, hashlib.sha256(code.credential("probe")).digest())
            assert shard_of_digest(digest, 2) == shard


def test_a_restart_never_reuses_a_code(tmp_path: Path) -> None:
    """A new store after every single code, with a second file appearing, takes each code once."""
    issued = issue(tmp_path, 1, 60)
    taken = [store(tmp_path).take(shard) for shard in (0, 1) for _ in range(2)]
    issued |= issue(tmp_path, 2, 12)
    assert codes_left(tmp_path) == 68

    taken += take_all(store(tmp_path), 0) + take_all(store(tmp_path), 1)

    assert len(taken) == 72
    assert {code.text() for code in taken} == issued
    assert codes_left(tmp_path) == 0


def test_files_issued_later_are_picked_up(tmp_path: Path) -> None:
    """A running store finds new codes when it looks again."""
    codes = store(tmp_path)
    with pytest.raises(NoCodes):
        codes.take(0)
    issue(tmp_path, 1, 40)

    codes.load()

    assert codes.left == 40
