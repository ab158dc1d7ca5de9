"""Ballot definitions: every fault at once with its line, one canonical form, the legal pairs."""

import itertools

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ballot import answers, limits, methods
from ballot.definition import Definition, DefinitionFaults, Fault, from_canonical, parse_toml, shown
from ballot.encoding import Malformed, canonical_json
from tests.vectors import make

GOOD = make.TUBE.read_text(encoding="utf-8")
COMMITTEE = make.COMMITTEE.read_text(encoding="utf-8")


def faults(text: str) -> tuple[Fault, ...]:
    """What is wrong with `text`."""
    with pytest.raises(DefinitionFaults) as caught:
        parse_toml(text)
    assert str(caught.value).splitlines() == [f"line {f.line}: {f.message}" for f in caught.value.faults]
    return caught.value.faults


def outcome(text: str) -> Definition | tuple[Fault, ...]:
    """The definition in `text`, or what is wrong with it."""
    try:
        return parse_toml(text)
    except DefinitionFaults as caught:
        return caught.faults


def line_of(text: str, part: str) -> int:
    """The line (from 1) on which `part` first stands."""
    return text[: text.index(part)].count("\n") + 1


def test_example_parses() -> None:
    """The interface's shape gives the values and the canonical form it describes."""
    parsed = parse_toml(GOOD)

    assert (parsed.id, parsed.kind, parsed.methods) == (
        "tube-2025",
        "industrial-action",
        ("electronic", "postal"),
    )
    assert [question.id for question in parsed.questions] == ["strike", "short-of-strike"]
    assert orjson.loads(parsed.canonical)["ballot"]["opens"] == "2025-07-01T08:00:00Z"
    assert b'"max"' not in parsed.canonical
    assert from_canonical(parsed.canonical) == parsed


def test_languages_and_absent_fields() -> None:
    """A text in Welsh falls back to English; an employer nobody asked for is absent, not empty."""
    parsed = parse_toml(COMMITTEE)

    assert shown(parsed.title, "cy") == "Pwyllgor gwaith"
    assert shown(parsed.scrutineer, "cy") == "An Independent Scrutineer"
    assert shown({"en": "only"}, "cy") == "only"
    assert parsed.employer is None
    assert b"employer" not in parsed.canonical
    assert from_canonical(parsed.canonical) == parsed


def test_other_editors_give_the_same_definition() -> None:
    """A byte order mark and other line ends change nothing, lines of faults included."""
    saved = "\ufeff" + GOOD.replace("\n", "\r\n")

    assert parse_toml(saved).sha256 == parse_toml(GOOD).sha256
    assert faults(saved.replace('"single"', '"x"', 1)) == faults(GOOD.replace('"single"', '"x"', 1))


def test_lines_are_found_in_every_spelling_of_toml() -> None:
    """Quoted and dotted keys, strings over several lines, comments and brackets mislead nothing."""
    text = r'''# [ballot] "
"ballot".id = "a]b" # {
ballot.'title' = '[[question]]'
ballot.kind = """
= [ ' {
\" ] # """
ballot.union = "\"]"
ballot.methods = [
    "postal", # ]
    "fax",
]
ballot.extra = { a.b = [1, [2]], "c" = "}" }
'''
    lines = {fault.message.split()[0]: fault.line for fault in faults(text)}

    absent = dict.fromkeys(("employer", "scrutineer", "contact", "opens", "closes"), 2)
    assert lines == absent | {"there": 1, "id": 2, "kind": 4, "methods": 8, '"extra"': 12}


def test_text_is_normalised() -> None:
    """The same letters typed in another Unicode form give the same definition."""
    assert parse_toml(COMMITTEE.replace("Siân", "Sia\u0302n")).sha256 == parse_toml(COMMITTEE).sha256


