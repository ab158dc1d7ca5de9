"""The ballots of the browser tests, as a scrutineer would write them: every form, and both languages."""

from datetime import UTC, datetime, timedelta
from typing import Final

HOUR: Final = timedelta(hours=1)
CONTACT: Final = "help@scrutineer.example, 020 7946 0000"

_BALLOT = """\
[ballot]
id = "{ballot}"
title = {title}
kind = "{kind}"
union = "National Union of Rail, Maritime and Transport Workers"
employer = "London Underground Limited"
scrutineer = "An Independent Scrutineer"
contact = "{contact}"
opens = {opens}
closes = {closes}
methods = ["electronic", "postal"]
precedence = "first-recorded"

"""

_SINGLE = """\
[[question]]
id = "strike"
text = {en = "Are you prepared to take part in a strike?", cy = "A ydych yn barod i gymryd rhan mewn streic?"}
form = "single"
options = [ {id = "yes", text = {en = "Yes", cy = "Ydw"}}, {id = "no", text = {en = "No", cy = "Nac ydw"}} ]
"""

_TWO = """\
[[question]]
id = "strike"
text = "Are you prepared to take part in a strike?"
form = "single"
options = [ {id = "yes", text = "Yes"}, {id = "no", text = "No"} ]

[[question]]
id = "short-of-strike"
text = "Are you prepared to take part in industrial action short of a strike?"
form = "single"
options = [ {id = "yes", text = "Yes"}, {id = "no", text = "No"} ]
"""

_MULTIPLE = """\
[[question]]
id = "committee"
text = "Who should sit on the branch committee?"
form = "multiple"
max = 2
options = [
    {id = "adeyemi", text = "Adeyemi, Folasade"},
    {id = "brown", text = "Brown, Peter"},
    {id = "celik", text = "Çelik, Ayşe"},
    {id = "davies", text = "Davies, Siân"},
]
"""

_RANKED = """\
[[question]]
id = "secretary"
text = {en = "Who should be general secretary?", cy = "Pwy ddylai fod yn ysgrifennydd cyffredinol?"}
form = "ranked"
options = [
    {id = "evans", text = "Evans, Gwen"},
    {id = "farah", text = "Farah, Idil"},
    {id = "grant", text = "Grant, Moira"},
    {id = "hughes", text = {en = "Re-open nominations", cy = "Ailagor enwebiadau"}},
]
"""

_FORMS: Final = {
    "single": (
        "industrial-action",
        '{en = "London Underground: pay", cy = "London Underground: cyflog"}',
        _SINGLE,
    ),
    "two": ("industrial-action", '"London Underground: pay and conditions"', _TWO),
    "multiple": ("election", '"Branch 41: election of the committee"', _MULTIPLE),
    "ranked": (
        "election",
        '{en = "General secretary: election", cy = "Ysgrifennydd cyffredinol: etholiad"}',
        _RANKED,
    ),
}
_FORMS["every"] = (
    "election",
    '{en = "Branch 41: strike, committee and secretary", cy = "Cangen 41: streic, pwyllgor ac ysgrifennydd"}',
    f"{_SINGLE}\n{_MULTIPLE}\n{_RANKED}",
)
FORMS: Final = tuple(_FORMS)


def definition(
    form: str, ballot: str, *, opens_in: timedelta = -HOUR, closes_in: timedelta = 24 * HOUR
) -> str:
    """The definition of `ballot` with the questions of one of `FORMS`, its window counted from now."""
    kind, title, questions = _FORMS[form]
    now = datetime.now(UTC).replace(microsecond=0)
    head = _BALLOT.format(
        ballot=ballot,
        title=title,
        kind=kind,
        contact=CONTACT,
        opens=(now + opens_in).isoformat(),
        closes=(now + closes_in).isoformat(),
    )
    return head + questions
