"""What the voter's page seals, ballot/ and tally/ open and count; what the server signs, the page believes.

The page's own modules run in Node, all the work of a test in one process (intake/page/tests/batch.ts).
"""

import itertools
import json
import random
import secrets
import string
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner

from ballot import complaint, document, methods, receipt, vote
from ballot.answers import pad, plaintext
from ballot.code import Code
from ballot.complaint import Complaint
from ballot.definition import Definition, from_canonical
from ballot.encoding import Malformed, b64encode, canonical_json
from ballot.limits import COMPLAINT_BYTES_MAX
from ballot.receipt import Leaf
from ballot.sealing import bind, hpke_info
from ballot.suite import SigningKey
from scrutineer.unsealing import ComplaintsKey
from tally.command import tally
from tally.count import SealedVote, open_and_count
from tally.opening import DoesNotOpen
from tests import page
from tests.unit.tally.sealed_ballot import SealedBallot
from tests.vectors.make import DESK, DOCUMENT, PUBLIC_KEY, RESULT

BATCH_SECONDS_MAX: Final = 120
QUESTIONS: Final = """
[[question]]
id = "strike"
text = {en = "Are you prepared to take part in a strike?", cy = "A ydych yn barod i streicio?"}
form = "single"
options = [{id = "yes", text = "Yes"}, {id = "no", text = "No"}]

[[question]]
id = "10"
text = "Choose up to two."
form = "multiple"
max = 2
options = [{id = "a-name-that-is-long", text = "A"}, {id = "b", text = "B"}, {id = "ron", text = "C"}]
"""
RANKED: Final = """
[[question]]
id = "2"
text = "Put them in order."
form = "ranked"
options = [{id = "first", text = "First"}, {id = "second", text = "Second"}, {id = "3", text = "Third"}]
"""

CHOICES: Final[list[dict[str, list[str]]]] = [
    {"strike": ["yes"], "10": ["b", "ron"], "2": ["3", "first", "second"]},
    {"strike": ["no"], "10": ["a-name-that-is-long", "b"], "2": ["second"]},
    {"strike": ["yes"], "10": ["ron"], "2": ["first", "second", "3"]},
    {"strike": ["yes"]},
    {"10": []},
    {},
]

Work = dict[str, Any]


def run(desk: SigningKey, **work: list[Work]) -> dict[str, list[Any]]:
    """What the page makes of `work`: a list of outcomes for each kind."""
    done = subprocess.run(
        page.node(page.PAGE / "tests" / "batch.ts"),
        input=json.dumps({"desk_key": b64encode(desk.public), **work}).encode(),
        env=page.environment(),
        capture_output=True,
        check=False,
        timeout=BATCH_SECONDS_MAX,
    )
    assert done.returncode == 0, done.stderr.decode()
    outcomes: dict[str, list[Any]] = json.loads(done.stdout)
    return outcomes


def signed_document(
    canonical: bytes, desk: SigningKey, *, answers: Sequence[Mapping[str, Sequence[str]]] = (), **more: Any
) -> Work:
    """A document that the desk signs whatever it says, and what to do on it."""
    signature = desk.sign(document.signed_message(canonical))
    return {
        "canonical": canonical.decode(),
        "signature": b64encode(signature),
        "answers": answers,
        "votes": [],
        **more,
    }


@pytest.fixture
def sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SealedBallot:
    """A ballot with a question of every form, its document published in a home of its own."""
    monkeypatch.setenv("BALLOT_HOME", str(tmp_path / "home"))
    made = SealedBallot.make(tmp_path / "shares", questions=QUESTIONS + RANKED)
    made.publish(tmp_path / "home")
    return made


def sealed_by_the_page(ballot: SealedBallot, choices: Sequence[Mapping[str, Sequence[str]]]) -> Iterator[Any]:
    """Every choice sealed with a code of its own: the code, and what the page would send."""
    codes = [Code.draw(secrets.token_bytes) for _ in choices]
    votes = [{"code": code.text(), "answers": chosen} for code, chosen in zip(codes, choices, strict=True)]
    work = signed_document(ballot.page.canonical, ballot.desk, votes=votes)
    [opened] = run(ballot.desk, documents=[work])["documents"]
    for code, sent in zip(codes, opened["good"]["votes"], strict=True):
        yield code, sent["good"]


