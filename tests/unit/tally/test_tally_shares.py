"""What key holders bring on paper is read back whatever its layout, and every slip is named."""

import hashlib
import secrets
import stat
from pathlib import Path

import click
import pytest
from shamir_mnemonic import Share
from shamir_mnemonic.wordlist import WORDLIST

from ballot.suite import key_id, verify_signature
from tally import ceremony
from tally.custody import BallotKeys, NotOneSecret, OpeningSeed, combine, derive, split
from tally.shares import HeldShare, check_numbers, read, secret_of, text
from tests.unit.tally.sealed_ballot import NOW_US

BALLOT = "tube-2025"


def make(directory: Path, *, threshold: int = 2, shares: int = 3, ballot: str = BALLOT) -> list[Path]:
    """Return the share files of a new key."""
    directory.mkdir()
    made = ceremony.make_key(
        ballot,
        threshold=threshold,
        shares=shares,
        directory=directory,
        now_us=NOW_US,
        random=secrets.token_bytes,
    )
    return list(made.files)


def words_of(path: Path) -> list[str]:
    """Return the words of a share file in order."""
    return list(read(path, ballot=BALLOT).share.words())


def refused(paths: list[Path], *, ballot: str = BALLOT) -> str:
    """Return the sentence with which these share files are refused."""
    with pytest.raises(click.ClickException) as caught:
        secret_of([read(path, ballot=ballot) for path in paths], ballot=ballot)
    assert "\n" not in caught.value.message
    return caught.value.message


def test_keys_are_derived_byte_for_byte() -> None:
    """The keys that a secret makes never change: a share from last year opens last year's ballot."""
    keys = derive(bytes(range(32)), ballot=BALLOT)

    assert len(keys.public_key) == 1216
    assert (key_id(keys.public_key), key_id(keys.result_key)) == ("01874518bf8d040c", "407fc589f97d45d5")
    assert derive(bytes(range(32)), ballot="tube-2026").public_key != keys.public_key


def test_secrets_do_not_show() -> None:
    """Neither a key nor a share ever prints what it holds."""
    keys = derive(bytes(32), ballot=BALLOT)

    shown = repr(keys) + repr(keys.opening) + repr(keys.opening.key()) + repr(keys.result)
    assert keys.opening.mlkem.hex() not in shown
    assert "mlkem=" not in shown
    assert isinstance(keys, BallotKeys)
    assert isinstance(keys.opening, OpeningSeed)


@pytest.mark.parametrize(("threshold", "shares"), [(1, 1), (2, 2), (2, 3), (3, 5), (5, 16)])
def test_ceremony_leaves_share_files_and_nothing_else(tmp_path: Path, threshold: int, shares: int) -> None:
    """N files that only their owner can read, any k of which make the key, and nothing else."""
    files = make(tmp_path / "out", threshold=threshold, shares=shares)

    assert sorted((tmp_path / "out").iterdir()) == files
    assert files[0].name == "share-01.txt"
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    held = [read(path, ballot=BALLOT) for path in files]
    assert [one.number for one in held] == list(range(1, shares + 1))
    assert secret_of(held[:threshold], ballot=BALLOT) == secret_of(held[-threshold:], ballot=BALLOT)


def test_rehearsal_is_signed_by_the_result_key(tmp_path: Path) -> None:
    """The desk can check with the public halves alone that the shares opened a test vote."""
    (tmp_path / "out").mkdir()
    made = ceremony.make_key(
        BALLOT, threshold=2, shares=3, directory=tmp_path / "out", now_us=NOW_US, random=secrets.token_bytes
    )

    digest = hashlib.sha256(made.rehearsal.statement).digest()
    verify_signature(made.result_key, made.rehearsal.signature, b"strike-ballot/v1/rehearsal\0" + digest)
    assert b'"rehearsed_at":"2025-07-29T12:00:05Z","shares_used":2' in made.rehearsal.statement


def test_failed_ceremony_leaves_nothing(tmp_path: Path) -> None:
    """A share file in the way stops the ceremony before any share is left lying about."""
    (tmp_path / "share-02.txt").mkdir()

    with pytest.raises(click.ClickException, match="cannot be written: File exists"):
        ceremony.make_key(
            BALLOT, threshold=2, shares=3, directory=tmp_path, now_us=NOW_US, random=secrets.token_bytes
        )

    assert [path.name for path in tmp_path.iterdir()] == ["share-02.txt"]


