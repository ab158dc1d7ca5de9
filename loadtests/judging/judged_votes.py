"""What must hold of the votes of a run: counted once, within the window, as published, the books balanced."""

from collections.abc import Iterator, Mapping
from typing import Any

from ballot.encoding import Malformed, parse_time
from loadtests.judging.verdict import Judgement, not_recorded
from loadtests.report.reading import RunDirectory
from loadtests.staging.kept import RESULTS

ONCE = "every receipt is counted, once"
WINDOW = "nothing is accepted at or after the close"


def judged(run: RunDirectory) -> Iterator[Judgement]:
    """Every judgement on the votes, in the order in which a person would ask."""
    told = run.table("run.json")
    yield done(told.get("wrong"))
    if told.get("only") != "burst":  # more than can be taken is offered: not every vote will be cast
        given_up = int(run.table("summary.json").get("gave_up", 0)) if told.get("overlays") else 0
        rows = run.rows("overlays.json") if told.get("overlays") else []
        more = sum(int(row.get("unconfirmed", 0)) for row in rows)
        scaled = told.get("scale", 1) != 1
        yield published(run.rows("figures.json"), scaled=scaled, given_up=given_up, more=more)
    yield chosen(run.rows("chosen.json"))
    yield from books(run.table("check.json"))
    yield outcomes(run.table("summary.json"))
    yield forms(run.table("summary.json"))
    yield window(run, told.get("closes"))
    yield counted(run, told.get("closes"))
    yield turnout(run.value("quiet.json"))


def results(closes: Any) -> list[str]:
    """The files with the signed results of all ballots of this run."""
    ballots = sorted(closes) if isinstance(closes, dict) else []
    return [f"{RESULTS}/{ballot}.json" for ballot in ballots] if len(ballots) > 1 else ["result.json"]


def done(wrong: Any) -> Judgement:
    """No command of the run failed."""
    what, must = "every step of the run was done", "none failed"
    if not isinstance(wrong, list):
        return not_recorded(what, must)
    named = tuple(str(sentence) for sentence in wrong)
    return Judgement(what, must, f"{len(named)} failed", ok=not named, references=named)


def chosen(rows: list[dict[str, Any]]) -> Judgement:
    """Option by option: all that receipts and papers say, and no more than with every unconfirmed vote."""
    what = "what is counted is what voters hold receipts for"
    must = "every option: at least its receipts and papers, at most its unconfirmed votes more"
    if not rows:
        return not_recorded(what, must)
    wrong = tuple(
        f"{row['ballot']} {row['question']} {row['option']}: {row['counted']} counted,"
        f" {row['least']} to {row['most']} held"
        for row in rows
        if not row["least"] <= row["counted"] <= row["most"]
    )
    found = f"so for {len(rows) - len(wrong)} of {len(rows)} options"
    return Judgement(what, must, found, ok=not wrong, references=wrong)


def published(figures: list[dict[str, Any]], *, scaled: bool, given_up: int = 0, more: int = 0) -> Judgement:
    """The signed result beside the published figures, option by option.

    Where an overlay kept voters from voting, as many votes as gave up may be missing; added may be only votes
    of overlays' own voters that got no answer (`more`).
    """
    what = "the result is the published one"
    figures_told = "published figure, scaled," if scaled else "published figure"
    must = f"every {figures_told} reached, to the last vote"
    if given_up:
        must = f"no {figures_told} exceeded, and none missed by more than the {given_up:,} who gave up"
    if more:
        must += f", but for the {more:,} of overlays that got no answer"
    if not figures:
        return not_recorded(what, must)
    wrong = [
        f"{row.get('question')} {row.get('option')}: {row.get('published')} published,"
        f" {row.get('counted')} counted"
        for row in figures
        if not -given_up <= row["difference"] <= more
    ]
    right = len(figures) - len(wrong)
    found = f"{right} of {len(figures)} figures {'equal' if not given_up else 'within that'}"
    return Judgement(what, must, found, ok=not wrong, references=tuple(wrong))


def books(check: Mapping[str, Any]) -> Iterator[Judgement]:
    """What `ballot check` with receipts, signatures, attempts and the result found."""
    balanced = "the books balance"
    if "differences" not in check or "counts" not in check:
        yield not_recorded(balanced, "0 differences")
        yield not_recorded(ONCE, "none lost, none doubled")
        return
    differences = check["differences"]
    named = tuple(f"{each['where']}: {each['kind']}, {each['what']}" for each in check.get("findings", ()))
    yield Judgement(
        balanced, "0 differences", f"{differences:,} differences", ok=differences == 0, references=named
    )
    lost, doubled = (int(check["counts"].get(kind, 0)) for kind in ("lost", "doubled"))
    against = tuple(
        each["where"] for each in check.get("findings", ()) if each["kind"] in {"lost", "doubled"}
    )
    yield Judgement(
        ONCE,
        "none lost, none doubled",
        f"{lost:,} lost, {doubled:,} doubled",
        ok=not (lost or doubled),
        references=against,
    )
    sent = int(check["counts"].get("unexplained", 0))
    yield Judgement(
        "a vote counted without a receipt was sent by a voter",
        "none that nobody sent",
        f"{sent:,} that nobody sent",
        ok=sent == 0,
    )


