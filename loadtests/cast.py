"""`ballot cast`: one vote from a terminal; neither code nor choice leaves this process unsealed."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

import click

from ballot.code import Code, CodeMistyped
from ballot.definition import Definition, shown
from ballot.encoding import format_time
from loadtests.published.plan import Paper
from loadtests.voting import voter
from loadtests.voting.desk import DeskFileFault, pinned_key
from loadtests.voting.door import HttpDoor
from loadtests.voting.voter import (
    OK,
    Booth,
    Door,
    Patience,
    Refused,
    Unconfirmed,
    Untrue,
    access_body,
    enter,
    seal,
    settled,
)

DEFAULT_URL = "http://127.0.0.1:8080"
ATTEMPTS_MAX = 12
CODE_CHARACTERS_MAX = 200


@click.command()
@click.argument("ballot")
@click.option(
    "--code-file",
    type=click.File(encoding="utf-8"),
    required=True,
    help="A file with just the code; - for stdin.",
)
@click.option(
    "--answer",
    "answers",
    multiple=True,
    metavar="QUESTION=OPTION",
    help="Once a choice; a question left out is blank.",
)
@click.option(
    "--url",
    envvar="BALLOT_PUBLIC_URL",
    default=DEFAULT_URL,
    show_default=True,
    help="Where the ballot is served.",
)
@click.option(
    "--key",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The desk's public key; otherwise the one in BALLOT_HOME.",
)
@click.option(
    "--ca",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Certificate authorities (PEM) that vouch for an https address; otherwise the system's.",
)
@click.option("--json", "as_program", is_flag=True, help="The receipt as JSON.")
def cast(
    ballot: str,
    code_file: TextIO,
    answers: Sequence[str],
    url: str,
    key: Path | None,
    ca: Path | None,
    as_program: bool,
) -> None:
    """Cast one vote on BALLOT and print the receipt.

    The ballot document must bear the signature of the desk's pinned key. The identical vote is sent until the
    server confirms it; the same command once more is another vote, refused if the first was received.
    """
    patience = Patience(sleep=time.sleep, attempts_max=ATTEMPTS_MAX)
    try:
        code = _code(code_file)
        door = HttpDoor(url, ca=ca)
        booth = enter(door, ballot, pinned_key(key or _home_key()), patience=patience)
        paper = _paper(booth.document.definition, answers)
        _ask(door, booth, code, patience=patience)
        receipt, _ = voter.cast(door, booth, seal(booth, code, paper), patience=patience)
    except (CodeMistyped, DeskFileFault, Refused, Unconfirmed, Untrue, ValueError) as error:
        raise click.ClickException(str(error)) from error
    if as_program:
        click.echo(json.dumps(receipt.to_dict()))
        return
    click.echo(f"Your vote is in. Keep this reference: {receipt.reference}")
    click.echo(f"ballot         {shown(booth.document.definition.title)} ({receipt.ballot})")
    click.echo(f"accepted       {format_time(receipt.accepted_us, decimals=6)}")
    click.echo(f"sealed vote    SHA-256 {receipt.sealed_sha256.hex()}")
    click.echo(f"receipt key    {receipt.key_id}, signature verified")


def _code(file: TextIO) -> Code:
    """The code in a file that holds nothing else."""
    try:
        text = file.read(CODE_CHARACTERS_MAX)
    except UnicodeDecodeError:
        raise click.ClickException(f"{file.name} is not a text file with just the code in it.") from None
    return Code.parse(text.strip())


def _home_key() -> Path:
    """The desk's public key where `ballot open` leaves it."""
    return Path(os.environ.get("BALLOT_HOME") or "~/.ballot").expanduser() / "public" / "desk.json"


def _ask(door: Door, booth: Booth, code: Code, *, patience: Patience) -> None:
    """Ask, before anything is sealed, whether the code is good here; refuse in the server's words."""
    answer, _ = settled(door, "POST", f"{booth.path}/access", access_body(booth, code), patience=patience)
    if answer.status != OK:
        raise answer.refusal()


def _paper(definition: Definition, answers: Sequence[str]) -> Paper:
    """What was asked for, if it is a paper that counts; questions left out are blank."""
    marks: Mapping[str, list[str]] = {question.id: [] for question in definition.questions}
    for answer in answers:
        question, equals, option = answer.partition("=")
        if not equals or question not in marks:
            known = ", ".join(marks)
            raise click.ClickException(f"'{answer}' is not QUESTION=OPTION; the questions are {known}.")
        options = [known.id for known in definition.question(question).options]
        if option not in options:
            raise click.ClickException(
                f"Question {question} has no option '{option}'; it has {', '.join(options)}."
            )
        marks[question].append(option)
    for question_of in definition.questions:
        most = 1 if question_of.form == "single" else question_of.max or len(question_of.options)
        chosen = marks[question_of.id]
        if len(chosen) > most or len(set(chosen)) != len(chosen):
            raise click.ClickException(
                f"Question {question_of.id} takes at most {most} of its options, each once."
            )
    return Paper(answers=tuple((question, tuple(chosen)) for question, chosen in marks.items()), legal=True)
