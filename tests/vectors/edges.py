"""Where two readers of one rule could part: odd signatures, spellings, codes as typed, longest answers.

Each case says what ballot/ makes of it; the voter's page must make the same.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from ballot import answers as answer_rules
from ballot.code import Code, CodeMistyped
from ballot.encoding import Malformed, b64decode, canonical_json, hex_decode
from ballot.question import Option, Question
from ballot.suite import SignatureInvalid, SigningKey, verify_signature
from tests.vectors import edwards
from tests.vectors.edwards import BASE, IDENTITY, ORDER, PRIME, SMALL, add, spelt, times

Vector = dict[str, Any]

MESSAGE: Final = b"a vote"
SECRET: Final = 0x1234567
DRAWN: Final = 0x7654321


def signatures() -> Vector:
    """Signatures that keep to the equation in odd ways, and whether they are good."""
    cases = [*_honest(), *_odd_scalars(), *_odd_points()]
    return {
        "message": MESSAGE.hex(),
        "signatures": [
            {"what": what, "public_key": public.hex(), "signature": signature.hex(), "good": good}
            for what, public, signature in cases
            for good in [_holds(verify_signature, SignatureInvalid, public, signature, MESSAGE)]
        ],
    }


def _honest() -> Iterator[tuple[str, bytes, bytes]]:
    key = SigningKey.from_seed(bytes(range(32)))
    signature = key.sign(MESSAGE)
    yield "honest", key.public, signature
    yield "honest, by this arithmetic", spelt(times(SECRET, BASE)), _signed(times(SECRET, BASE))
    yield "of another message", key.public, key.sign(MESSAGE + b".")
    yield "short", key.public, signature[:63]
    yield "long", key.public, signature + b"\0"
    yield "short key", key.public[:31], signature
    yield "nothing", b"", b""
    for bit in (0, 255, 256, 511):
        changed = bytearray(signature)
        changed[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit} changed", key.public, bytes(changed)


def _odd_scalars() -> Iterator[tuple[str, bytes, bytes]]:
    public, good = spelt(times(SECRET, BASE)), _signed(times(SECRET, BASE))
    s = int.from_bytes(good[32:], "little")
    for what, other in (("s plus the order", s + ORDER), ("s of all ones", 2**256 - 1), ("s of zero", 0)):
        yield what, public, good[:32] + other.to_bytes(32, "little")


def _odd_points() -> Iterator[tuple[str, bytes, bytes]]:
    own, drawn = times(SECRET, BASE), times(DRAWN, BASE)
    for order in range(8):
        point = times(order, SMALL)
        yield f"key of small order {order}", spelt(point), _signed(point, secret=0)
        yield f"R and {order} of the small", spelt(own), _signed(own, r=add(drawn, point))
        # Without the cofactor a key with a small part passes where the challenge happens to take it away.
        yield f"key and {order} of the small", spelt(add(own, point)), _signed(add(own, point))
    yield "R of small order", spelt(own), _signed(own, r=IDENTITY, drawn=0)
    yield "identity, second spelling", (PRIME + 1).to_bytes(32, "little"), _signed(IDENTITY, secret=0)
    yield "minus zero", (1 | 1 << 255).to_bytes(32, "little"), _signed(IDENTITY, secret=0)
    off = next(y for y in range(2, 100) if edwards.root(y) is None).to_bytes(32, "little")
    yield "key off the curve", off, _signed(own)
    yield "R off the curve", spelt(own), off + _signed(own)[32:]


def _signed(
    key: edwards.Point, *, secret: int = SECRET, r: edwards.Point | None = None, drawn: int = DRAWN
) -> bytes:
    return edwards.sign(spelt(key), spelt(r or times(drawn, BASE)), drawn, MESSAGE, secret=secret)


def spellings() -> Vector:
    """Texts that are or are not the one spelling of bytes; values and their one JSON."""
    base64url = [
        "",
        "A",
        "AA",
        "AB",
        "AAA",
        "AAB",
        "AAE",
        "AAAA",
        "_-_-",
        "+/+/",
        "AA==",
        "AA\n",
        " AA",
        "AÀ",
    ]
    base64url += ["AAAAA", "AAAAAA", "AAAAAB", "\uff21", "A\0AA", "-_8", "-_9"]
    hexadecimal = ["", "0", "00", "0F", "0f", "f0 ", "\uff100", "00\n", "gg", "0123456789abcdef"]
    values: list[Any] = [
        {},
        [],
        "",
        {"b": 1, "a": [2, {"d": "x", "c": -3}]},
        {"\u20ac": "Euro", "\r": "CR", "1": "One", "\U0001f600": "Smiley", "\ufb33": "Dalet", "é": "é"},
        {"10": "ten", "2": "two", "constructor": "c", "__proto__": "p", "toString": "t"},
        '\u0000\u0007\b\t\n\u000b\f\r\u001f "\\/\u007f\u0080\u2028\u2029\ufeff\U0001f600',
        "Siân Ŵyn, Zoë O\u2019Neill",
        9007199254740991,
        -9007199254740991,
        [[[[[[[["deep"]]]]]]]],
    ]
    return {
        "base64url": [{"text": text, "hex": _or_none(b64decode, text)} for text in base64url],
        "hex": [
            {"text": text, "hex": _or_none(lambda given: hex_decode(given, length=len(given) // 2), text)}
            for text in hexadecimal
        ],
        "canonical": [{"value": value, "json": canonical_json(value).decode()} for value in values],
    }


def typed_codes(code: Code) -> list[Vector]:
    """What a person may type for `code`, or instead of it, and the code that is read."""
    text = code.text()
    plain = text.replace("-", "")
    invisible = "\u200b".join(text) + "\ufeff"
    dashes = "\u2010\u2011\u2012\u2013\u2014\u2212"
    typed = [text, plain, text.lower(), f"  {text}\n", text.replace("-", " \t\u00a0"), invisible]
    typed += [dashes.join(plain), plain.replace("0", "O").replace("1", "l"), plain.replace("0", "o")]
    typed += [
        "",
        "-",
        plain[:-1],
        plain + "0",
        plain[1:] + plain[0],
        plain[:-1] + "U",
        f"{text}!",
        "#" + text,
    ]
    typed += [plain.replace("K", "\u212a"), "\u0131".join(plain.split("1")), plain[:10] + "é" + plain[11:]]
    typed += [plain.translate({ord("5"): "\uff15"}), plain[:10] + "\U0001f600" + plain[10:]]
    return [{"typed": one, "code": _read_code(one)} for one in typed]


def _read_code(typed: str) -> str | None:
    try:
        return Code.parse(typed).text()
    except CodeMistyped:
        return None


def plaintexts() -> Vector:
    """Questions with odd ids and sizes, and what answers to them give; None where they are refused."""
    odd = [
        _question("10", "single", ["1", "constructor", "0"]),
        _question("2", "multiple", ["b" * 40, "a", "c", "d"], most=3),
        _question("constructor", "ranked", ["z", "y", "x"]),
    ]
    large = [_question(f"q{n}", "ranked", [f"{'o' * 36}{m:04}" for m in range(40)]) for n in range(2)]
    ten, two, last = "10", "2", "constructor"
    cases: list[Mapping[str, Sequence[str]]] = [
        {},
        {ten: ["1"]},
        {last: ["x", "z", "y"], two: ["d", "a"], ten: ["constructor"]},
        {ten: [], two: [], last: []},
        {two: ["a", "c", "d"], last: ["y"]},
        {ten: ["1", "0"]},
        {two: ["a", "c", "d", "b" * 40]},
        {two: ["a", "a"]},
        {ten: ["2"]},
        {"11": []},
        {last: ["x", "z", "y", "x"]},
    ]
    exact = [_question("q", "single", ["o" * length]) for length in range(33, 37)]
    return {
        "ballots": [
            _plaintext_cases(odd, cases),
            _plaintext_cases(large, [{}, {"q1": [option.id for option in large[1].options]}]),
            *(_plaintext_cases([question], [{}]) for question in exact),
        ]
    }


def _question(name: str, form: str, options: list[str], *, most: int | None = None) -> Question:
    return Question(name, name, form, tuple(Option(option, option) for option in options), most)


def _plaintext_cases(questions: list[Question], cases: list[Mapping[str, Sequence[str]]]) -> Vector:
    return {
        "questions": [question.to_dict() for question in questions],
        "padded_size": answer_rules.padded_size(questions),
        "answers": [{"answers": answers, "plaintext": _plaintext(questions, answers)} for answers in cases],
    }


def _plaintext(questions: list[Question], answers: Mapping[str, Sequence[str]]) -> str | None:
    try:
        return answer_rules.plaintext(questions, answers).decode()
    except Malformed:
        return None


def _or_none(read: Callable[[str], bytes], text: str) -> str | None:
    try:
        return read(text).hex()
    except Malformed:
        return None


def _holds(act: Callable[..., None], refusal: type[Exception], *given: bytes) -> bool:
    try:
        act(*given)
    except refusal:
        return False
    return True
