"""`ballot verify`: anyone can check what we publish, with keys held already and never one from the file."""

import contextlib
import itertools
from collections.abc import Iterator
from enum import Enum, auto
from pathlib import Path
from typing import Any

import click

from ballot import limits
from ballot.encoding import Malformed
from ballot.suite import key_id
from ballot.turns import Turns
from tally import evidence, trust
from tally.evidence import NotGenuine
from tally.sealed_export import open_export

VOTES_AT_A_TIME = 1_024
RECEIPT_BYTES_MAX = 16 * 1024  # a receipt with the longest path is below 2 kB


class Kind(Enum):
    """What a file can be, told by the fields it has."""

    RESULT = auto()
    RECEIPT = auto()
    EXPORT = auto()
    DOCUMENT = auto()


# The fields that tell a kind from the others; a file may have more, and is then judged as that kind.
_TOLD_BY = {
    Kind.EXPORT: {"votes_sha256", "document"},
    Kind.RESULT: {"votes_cast", "questions"},
    Kind.RECEIPT: {"reference", "sealed_sha256"},
    Kind.DOCUMENT: {"definition", "padded_size"},
}


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--key",
    "key_file",
    type=click.Path(path_type=Path),
    help="The public key to check against, from a source you trust, instead of the one pinned here.",
)
def verify(files: tuple[Path, ...], key_file: Path | None) -> None:
    """Check the signature and content of FILE: a result, receipt or list of them, export or ballot document.

    Keys come from BALLOT_HOME/public or --key, never from FILE. A result can be checked with the desk's key,
    if its ballot document is in BALLOT_HOME/public, or with the result key itself. Of several files each is
    checked, whatever is wrong with the others.
    """
    turns = Turns([str(file) for file in files], click.ClickException)
    for name in turns.names:
        with turns.of(name):
            _verify(Path(name), key_file)
    turns.end()


def _verify(file: Path, key_file: Path | None) -> None:
    """Check one file and say what may be said of it."""
    kind, value = _kind(file)
    try:
        said = _checked(file, kind, value, key_file)
    except NotGenuine as fault:
        raise click.ClickException(f"{file} does not verify: {fault}") from None
    click.echo(f"{file}: {said}")


def _checked(file: Path, kind: Kind, value: dict[str, Any], key_file: Path | None) -> str:
    """Check a file of a kind and return what may be said of it, or raise NotGenuine."""
    match kind:
        case Kind.RESULT:
            return _result(file, value, key_file=key_file)
        case Kind.RECEIPT:
            return _receipts(file, key_file=key_file)
        case Kind.EXPORT:
            return _export(file, key_file=key_file)
        case Kind.DOCUMENT:
            return _document(file, value, key_file=key_file)


def _kind(file: Path) -> tuple[Kind, dict[str, Any]]:
    """Tell what `file` is from its first line, or from all of it where one object covers many lines."""
    try:
        with file.open("rb") as opened:
            start = opened.read(limits.OBJECT_BYTES_MAX + 1)
    except OSError as fault:
        raise click.ClickException(f"{file} cannot be read: {fault.strerror}") from None
    for text in (start.partition(b"\n")[0], start):
        try:
            value = evidence.parse_object(text)
        except Malformed:
            continue
        for kind, fields in _TOLD_BY.items():
            if fields <= value.keys():
                return kind, value
    raise click.ClickException(f"{file} is not a result, receipt, export or ballot document")


def _result(file: Path, value: dict[str, Any], *, key_file: Path | None) -> str:
    """Check a result against the result key in the ballot document, or the one in `key_file`."""
    definition = None
    given = trust.key_from_file(key_file) if key_file else None
    if given is not None and given[0] == trust.RESULT:
        result_key, by = given[1], "the key given"
    else:
        desk_key = trust.key_for(trust.DESK, key_file=key_file)
        ballot = trust.ballot_id(value.get("ballot"), file=file)
        page = trust.pinned_document(ballot, desk=desk_key)
        if page is None:
            raise click.ClickException(
                f"the document of ballot {ballot} is not in {trust.public_directory()}: "
                "give the result key from a source you trust with --key"
            )
        result_key, definition, by = (
            page.result_key,
            page.definition,
            "the ballot document signed by the desk",
        )
    evidence.check_result(value, result_key=result_key, definition=definition)
    return (
        f"the result of ballot {value['ballot']} is genuine and its sums and books are right "
        f"(result key {key_id(result_key)}, from {by})"
    )


def _receipts(file: Path, *, key_file: Path | None) -> str:
    """Check one receipt, or a file with one on each line."""
    public = trust.key_for(trust.RECEIPTS, key_file=key_file)
    checked = 0
    for line, value in _objects(file):
        try:
            evidence.check_receipt(value, public=public)
        except NotGenuine as fault:
            raise NotGenuine(f"line {line}: {fault}") from None
        checked += 1
    return f"{checked} receipt{' is' if checked == 1 else 's are'} genuine (receipts key {key_id(public)})"


def _objects(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each object in a file of receipts and its line: one object in all, or one on each line."""
    with file.open("rb") as opened:
        whole = opened.read(RECEIPT_BYTES_MAX)
        if not opened.read(1):
            with contextlib.suppress(Malformed):
                yield 1, evidence.parse_object(whole)
                return
        opened.seek(0)
        for number in itertools.count(1):
            line = opened.readline(RECEIPT_BYTES_MAX)
            if not line:
                return
            if not line.strip():
                continue
            try:
                value = evidence.parse_object(line)
            except Malformed:
                raise NotGenuine(f"line {number}: it is not a receipt") from None
            yield number, value


def _export(file: Path, *, key_file: Path | None) -> str:
    """Check an export: all of it but what the votes say, which only the key holders can open."""
    desk_key = trust.key_for(trust.DESK, key_file=key_file)
    with open_export(file, desk=desk_key) as sealed:
        for chunk in sealed.chunks(VOTES_AT_A_TIME):
            chunk.votes()
        sealed.check_votes()
        manifest = sealed.manifest
        out = {name: number for name, number in manifest.books.differences().items() if number}
        if out:
            raise NotGenuine(
                f"its books do not balance: {next(iter(out))} is out by {next(iter(out.values()))}"
            )
        if manifest.books.stored != manifest.votes:
            raise NotGenuine(f"it holds {manifest.votes} votes, and its books say {manifest.books.stored}")
    return (
        f"the export of ballot {manifest.ballot} is genuine and holds {manifest.votes} sealed votes "
        f"(desk key {key_id(desk_key)})"
    )


def _ballot_named(value: dict[str, Any]) -> object:
    """Return what a document not yet believed names as its ballot, whatever shape it has."""
    for name in ("definition", "ballot"):
        inner = value.get(name)
        value = inner if isinstance(inner, dict) else {}
    return value.get("id")


def _document(file: Path, value: dict[str, Any], *, key_file: Path | None) -> str:
    """Check a ballot document against the signature beside it, or the one published on this machine."""
    desk_key = trust.key_for(trust.DESK, key_file=key_file)
    beside = Path(f"{file}.signature")
    if not beside.is_file():
        ballot = trust.ballot_id(_ballot_named(value), file=file)
        beside = trust.public_directory() / f"{ballot}.document.signature"
    page = trust.check_document(file, signature_path=beside, desk=desk_key)
    return f"the document of ballot {page.definition.id} is genuine (desk key {key_id(desk_key)})"