BAD = {
    "two questions of one id": ('"short-of-strike"', '"strike"', 'two questions have the id "strike"'),
    "two options of one id": ('{id = "no"', '{id = "yes"', 'two options have the id "yes"'),
    "unknown form": ('form = "single"', 'form = "yes-no"', "form must be"),
    "missing form": ('form = "single"', "", "form is missing"),
    "unknown kind": ('"industrial-action"', '"referendum"', "kind must be"),
    "bad id": ('"tube-2025"', '"Tube 2025"', "id must be 1 to 40"),
    "long id": ('"tube-2025"', f'"{"a" * 41}"', "id must be 1 to 40"),
    "id with a line end": ('"tube-2025"', '"tube-2025\\n"', "id must be 1 to 40"),
    "reserved option": ('{id = "no"', '{id = "spoilt"', "spoilt papers"),
    "closes before opens": ("closes = 2025-07-29", "closes = 2025-06-29", "closes must come after opens"),
    "closes at opens": ("closes = 2025-07-29T12", "closes = 2025-07-01T09", "closes must come after opens"),
    "no offset": ("12:00:00+01:00", "12:00:00", "closes must say its offset"),
    "quoted time": (
        "closes = 2025-07-29T12:00:00+01:00",
        'closes = "2025-07-29T12:00:00Z"',
        "without quotes",
    ),
    "part of a second": ("12:00:00+01:00", "12:00:00.5+01:00", "closes must be a whole second"),
    "far future": ("closes = 2025", "closes = 9999", "between the years"),
    "illegal method": ('["electronic", "postal"]', '["electronic", "fax"]', "methods may only hold"),
    "method twice": ('["electronic", "postal"]', '["postal", "postal"]', "names a method twice"),
    "no methods": ('["electronic", "postal"]', "[]", "methods must be a list"),
    "other precedence": ('"first-recorded"', '"last"', 'precedence must be "first-recorded"'),
    "missing precedence": ('precedence = "first-recorded"', "", "precedence is missing"),
    "missing employer": ('employer = "London Underground Limited"', "", "employer is missing"),
    "empty title": ('"London Underground: pay and conditions"', '" "', "title must be text"),
    "number for a title": ('"London Underground: pay and conditions"', "7", "title must be text"),
    "unknown language": (
        '"London Underground: pay and conditions"',
        '{en = "x", fr = "y"}',
        '"fr" is not known',
    ),
    "no English": ('"London Underground: pay and conditions"', '{cy = "x"}', "must have its English text"),
    "turned-round text": ('"An Independent Scrutineer"', '"An \\u202Etneitneper"', "control character"),
    "bell in a text": ('"An Independent Scrutineer"', '"An \\u0007"', "control character"),
    "long text": ('"An Independent Scrutineer"', f'"{"x" * 5000}"', "at most 4000 characters"),
    "max on single": ('form = "single"', 'form = "single"\nmax = 1', "max belongs only"),
    "no max on multiple": ('form = "single"', 'form = "multiple"', "from 1 to 2"),
    "max of nought": ('form = "single"', 'form = "multiple"\nmax = 0', "from 1 to 2"),
    "max too high": ('form = "single"', 'form = "multiple"\nmax = 3', "from 1 to 2"),
    "true for max": ('form = "single"', 'form = "multiple"\nmax = true', "from 1 to 2"),
    "option not a table": ('{id = "no", text = "No"}', '"no"', "an option must be a table"),
    "no options": ('[ {id = "yes", text = "Yes"}, {id = "no", text = "No"} ]', "[]", "at least one option"),
    "unknown key": ('form = "single"', 'form = "single"\nshuffle = true', '"shuffle" is not known'),
}


@pytest.mark.parametrize(("old", "new", "message"), BAD.values(), ids=BAD.keys())
def test_each_fault_has_its_sentence_and_line(old: str, new: str, message: str) -> None:
    """One fault gives one sentence, where it was written or at the table that lacks it."""
    text = GOOD.replace(old, new, 1)

    found = faults(text)

    assert len(found) == 1
    assert message in found[0].message
    if new:
        near = line_of(GOOD, old)
        assert abs(found[0].line - near) <= 3


