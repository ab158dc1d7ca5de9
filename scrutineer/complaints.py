"""`ballot complaints`: what voters complain of, and what becomes of it; each reading is written down too."""

import json
import re
import unicodedata
from collections.abc import Sequence
from typing import Any, BinaryIO

import click

from ballot import complaint
from ballot.complaint import Complaint
from ballot.encoding import Malformed
from ballot.limits import COMPLAINT_BYTES_MAX
from runtime import logs, metrics
from runtime.home import Home
from runtime.lifecycle import Stop, run_service
from runtime.servers import servers
from scrutineer.complaint_book import STATES, Book, Kept, Line, run_book, shown_time
from scrutineer.serving import Metrics, Storing

PORT_MAX = 65535
ACTOR = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,64}")
KEPT_CONTROLS = "\n\t"
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group()
def complaints() -> None:
    """Receive, read and answer voters' complaints."""


@complaints.command()
@click.option("--metrics-port", type=click.IntRange(0, PORT_MAX), help="Serve metrics on this port (0: any).")
def serve(metrics_port: int | None) -> None:
    """Store complaints from the queue in the user database, until told to stop. It cannot read them."""
    home = Home.from_environment()
    logs.configure("complaints", home)
    with servers(home) as found:
        port = metrics.serve(metrics_port) if metrics_port is not None else None

        async def main(stop: Stop) -> int:
            return await Storing(found, Metrics()).run(stop)

        try:
            code = run_service(main)
        finally:
            if port is not None:
                port.close()
    raise SystemExit(code)


@complaints.command("list")
@click.argument("ballot", required=False)
@AS_JSON
def list_(ballot: str | None, *, as_json: bool) -> None:
    """List all complaints, or those that name BALLOT: number, time, route and state, not what they say."""
    _check_ballot(ballot)

    async def body(book: Book) -> list[dict[str, Any]]:
        return [
            {**kept.about(), "readable": book.opened(kept) is not None} async for kept in book.all(ballot)
        ]

    found = run_book(body)
    if as_json:
        click.echo(json.dumps({"complaints": found}))
        return
    for each in found:
        unreadable = "" if each["readable"] else "  unreadable"
        click.echo(
            f"{each['number']}  {each['received_at']}  {each['route']:5}  {each['state']:8}  "
            f"{each['ballot'] or '-'}{unreadable}"
        )


@complaints.command()
@click.argument("number")
@AS_JSON
def show(number: str, *, as_json: bool) -> None:
    """Show what complaint NUMBER says and what became of it. That it was read is added to its history."""

    async def body(book: Book) -> list[dict[str, Any]]:
        found = []
        for kept in await book.find(number):
            await book.add(kept, "read", actor="desk")
            found.append(_told(book, kept, await book.history(kept)))
        return found

    found = run_book(body)
    if as_json:
        click.echo(json.dumps({"complaints": found}))
        return
    click.echo("\n\n".join(_rendered(each) for each in found))


@complaints.command()
@click.option("--file", type=click.File("rb"), required=True, help="What was said; - for standard input.")
@click.option("--route", type=click.Choice(["phone", "post"]), required=True)
@click.option("--ballot", help="The ballot it is about, if any.")
def record(file: BinaryIO, route: str, ballot: str | None) -> None:
    """Enter a complaint that came by phone or post; prints its number."""
    _check_ballot(ballot)
    written = Complaint(_text(file))
    click.echo(run_book(lambda book: book.record(written, route=route, ballot=ballot)))


@complaints.command()
@click.argument("number")
@click.argument("state", type=click.Choice(STATES))
@click.option(
    "--note", type=click.File("rb"), help="A file with what is to be remembered; - for standard input."
)
@click.option("--by", default="desk", show_default=True, help="Who decided it.")
def status(number: str, state: str, note: BinaryIO | None, by: str) -> None:
    """Set the STATE of complaint NUMBER; all earlier ones stay in its history. The note is kept sealed."""
    if ACTOR.fullmatch(by) is None:
        raise click.ClickException("--by is a name of at most 64 characters")
    text = _text(note) if note is not None else ""

    async def body(book: Book) -> str:
        kept = await book.one(number)
        await book.add(kept, state, actor=by, note=text)
        return kept.number

    click.echo(f"{run_book(body)} is {state}")


def printable(text: str) -> str:
    """`text` without what a terminal would obey: controls, and marks that turn the order of characters."""
    return "".join(
        each
        if each in KEPT_CONTROLS or unicodedata.category(each) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        else "\N{REPLACEMENT CHARACTER}"
        for each in text
    )


def _told(book: Book, kept: Kept, history: Sequence[Line]) -> dict[str, Any]:
    opened = book.opened(kept)
    lines = [
        {"state": line.state, "by": line.actor, "at": shown_time(line.at), "note": book.opened_note(line)}
        for line in history
    ]
    says = (
        {"text": None, "contact": None}
        if opened is None
        else {"text": opened.text, "contact": opened.contact}
    )
    return {**kept.about(), "readable": opened is not None, **says, "history": lines}


def _rendered(told: dict[str, Any]) -> str:
    """One complaint for a person. All that somebody else wrote is made printable."""
    lines = [
        f"{told['number']}: {told['state']}",
        f"  received {told['received_at']} by {told['route']}, ballot {told['ballot'] or 'not named'}",
        *(
            f"  {each['at']} {each['state']} by {printable(each['by'])}{_note(each)}"
            for each in told["history"]
        ),
    ]
    if not told["readable"]:
        return "\n".join([*lines, "", "unreadable: it was not sealed to this desk's complaints key"])
    contact = printable(told["contact"]).replace("\n", " ") or "not given"
    return "\n".join([*lines, f"  contact: {contact}", "", printable(told["text"])])


def _note(line: dict[str, Any]) -> str:
    return f": {printable(line['note'])}" if line["note"] else ""


def _text(file: BinaryIO) -> str:
    data = file.read(COMPLAINT_BYTES_MAX + 1)
    try:
        text = data.decode().strip()
        complaint.unpadded(Complaint(text))
    except UnicodeDecodeError:
        raise click.ClickException("the text is not UTF-8") from None
    except Malformed as error:
        raise click.ClickException(str(error)) from None
    if not text:
        raise click.ClickException("the text is empty")
    return text


def _check_ballot(ballot: str | None) -> None:
    if ballot is not None and complaint.BALLOT.fullmatch(ballot) is None:
        raise click.ClickException(f"{printable(ballot)!r} is not the id of a ballot")