LAYOUTS = {
    "one a line": "\n".join,
    "one line, capitals": lambda words: " ".join(words).upper(),
    "numbered, odd punctuation": lambda words: "\n".join(
        f" {n}) {w.title()}" for n, w in enumerate(words, 1)
    ),
    "commas": ", ".join,
    "number above word": lambda words: "\n\n".join(f"{n}.\n{w}" for n, w in enumerate(words, 1)),
    "columns read down": lambda words: "\n".join(
        f"{n}. {words[n - 1]}  {n + 17}. {words[n + 16]}" if n + 17 <= len(words) else f"{n}. {words[n - 1]}"
        for n in range(1, 18)
    ),
    "comments": lambda words: "# mine\n\n" + "\n".join(f"{word}  # ok" for word in words) + "\n# end",
    "byte order mark": lambda words: "\ufeff" + " ".join(words),
    "windows line ends": "\r\n".join,
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_typed_back_in_any_layout(tmp_path: Path, layout: object) -> None:
    """However a share is laid out when typed back, it is the same share."""
    path = make(tmp_path / "out")[0]
    original = read(path, ballot=BALLOT).share
    typed = tmp_path / "typed.txt"
    typed.write_text(layout(words_of(path)), encoding="utf-8")  # type: ignore[operator]  # a lambda from the table

    assert read(typed, ballot=BALLOT).share == original


def test_utf16_is_read(tmp_path: Path) -> None:
    """A file saved as "Unicode" by an old editor is read."""
    path = make(tmp_path / "out")[0]
    typed = tmp_path / "typed.txt"
    typed.write_text(" ".join(words_of(path)), encoding="utf-16")

    assert read(typed, ballot=BALLOT).share == read(path, ballot=BALLOT).share


def test_mistakes_are_named(tmp_path: Path) -> None:
    """Each slip in one share is one sentence with the file and the word."""
    first, second, _ = make(tmp_path / "out")
    words = words_of(second)
    typed = tmp_path / "typed.txt"

    def said(content: str | bytes) -> str:
        typed.write_bytes(content if isinstance(content, bytes) else content.encode())
        return refused([first, typed])

    wrong = [*words[:6], words[6] + "x", *words[7:]]
    assert f"word 7, '{words[6]}x', is not in the word list; did you mean '{words[6]}'?" in said(
        "\n".join(wrong)
    )
    other = next(word for word in WORDLIST if word != words[10])
    assert "typed.txt does not pass its check" in said(" ".join([*words[:10], other, *words[11:]]))
    assert "has 32 words, not 33" in said(" ".join(words[:-1]))
    assert "word number 4 is there twice" in said(
        "\n".join(f"{4 if n == 5 else n}. {word}" for n, word in enumerate(words, 1))
    )
    assert "word number 5 is missing" in said(
        "\n".join(f"{n}. {w}" for n, w in enumerate(words, 1) if n != 5)
    )
    assert "has no words" in said("# nothing\n")
    assert "out of place" in said("& " + " ".join(words))
    assert "not a text file" in said(b"\xff\x00\xff")
    assert "far too long" in said("a " * 20_000)
    assert "cannot be read" in refused([first, tmp_path / "none.txt"])


def test_sets_of_shares_that_do_not_open(tmp_path: Path) -> None:
    """Too few, one twice, of another set, of another ballot: each is one sentence."""
    first, second, _ = make(tmp_path / "out")
    foreign = make(tmp_path / "foreign")[1]
    elsewhere = make(tmp_path / "elsewhere", ballot="bus-2025")[1]

    assert refused([first]) == "ballot tube-2025 opens with 2 shares and 1 was given"
    assert "are the same share, number 1" in refused([first, first])
    assert "is from another set of shares" in refused([first, foreign])
    assert "says it is a share of ballot bus-2025, not of tube-2025" in refused([first, elsewhere])
    assert second.exists()


def test_shares_that_only_look_alike() -> None:
    """Shares whose headers agree by chance do not make a secret."""
    one = Share.from_mnemonic(" ".join(split(bytes(32), threshold=2, shares=2)[0]))
    two = Share.from_mnemonic(" ".join(split(bytes(32), threshold=2, shares=2)[1]))
    forged = Share(**{**two.__dict__, "identifier": one.identifier})

    with pytest.raises(NotOneSecret):
        combine([one, forged])
    with pytest.raises(click.ClickException, match="do not fit together"):
        secret_of([HeldShare("a", one), HeldShare("b", forged)], ballot=BALLOT)


def test_file_is_made_to_be_printed() -> None:
    """The share file says what it is, and fits a page."""
    content = text(split(bytes(32), threshold=2, shares=3)[0], ballot=BALLOT, number=1, threshold=2, shares=3)

    lines = content.splitlines()
    assert "# Share: 1 of 3" in lines
    assert len(lines) <= 40
    assert max(len(line) for line in lines) <= 90


@pytest.mark.parametrize(
    ("threshold", "shares", "said"),
    [
        (1, 2, "threshold of 1"),
        (0, 2, "--threshold"),
        (3, 2, "--threshold"),
        (2, 17, "--shares"),
        (1, 0, "--shares"),
    ],
)
def test_numbers_that_cannot_be(threshold: int, shares: int, said: str) -> None:
    """A threshold or number of shares that makes no sense is refused before anything is made."""
    with pytest.raises(click.ClickException, match=said):
        check_numbers(threshold=threshold, shares=shares)