def test_votes_of_the_page_are_ours_to_the_byte(sealed: SealedBallot) -> None:
    """Form, credential, digest, signature and plaintext are what Python's own device would have sent."""
    lengths = set()
    opening = sealed.keys.opening.key()
    for (code, sent), chosen in zip(sealed_by_the_page(sealed, CHOICES), CHOICES, strict=True):
        body = sent["body"].encode()
        cast = vote.parse(body, padded_size=sealed.page.padded_size)
        where = (sealed.definition.id, sealed.definition.sha256)
        info = hpke_info(*where, bind(cast.nonce, cast.credential))
        expected = plaintext(sealed.definition.questions, chosen)

        assert cast.to_json() == body
        assert cast.credential == code.credential(sealed.definition.id)
        assert cast.sealed_sha256.hex() == sent["sealedSha256"]
        vote.verify(
            ballot_id=where[0],
            definition_sha256=where[1],
            credential=cast.credential,
            nonce=cast.nonce,
            sealed=cast.sealed,
            signature=cast.signature,
        )
        assert opening.open(cast.sealed, info=info) == pad(expected, sealed.page.padded_size)
        with pytest.raises(DoesNotOpen):  # moved to another credential
            opening.open(cast.sealed, info=hpke_info(*where, bind(cast.nonce, bytes(32))))
        lengths.add(len(body))
    assert len(lengths) == 1


def counted(ballot: SealedBallot, choices: Sequence[Mapping[str, Sequence[str]]]) -> list[SealedVote]:
    """The votes that the page seals for these choices, as an export carries them."""
    for _, sent in sealed_by_the_page(ballot, choices):
        cast = vote.parse(sent["body"].encode(), padded_size=ballot.page.padded_size)
        ballot.votes.append((bind(cast.nonce, cast.credential), cast.sealed))
    return [SealedVote(line, *each) for line, each in enumerate(ballot.votes)]


def test_votes_of_the_page_count_as_they_were_given(sealed: SealedBallot) -> None:
    """Single, multiple, ranked and blank answers: each option as often as it was chosen, blanks spoilt."""
    count = open_and_count(
        counted(sealed, CHOICES), definition=sealed.definition, key=sealed.keys.opening.key()
    )

    assert count.opened == len(CHOICES)
    for question, of in zip(sealed.definition.questions, count.questions, strict=True):
        given = [chosen.get(question.id, []) for chosen in CHOICES]
        assert of.counts == {each.id: sum(each.id in answer for answer in given) for each in question.options}
        assert (of.valid, of.spoilt) == (sum(map(bool, given)), sum(not answer for answer in given))