def test_all_faults_at_once_with_lines() -> None:
    """Eleven faults in one file come as eleven lines, in order."""
    text = """
[ballot]
id = "X"
title = "t"
kind = "recognition"
colour = "red"
union = "u"
scrutineer = "s"
contact = '''
several
lines'''
opens = 2025-07-02T00:00:00Z
closes = 2025-07-01T00:00:00Z
methods = ["electronic"]

[[question]]
id = "a"
text = "A"
form = "single"
options = [
    {id = "x", text = "X"},   # fine
    {id = "x", text = ""},
]
[[question]]
id = "a"
text = "A"
form = "multiple"
max = 9
[[question.options]]
id = "y"
text = "Y"
[[question.options]]
id = "Z"
text = "Z"
[other]
"""
    assert [(fault.line, fault.message.split(";")[0]) for fault in faults(text)] == [
        (2, "employer is missing"),
        (3, "id must be 1 to 40 of the characters a-z, 0-9 and -"),
        (6, '"colour" is not known here'),
        (13, "closes must come after opens"),
        (14, 'a ballot of kind "recognition" may use the method "electronic" only together with "postal"'),
        (22, 'question 1, option 2: text must be text, or {en = "…", cy = "…"}'),
        (22, 'question 1, option 2: two options have the id "x"'),
        (25, 'question 2: two questions have the id "a"'),
        (28, "question 2: max must be a whole number from 1 to 2, the number of options"),
        (33, "question 2, option 2: id must be 1 to 40 of the characters a-z, 0-9 and -"),
        (35, '"other" is not known here'),
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[ballot\n", 1),
        ("\n\n[ballot]\nid = \n", 4),
        ("[ballot]\nid = 'a'\nid = 'b'\n", 3),
        ("a = " + "[" * 100_000, 1),
        ("a = " + "9" * 5000, 1),
        ("x" * (limits.DEFINITION_BYTES_MAX + 1), 1),
        ("\x00", 1),
    ],
    ids=["header", "value", "key twice", "deep", "long number", "huge", "zero byte"],
)
def test_what_is_not_toml_is_one_fault(text: str, line: int) -> None:
    """A file that cannot be read at all is one fault, with its line."""
    (fault,) = faults(text)

    assert fault.line == line


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ballot = 1",
        "question = []",
        "[[ballot]]\n",
        "[question]\n",
        "question = [1, 2]",
        "[ballot]\n",
        "[ballot]\nid.x = 1",
        "[[question]]\noptions = 'x'",
        "[[question]]\noptions = [[]]\ntext.en = 3",
    ],
)
def test_no_shape_of_toml_escapes(text: str) -> None:
    """TOML of any other shape is faults, never a crash."""
    assert faults(text)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_cut_or_garbled_definitions_never_crash(data: st.DataObject) -> None:
    """A definition with a stretch cut out is either a definition or a list of faults on existing lines."""
    start = data.draw(st.integers(0, len(GOOD)))
    end = data.draw(st.integers(start, min(len(GOOD), start + 40)))
    put = data.draw(
        st.sampled_from(["", '"', "[", "{", "]", "}", "\n", "=", ",", "'''", "1", "[[question]]\n"])
    )
    text = GOOD[:start] + put + GOOD[end:]
    found = outcome(text)

    if isinstance(found, Definition):
        assert from_canonical(found.canonical) == found
    else:
        assert found
        assert all(1 <= fault.line <= text.count("\n") + 1 for fault in found)


def with_methods(kind: str, chosen: tuple[str, ...]) -> str:
    """The example with another kind and other methods."""
    return GOOD.replace('"industrial-action"', f'"{kind}"').replace(
        '["electronic", "postal"]', "[" + ", ".join(f'"{method}"' for method in chosen) + "]"
    )


def test_legal_pairs_are_requirement_p3() -> None:
    """Electronic alone, hybrid and workplace: 4 + 5 + 1 legal pairs of 15, the other five refused."""
    kinds = ("industrial-action", "political-fund", "election", "merger", "recognition")
    ways = {"electronic": ("electronic",), "hybrid": ("electronic", "postal"), "workplace": ("workplace",)}
    legal = set()
    for kind, way in itertools.product(kinds, ways):
        found = outcome(with_methods(kind, ways[way]))
        if isinstance(found, Definition):
            legal.add((kind, way))
        else:
            assert [f'"{kind}"' in fault.message for fault in found] == [True]

    assert legal == {(kind, "electronic") for kind in kinds[:4]} | {(kind, "hybrid") for kind in kinds} | {
        ("industrial-action", "workplace")
    }


