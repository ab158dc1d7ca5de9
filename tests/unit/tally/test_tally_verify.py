"""Whatever we publish verifies with pinned keys, and nothing altered or signed by another does."""

import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from ballot import receipt, signed
from ballot.encoding import canonical_json
from ballot.receipt import Leaf
from ballot.suite import SigningKey
from tally.command import tally
from tally.verify import verify
from tests.unit.tally.conftest import Invoke
from tests.unit.tally.sealed_ballot import NOW_US, SealedBallot, key_file


@pytest.fixture
def result(sealed: SealedBallot, invoke: Invoke, tmp_path: Path) -> Path:
    """Return the result of a ballot of three votes."""
    for strike in ("yes", "yes", "no"):
        sealed.cast({"strike": [strike], "seats": ["a", "b"]})
    out = tmp_path / "result.json"
    shares: list[str | Path] = ["--share", sealed.shares[0], "--share", sealed.shares[1]]
    invoke(tally, "tube-2025", *shares, "--from", sealed.export(tmp_path / "export"), "--out", out)
    return out


def line_of(invoke: Invoke, file: Path, *more: str | Path, good: bool) -> str:
    """Return the one line that `verify` prints."""
    done = invoke(verify, file, *more)
    assert (done.exit_code == 0) == good, done.output
    assert done.output.count("\n") == 1
    return done.output


def test_result_by_desk_key_or_result_key(
    sealed: SealedBallot, result: Path, invoke: Invoke, tmp_path: Path, home: Path
) -> None:
    """A result verifies by way of the desk-signed document, or with its own key where there is none."""
    own = tmp_path / "result-key.json"
    own.write_bytes(key_file(sealed.keys.result, "result"))

    assert "the result of ballot tube-2025 is genuine" in line_of(invoke, result, good=True)
    (home / "public" / "tube-2025.document").unlink()
    assert "document of ballot tube-2025 is not in" in line_of(invoke, result, good=False)
    assert "from the key given" in line_of(invoke, result, "--key", own, good=True)


def test_pretty_printed_result_is_the_same_result(result: Path, invoke: Invoke) -> None:
    """Line breaks and spaces are no part of what was signed."""
    result.write_text(json.dumps(json.loads(result.read_text()), indent=2))

    line_of(invoke, result, good=True)