def outcomes(summary: Mapping[str, Any]) -> Judgement:
    """Every voter and every request with the one outcome that is right for it."""
    what, must = "every voter got the outcome they must get", "none unexpected"
    if "unexpected" not in summary:
        return not_recorded(what, must)
    named = tuple(str(each) for each in summary["unexpected"])
    count = max(int(summary.get("counts", {}).get("unexpected", 0)), len(named))
    return Judgement(what, must, f"{count:,} unexpected", ok=count == 0, references=named)


def forms(summary: Mapping[str, Any]) -> Judgement:
    """Every answer says what it must say: a refusal, for one, that the same vote may be sent again."""
    what, must = "every answer says what it must say", "none of another form, each refusal: safe to retry"
    if "odd_count" not in summary:
        return not_recorded(what, must)
    count = int(summary["odd_count"])
    named = tuple(str(each) for each in summary.get("odd", ()))
    return Judgement(what, must, f"{count:,} of another form", ok=count == 0, references=named)


def window(run: RunDirectory, closes: Any) -> Judgement:
    """No receipt says that its vote was accepted at or after the close of its ballot."""
    must = "every receipt's time before the close"
    if run.path("receipts.jsonl") is None or not isinstance(closes, dict):
        return not_recorded(WINDOW, must)
    late, receipts = [], 0
    for line in run.lines("receipts.jsonl"):
        receipts += 1
        try:
            accepted_us = parse_time(str(line.get("accepted_at", "")))
        except Malformed:  # a receipt without a time tells of no vote that came in time
            late.append(str(line.get("reference")))
            continue
        if accepted_us >= closes.get(line.get("ballot"), 0):
            late.append(str(line.get("reference")))
    found = f"{len(late):,} of {receipts:,} at or after it"
    return Judgement(WINDOW, must, found, ok=not late and receipts > 0, references=tuple(late))


def counted(run: RunDirectory, closes: Any) -> Judgement:
    """Ballot by ballot, what the queue accepted is what was opened and counted, or set aside by name.

    No fewer were accepted than there are receipts.
    """
    what, must = (
        "everything accepted before the close is counted",
        "accepted = counted + set aside, each ballot",
    )
    held: dict[Any, set[Any]] = {}
    for line in run.lines("receipts.jsonl"):
        held.setdefault(line.get("ballot"), set()).add(line.get("reference"))
    ballots = sorted(closes) if isinstance(closes, dict) else list(held)
    totals, wrong = [0, 0, 0], []
    try:
        for ballot, name in zip(ballots, results(closes), strict=True):
            result = run.table(name)
            accepted, electronic = int(result["books"]["accepted"]), int(result["by_method"]["electronic"])
            aside = sum(result["set_aside"].values()) + int(result["books"]["quarantined"])
            receipts = len(held.get(ballot, ()))
            totals = [a + b for a, b in zip(totals, (accepted, electronic, aside), strict=True)]
            if accepted != electronic + aside or accepted < receipts:
                wrong.append(
                    f"{ballot}: {accepted:,} accepted, {electronic:,} counted, {aside:,} set aside,"
                    f" {receipts:,} receipts"
                )
    except (KeyError, TypeError, ValueError, AttributeError):
        return not_recorded(what, must)
    found = f"{totals[0]:,} accepted, {totals[1]:,} counted, {totals[2]:,} set aside"
    return Judgement(what, must, found, ok=not wrong, references=tuple(wrong))


def turnout(quiet: Any) -> Judgement:
    """The streaming turnout at the moments when nobody was voting and nothing waited."""
    what, must = "the turnout is exact at every quiet point", "turnout = books, accepted and stored"
    if not isinstance(quiet, list) or not quiet:
        return not_recorded(what, must)
    wrong = tuple(
        f"at {point.get('at_us')}: turnout {point.get('turnout')}, books {point.get('books')}"
        for point in quiet
        if point.get("turnout") is None or point["turnout"] != point.get("books")
    )
    found = f"exact at {len(quiet) - len(wrong)} of {len(quiet)}"
    return Judgement(what, must, found, ok=not wrong, references=wrong)
