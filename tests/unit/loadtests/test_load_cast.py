"""`ballot cast` at the terminal: what it is given is judged before anything is sent."""

from pathlib import Path

from click.testing import CliRunner

from loadtests.cast import cast


def test_a_binary_code_file_is_one_sentence(tmp_path: Path) -> None:
    """The file is named, and its bytes are not."""
    file = tmp_path / "code.bin"
    file.write_bytes(b"\xff\xfe\x00\x01")

    done = CliRunner().invoke(cast, ["branch-41", "--code-file", str(file)])

    assert done.exit_code == 1
    assert done.stderr == f"Error: {file} is not a text file with just the code in it.\n"