def change(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Return an edit that sets one field."""
    return lambda told: told.__setitem__(name, value)


EDITS: dict[str, Callable[[dict[str, Any]], None]] = {
    "one vote more": lambda told: told["questions"][0]["counts"].update(yes=3),
    "vote moved": lambda told: told["questions"][0]["counts"].update(yes=1, no=2),
    "votes cast": change("votes_cast", 4),
    "turnout": change("turnout", 0.9),
    "entitled": change("entitled", 4),
    "another ballot": change("ballot", "bus-2025"),
    "spoilt": lambda told: told["questions"][0].update(spoilt=1),
    "key id": change("key_id", "0" * 16),
    "no signature": lambda told: told.pop("signature"),
    "extra field": change("note", "x"),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_altered_result_is_refused(
    result: Path, invoke: Invoke, tmp_path: Path, sealed: SealedBallot, edit: Callable[[dict[str, Any]], None]
) -> None:
    """Any number, name or key changed after signing shows."""
    told = orjson.loads(result.read_bytes())
    edit(told)
    result.write_bytes(canonical_json(told))
    own = tmp_path / "result-key.json"
    own.write_bytes(key_file(sealed.keys.result, "result"))

    assert "does not verify: it is not signed by the result key" in line_of(
        invoke, result, "--key", own, good=False
    )


def test_repeated_name_is_refused(result: Path, invoke: Invoke) -> None:
    """A file that shows one number and has another one verified is not a result."""
    result.write_bytes(b'{"votes_cast":999,' + result.read_bytes()[1:])

    line_of(invoke, result, good=False)


WRONG: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "choices": (lambda told: told["questions"][0]["counts"].update(yes=3), "the choices for strike"),
    "marks": (lambda told: told["questions"][1]["counts"].update(a=4), "the choices for seats"),
    "turnout": (change("turnout", 0.9), "the turnout"),
    "methods": (change("by_method", {"electronic": 2}), "votes by method (2)"),
    "set aside": (change("set_aside", {"does_not_open": 1}), "the number set aside"),
    "options": (
        lambda told: told["questions"][0].update(counts={"yes": 2, "maybe": 1}),
        "its questions or options are not the ballot's",
    ),
    "negative": (lambda told: told["questions"][0]["counts"].update(yes=4, no=-1), "not in the form"),
    "no books": (change("books", {}), "not in the form"),
    "list": (change("questions", {}), "not in the form"),
    "more than entitled": (lambda told: told["books"].update(entitled=2), "the number entitled"),
}


@pytest.mark.parametrize(("edit", "said"), WRONG.values(), ids=WRONG.keys())
def test_signed_but_wrong_result_is_refused(
    sealed: SealedBallot,
    result: Path,
    invoke: Invoke,
    edit: Callable[[dict[str, Any]], None],
    said: str,
) -> None:
    """A signature does not make wrong sums right."""
    told = orjson.loads(result.read_bytes())
    edit(told)
    result.write_bytes(canonical_json(signed.sign_object(told, label="result", key=sealed.keys.result)))

    assert said in line_of(invoke, result, good=False)


def test_export_and_document(
    sealed: SealedBallot, result: Path, invoke: Invoke, tmp_path: Path, home: Path
) -> None:
    """An export verifies without being opened; a document by the signature beside it or the published one."""
    document = tmp_path / "document.json"
    document.write_bytes(sealed.page.canonical)

    assert "holds 3 sealed votes" in line_of(invoke, tmp_path / "export", good=True)
    assert "the document of ballot tube-2025 is genuine" in line_of(
        invoke, home / "public" / "tube-2025.document", good=True
    )
    line_of(invoke, document, good=True)
    document.write_bytes(sealed.page.canonical.replace(b"Pay", b"Gay"))
    assert "is not signed by the desk key" in line_of(invoke, document, good=False)
    with (tmp_path / "export").open("ab") as file:
        file.write(b"x")
    assert "line 5" in line_of(invoke, tmp_path / "export", good=False)


def test_receipts(sealed: SealedBallot, invoke: Invoke, tmp_path: Path, home: Path) -> None:
    """One receipt or a file of many verify with the receipts key; a bad one is named by its line."""
    key = SigningKey.from_seed(secrets.token_bytes(32))
    leaves = [
        Leaf(
            "tube-2025",
            receipt.draw_reference(0, 1, random=secrets.token_bytes),
            NOW_US,
            secrets.token_bytes(32),
        )
        for _ in range(300)
    ]
    lines = [orjson.dumps(one.to_dict()) for one in receipt.issue(leaves, key)]
    one, many, given = tmp_path / "receipt.json", tmp_path / "receipts.jsonl", tmp_path / "key.json"
    one.write_text(json.dumps(orjson.loads(lines[0]), indent=2))
    many.write_bytes(b"\n".join(lines) + b"\n")
    given.write_bytes(key_file(key, "receipts"))

    assert "no pinned receipts key" in line_of(invoke, one, good=False)
    assert "1 receipt is genuine" in line_of(invoke, one, "--key", given, good=True)
    assert "300 receipts are genuine" in line_of(invoke, many, "--key", given, good=True)
    assert "is a desk key" in line_of(invoke, one, "--key", home / "public" / "desk.json", good=False)
    (home / "public" / "receipts.json").write_bytes(key_file(key, "receipts"))
    line_of(invoke, many, good=True)
    lines[122] = lines[122].replace(b'"accepted_at":"2025-07-29T12', b'"accepted_at":"2025-07-29T11')
    many.write_bytes(b"\n".join(lines))
    assert "line 123: it is not signed by the receipts key" in line_of(invoke, many, good=False)
    many.write_bytes(b"\n".join([*lines[:5], b"rubbish"]))
    assert "line 6: it is not a receipt" in line_of(invoke, many, good=False)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"not json", b"\xff\xfe", b'{"votes_cast":1}', b"[" * 5000]
)
def test_other_files_are_not_judged(invoke: Invoke, tmp_path: Path, content: bytes) -> None:
    """A file of no kind that we publish is said to be none."""
    (tmp_path / "file").write_bytes(content)

    assert "is not a result, receipt, export or ballot document" in line_of(
        invoke, tmp_path / "file", good=False
    )


def test_keys_that_do_not_fit(sealed: SealedBallot, result: Path, invoke: Invoke, tmp_path: Path) -> None:
    """A key of another use, or a key file whose parts disagree, is refused."""
    given = tmp_path / "key.json"

    given.write_bytes(key_file(sealed.keys.result, "receipts"))
    assert "is a receipts key, and this needs the desk key" in line_of(
        invoke, result, "--key", given, good=False
    )
    given.write_bytes(
        key_file(sealed.keys.result, "result").replace(sealed.keys.result.key_id.encode(), b"0" * 16)
    )
    assert "is not a public key" in line_of(invoke, result, "--key", given, good=False)
    given.write_bytes(key_file(SigningKey.from_seed(bytes(32)), "desk"))
    assert "is not signed by the desk key" in line_of(invoke, result, "--key", given, good=False)


@pytest.mark.parametrize(
    "definition", [1, None, [], {}, {"ballot": 7}, {"ballot": {"id": 7}}, {"ballot": {"id": "../x"}}]
)
def test_a_document_of_any_shape_is_one_sentence(
    sealed: SealedBallot, invoke: Invoke, tmp_path: Path, definition: object
) -> None:
    """Whatever stands where the definition should be: the file is named, and nothing breaks."""
    file = tmp_path / "odd.document"
    file.write_text(json.dumps({"definition": definition, "padded_size": 2}))

    assert line_of(invoke, file, good=False) == f"Error: {file} names no ballot\n"