def test_votes_of_the_page_are_counted_by_the_tally(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ballot tally`, with k shares and a signed export, counts what the page sealed.

    Without a ranked question: those are opened, and not yet counted.
    """
    monkeypatch.setenv("BALLOT_HOME", str(tmp_path / "home"))
    ballot = SealedBallot.make(tmp_path / "shares", questions=QUESTIONS)
    ballot.publish(tmp_path / "home")
    counted(ballot, [{"strike": ["yes"], "10": ["b", "ron"]}, {"strike": ["no"]}, {"strike": ["yes"]}])
    shares = [argument for share in ballot.shares[:2] for argument in ("--share", str(share))]
    export, out = ballot.export(tmp_path / "export"), tmp_path / "result.json"
    arguments = [ballot.definition.id, *shares, "--from", str(export), "--out", str(out)]
    done = CliRunner().invoke(tally, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    result = json.loads(out.read_text())

    assert (result["votes_cast"], result["set_aside"]) == (3, {})
    assert [(each["counts"], each["spoilt"]) for each in result["questions"]] == [
        ({"yes": 2, "no": 1}, 0),
        ({"a-name-that-is-long": 0, "b": 1, "ron": 1}, 2),
    ]


def drawn_definition(draw: random.Random, number: int) -> Definition:
    """A definition of random questions, ids and wording."""
    words = string.ascii_letters + ' \n"\\/<>&éŵ€\u2028\U0001f600'
    symbols = string.ascii_lowercase + string.digits + "-"

    def ids(count: int) -> list[str]:
        found: set[str] = set()
        while len(found) < count:
            found.add("".join(draw.choices(symbols, k=draw.choice((1, 2, 5, 40)))))
        return sorted(found, key=lambda _: draw.random())

    def text() -> Any:
        plain = ["x" + "".join(draw.choices(words, k=draw.randrange(30))) for _ in range(2)]
        return plain[0] if draw.random() < 0.5 else {"en": plain[0], "cy": plain[1]}

    questions = []
    for name in ids(draw.randint(1, 5)):
        form = draw.choice(("single", "multiple", "ranked"))
        options = [{"id": option, "text": text()} for option in ids(draw.randint(1, 9))]
        most = {"max": draw.randint(1, len(options))} if form == "multiple" else {}
        questions.append({"id": name, "text": text(), "form": form, "options": options, **most})
    kind = draw.choice(sorted(methods.LEGAL_METHODS))
    allowed = [some for some in combinations(methods.LEGAL_METHODS[kind]) if not methods.fault(kind, some)]
    used = draw.choice(allowed)
    head = {"kind": kind, "methods": list(used), "contact": text()}
    head |= {"precedence": "first-recorded"} if len(used) > 1 else {}
    head |= {} if kind in methods.WITHOUT_UNION else {"union": text()}
    head |= {} if kind in methods.WITHOUT_EMPLOYER else {"employer": text()}
    head |= {"id": f"drawn-{number}", "title": text(), "scrutineer": text()}
    head |= {"opens": "2025-07-01T08:00:00Z", "closes": "2025-07-29T11:00:00Z"}
    return from_canonical(canonical_json({"ballot": head, "question": questions}))


def combinations(items: Iterable[str]) -> list[tuple[str, ...]]:
    """Every way to take one or more of `items`."""
    ordered = sorted(items)
    return [some for count in range(1, len(ordered) + 1) for some in itertools.combinations(ordered, count)]


def drawn_answers(draw: random.Random, definition: Definition) -> dict[str, list[str]]:
    """Legal answers, some of them blank and some questions not mentioned."""
    answers = {}
    for question in definition.questions:
        ids = [option.id for option in question.options]
        if draw.random() < 0.9:
            answers[question.id] = draw.sample(ids, draw.randint(0, question.choices_max))
    return answers


def test_any_ballot_and_answers_give_the_same_bytes() -> None:
    """Random definitions and answers: digest, padded size and every plaintext are Python's."""
    draw = random.Random(20250701)
    documents = [
        document.build(drawn_definition(draw, n), public_key=PUBLIC_KEY, result_key=RESULT.public)
        for n in range(60)
    ]
    answers = [[drawn_answers(draw, one.definition) for _ in range(8)] for one in documents]
    work = [
        signed_document(one.canonical, DESK, answers=chosen)
        for one, chosen in zip(documents, answers, strict=True)
    ]

    for outcome, one, chosen in zip(run(DESK, documents=work)["documents"], documents, answers, strict=True):
        opened = outcome["good"]
        assert opened["definition_sha256"] == one.definition.sha256.hex()
        assert opened["padded_size"] == one.padded_size
        expected = [plaintext(one.definition.questions, each).decode() for each in chosen]
        assert [each["good"] for each in opened["plaintexts"]] == expected


def test_the_page_refuses_the_documents_that_we_refuse() -> None:
    """One character changed anywhere in a document and signed again: opened by both or by neither.

    Wording apart: of that the page trusts the desk, which has checked it.
    """
    draw = random.Random(4)
    text = DOCUMENT.canonical.decode()
    changed = []
    for _ in range(400):
        at = draw.randrange(len(text))
        changed.append((text[:at] + draw.choice('ab09-_"[]{},: ') + text[at + 1 :]).encode())
    outcomes = run(DESK, documents=[signed_document(one, DESK) for one in changed])["documents"]

    agreed = {"good": 0, "refused": 0}
    for canonical, outcome in zip(changed, outcomes, strict=True):
        ours = "good" if opens(canonical) else "refused"
        assert ours in outcome, canonical
        agreed[ours] += 1
    assert all(agreed.values())


def opens(canonical: bytes) -> bool:
    """Whether ballot/ takes these bytes for a document, once signed."""
    try:
        document.parse(canonical)
    except Malformed:
        return False
    return True


def issued(count: int, key: SigningKey, ballot: str = "tube-2025") -> list[Work]:
    """`count` receipts as an edge sends them, under one signature."""
    leaves = [
        Leaf(
            ballot,
            receipt.draw_reference(0, 1, random=secrets.token_bytes),
            1_752_000_000_123_456 + n,
            digest,
        )
        for n, digest in enumerate(secrets.token_bytes(32) for _ in range(count))
    ]
    return [
        {
            "text": body.decode(),
            "ballot": ballot,
            "sealed_sha256": leaf.sealed_sha256.hex(),
            "key": b64encode(key.public),
        }
        for leaf, body in zip(leaves, receipt.issue_bodies(leaves, key), strict=True)
    ]


def test_receipts_verify_alone_and_in_batches_of_any_size() -> None:
    """Every receipt of batches that fill their tree and that do not."""
    key = SigningKey.from_seed(secrets.token_bytes(32))
    work = [each for count in (1, 2, 3, 4, 5, 7, 8, 33, 64) for each in issued(count, key)]
    work += secrets.SystemRandom().sample(issued(5000, key), 5)

    for each, outcome in zip(work, run(DESK, receipts=work)["receipts"], strict=True):
        assert outcome == {"good": json.loads(each["text"])["reference"]}


def test_changed_receipts_do_not_verify() -> None:
    """Any one character of a receipt changed, or a receipt for another vote, ballot or by another key."""
    draw = random.Random(5)
    key, other = (SigningKey.from_seed(secrets.token_bytes(32)) for _ in range(2))
    first, second, *_ = issued(6, key)
    text = first["text"]
    work = []
    for at, symbol in enumerate(text):
        changed = draw.choice([each for each in 'A0z9-_"[]{},:LR' if each != symbol])
        work.append(first | {"text": text[:at] + changed + text[at + 1 :]})
    work += [first | {"text": second["text"]}, first | {"ballot": "tube-2026"}]
    work += [first | {"key": b64encode(other.public)}, first | {"sealed_sha256": second["sealed_sha256"]}]
    work += [first | {"text": issued(1, other)[0]["text"]}, first | {"text": ""}, first | {"text": "null"}]
    *refused, good = run(DESK, receipts=[*work, first])["receipts"]

    assert "good" in good
    assert [each for each, outcome in zip(work, refused, strict=True) if "refused" not in outcome] == []


def test_complaints_of_the_page_are_opened_at_the_desk() -> None:
    """Text and contact arrive as written, in a request that the edge takes, of one length."""
    key = ComplaintsKey(secrets.token_bytes(32))
    entry = complaint.key_entry(key.public_key, DESK)
    published = {name: entry[name] for name in ("public_key", "signature")}
    written = [
        Complaint("My link did not work."),
        Complaint(
            "Ni weithiodd y ddolen: ŵ, ŷ, “dyfynodau”, €, \U0001f600.\n\tA line.", "Siân, 020 7946 0000"
        ),
        Complaint('"\\/\b\f\r\x00\x1f\x7f\u2028', " "),
        Complaint("x" * (COMPLAINT_BYTES_MAX - len('{"v":1,"text":""}'))),
    ]
    work = [
        {"written": {"text": one.text, "contact": one.contact}, "key": published, "ballot": ballot}
        for one, ballot in zip(written, (None, "tube-2025", None, "no-such-ballot"), strict=True)
    ]
    outcomes = run(DESK, complaints=work)["complaints"]

    for one, each, outcome in zip(written, work, outcomes, strict=True):
        lodged = complaint.parse_request(outcome["good"].encode())
        assert lodged.ballot == each["ballot"]
        assert complaint.request_body(lodged) == outcome["good"].encode()
        assert key.open(lodged.sealed) == one


def test_a_complaint_is_sealed_to_no_key_but_the_desks() -> None:
    """Signed by another, or another key under the desk's signature: the page refuses."""
    key, other = (ComplaintsKey(secrets.token_bytes(32)) for _ in range(2))
    stranger = SigningKey.from_seed(secrets.token_bytes(32))
    entry = complaint.key_entry(key.public_key, DESK)
    keys = [
        complaint.key_entry(key.public_key, stranger),
        entry | {"public_key": b64encode(other.public_key)},
        entry | {"signature": b64encode(bytes(64))},
    ]
    work = [{"written": {"text": "x", "contact": ""}, "key": each, "ballot": None} for each in [*keys, entry]]
    *refused, good = run(DESK, complaints=work)["complaints"]

    assert refused == [{"refused": "Untrue"}] * len(keys)
    assert "good" in good
