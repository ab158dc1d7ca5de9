"""Several ballots in one desk command: all that can be closed and exported are, whatever the others do."""

from pathlib import Path

from ballot import export_file
from tests.conftest import RunBallot, Stack
from tests.integration import deskwork
from tests.integration.deskwork import refusal


async def test_several_close_and_are_exported_together(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot_id: str
) -> None:
    """Two ballots in which one and two voted, between them one that was never opened and is named."""
    names = [f"{ballot_id}-{letter}" for letter in "ab"]
    for votes, name in enumerate(names, start=1):
        rows = deskwork.read_codes(deskwork.prepare(run_ballot, tmp_path, name, voters=3))
        run_ballot("open", name)
        for member in sorted(rows)[:votes]:
            vote = deskwork.seal(stack, name, rows[member]["code"], "yes")
            assert await deskwork.cast(stack, name, vote) == "accepted"
    never = f"{ballot_id}-never"
    several = [names[0], never, names[1]]
    exports = tmp_path / "exports"
    exports.mkdir()

    told = run_ballot("close", *several, check=False)
    assert told.returncode == 1
    assert f"1 of 3 failed\n{never}: " in told.stderr
    assert [line.split(" at ")[0] for line in told.stdout.splitlines()] == [
        f"{name} closed" for name in names
    ]

    assert "is not a directory" in refusal(run_ballot, "export", *names, "--out", tmp_path / "no")
    told = run_ballot("export", *several, "--out", exports, check=False)
    assert told.returncode == 1
    assert f"1 of 3 failed\n{never}: " in told.stderr
    found = {}
    for path in exports.iterdir():
        manifest = export_file.parse_manifest(path.read_bytes().splitlines(keepends=True)[0])
        found[path.name] = (manifest.ballot, manifest.votes)
    assert found == {f"{name}.export": (name, votes) for votes, name in enumerate(names, start=1)}