@pytest.mark.parametrize("kind", methods.LEGAL_METHODS)
def test_post_alone_is_lawful_except_for_a_probe(kind: str) -> None:
    """Every lawful ballot can be held by post alone; a probe is electronic only."""
    if kind == "probe":
        assert "probe" in faults(with_methods(kind, ("postal",)))[0].message
        assert parse_toml(with_methods(kind, ("electronic",))).kind == "probe"
    else:
        assert parse_toml(with_methods(kind, ("postal",))).methods == ("postal",)


def test_answers_too_long_for_a_request_are_refused() -> None:
    """A definition whose longest answer no request could carry is refused at once."""
    options = ",".join(f'{{id = "{"x" * 37}{n:03d}", text = "x"}}' for n in range(200))
    question = '[[question]]\nid = "q{n}"\ntext = "x"\nform = "ranked"\noptions = [{options}]\n'
    ballot = GOOD[: GOOD.index("[[question]]")]
    text = ballot + "".join(question.format(n=n, options=options) for n in range(5))

    assert [f.message for f in faults(text)] == [
        f"the longest answer would be longer than {limits.PADDED_BYTES_MAX} bytes"
    ]


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: tree["ballot"].pop("title"),
        lambda tree: tree["ballot"].update(opens="2025-07-01T09:00:00+01:00"),
        lambda tree: tree["ballot"].update(opens=5),
        lambda tree: tree["ballot"].update(title="Sia\u0302n"),
        lambda tree: tree.update(extra=1),
        lambda tree: tree.update(ballot=[]),
    ],
    ids=["missing", "offset", "number", "not-nfc", "extra", "list"],
)
def test_only_the_canonical_definition_is_read_back(change: object) -> None:
    """What is not exactly what `create` would have written is refused."""
    tree = orjson.loads(make.DEFINITION.canonical)
    assert callable(change)
    change(tree)

    with pytest.raises(Malformed):
        from_canonical(canonical_json(tree))


IDS = st.from_regex(r"[a-z0-9-]{1,40}", fullmatch=True)


@st.composite
def definitions(draw: st.DrawFn) -> str:
    """The TOML of a legal definition with random questions."""
    text = GOOD[: GOOD.index("[[question]]")]
    for question in draw(st.lists(IDS, min_size=1, max_size=3, unique=True)):
        ids = draw(st.lists(IDS.filter(lambda i: i != "spoilt"), min_size=1, max_size=5, unique=True))
        form = draw(st.sampled_from(["single", "multiple", "ranked"]))
        options = ", ".join(f'{{id = "{i}", text = "x"}}' for i in ids)
        text += f'[[question]]\nid = "{question}"\ntext = "x"\nform = "{form}"\noptions = [{options}]\n'
        if form == "multiple":
            text += f"max = {draw(st.integers(1, len(ids)))}\n"
    return text


@given(definitions(), st.data())
@settings(max_examples=100, deadline=None)
def test_padded_length_is_the_same_for_every_choice(text: str, data: st.DataObject) -> None:
    """Every legal answer fits the padded size, a multiple of 64 and no longer than the longest needs."""
    parsed = parse_toml(text)
    chosen = {
        question.id: data.draw(
            st.lists(
                st.sampled_from([o.id for o in question.options]), max_size=question.choices_max, unique=True
            )
        )
        for question in parsed.questions
    }
    longest = {
        question.id: sorted((o.id for o in question.options), key=len)[-question.choices_max :]
        for question in parsed.questions
    }

    assert (
        len(answers.pad(answers.plaintext(parsed.questions, chosen), parsed.padded_size))
        == parsed.padded_size
    )
    assert 0 <= parsed.padded_size - len(answers.plaintext(parsed.questions, longest)) < 64
    assert parsed.padded_size % 64 == 0
