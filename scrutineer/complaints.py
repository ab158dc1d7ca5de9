"""`ballot complaints`: what voters complain of, and what becomes of it; each reading is written down too."""

import json
import re
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO

import click

from ballot import complaint
from ballot.complaint import Complaint
from ballot.encoding import Malformed
from ballot.limits import CLOCK_YEAR_MIN, COMPLAINT_BYTES_MAX
from ballot.suite import key_id
from runtime import logs, metrics
from runtime.home import Home
from runtime.lifecycle import Stop, run_service
from runtime.servers import servers
from scrutineer.complaint_book import STATES, Book, Kept, Line, run_book, shown_time
from scrutineer.complaints_key import complaints_key
from scrutineer.desk_key import desk_key
from scrutineer.serving import Metrics, Storing
from scrutineer.unsealing import Unreadable

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


@complaints.command("key")
def key_() -> None:
    """Publish the key that complaints are sealed to, if it is not; prints its id. No server is needed."""
    home = Home.from_environment()
    click.echo(key_id(complaints_key(home, desk_key(home)).public_key))


@complaints.command("list")
@click.argument("ballot", required=False)
@AS_JSON
def list_(ballot: str | None, *, as_json: bool) -> None:
    """List all complaints, or those that name BALLOT: number, time, route and state. It opens none."""
    _check_ballot(ballot)

    async def body(book: Book) -> list[dict[str, Any]]:
        return [kept.about() async for kept in book.all(ballot)]

    found = run_book(body)
    if as_json:
        click.echo(json.dumps({"complaints": found}))
        return
    for each in found:
        click.echo(
            f"{each['number']}  {each['received_at']}  {each['route']:5}  {each['state']:8}  "
            f"{each['ballot'] or '-'}"
        )


@complaints.command()
@click.argument("number")
@AS_JSON
def show(number: str, *, as_json: bool) -> None:
    """Show what complaint NUMBER says and what became of it. That it was read is added to its history."""

    async def body(book: Book) -> list[dict[str, Any]]:
        found = []
        _ = book.key  # without it nothing is read, and no reading to record
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
@click.option("--contact", default="", help="How its writer wants to be reached; sealed with the text.")
@click.option(
    "--received",
    type=click.DateTime(["%Y-%m-%d"]),
    help="The day it came, if it was not today; shown as noon UTC.",
)
def record(file: BinaryIO, route: str, ballot: str | None, contact: str, received: datetime | None) -> None:
    """Enter a complaint that came by phone or post; prints its number. Only the public key is needed."""
    _check_ballot(ballot)
    written = Complaint(_text(file), contact.strip())
    try:
        complaint.unpadded(written)
    except Malformed as error:
        raise click.ClickException(str(error)) from None
    at_us = _noon_us(received)
    click.echo(run_book(lambda book: book.record(written, route=route, ballot=ballot, received_us=at_us)))


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


def _noon_us(day: datetime | None) -> int | None:
    """Noon of a past day; nothing for today, when the time is now."""
    if day is None:
        return None
    at, now = day.replace(hour=12, tzinfo=UTC), datetime.now(tz=UTC)
    if at.date() > now.date() or at.year < CLOCK_YEAR_MIN:
        raise click.ClickException(f"--received is a day from {CLOCK_YEAR_MIN} until today, in UTC")
    return (
        None
        if at.date() == now.date()
        else (at - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)
    )


def _told(book: Book, kept: Kept, history: Sequence[Line]) -> dict[str, Any]:
    opened = book.opened(kept)
    lines = [
        {"state": line.state, "by": line.actor, "at": shown_time(line.at), **_noted(book, line)}
        for line in history
    ]
    says = (
        {"text": None, "contact": None}
        if opened is None
        else {"text": opened.text, "contact": opened.contact}
    )
    return {**kept.about(), "readable": opened is not None, **says, "history": lines}


def _noted(book: Book, line: Line) -> dict[str, Any]:
    try:
        return {"note": book.opened_note(line), "note_readable": True}
    except Unreadable:
        return {"note": None, "note_readable": False}


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
    if not line["note_readable"]:
        return ": its note is unreadable: it was not sealed to this desk's complaints key"
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
