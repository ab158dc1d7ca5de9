"""A ballot whose questions and options are words that occur nowhere else, and every spelling to look for."""

import base64
import urllib.parse
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from ballot.code import Code
from ballot.suite import hkdf
from tests.acceptance.traces import FORM_BYTES_MIN, ZEROS, forms
from tests.browser.station import OpenBallot, Station

_DEFINITION: Final = """\
[ballot]
id = "{ballot}"
title = "A ballot of marked words"
kind = "election"
union = "National Union of Rail, Maritime and Transport Workers"
scrutineer = "An Independent Scrutineer"
contact = "help@scrutineer.example, 020 7946 0000"
opens = {opens}
closes = {closes}
methods = ["electronic"]
precedence = "first-recorded"

[[question]]
id = "single"
text = "Which one?"
form = "single"
options = [
    {{id = "aubergine-quartz", text = "The Aubergine of Quartz"}},
    {{id = "bergamot-jasper-with-a-much-longer-name", text = "Bergamot “Jasper” Ó Fágáin-Smith"}},
]

[[question]]
id = "multiple"
text = "Which two?"
form = "multiple"
max = 2
options = [
    {{id = "cardamom-onyx", text = "Cardamom Onyx-Ffoulkes"}},
    {{id = "dill-beryl-also-with-a-longer-name", text = "Dill Beryl"}},
    {{id = "endive-topaz", text = "Endive Topaz"}},
]

[[question]]
id = "ranked"
text = "In which order?"
form = "ranked"
options = [
    {{id = "fennel-opal", text = "Fennel Opal"}},
    {{id = "ginger-agate-whose-name-is-longer-too", text = "Ginger Agate"}},
    {{id = "hyssop-garnet", text = "Hyssop Garnet"}},
]
"""
ONE, ONE_LONG = "aubergine-quartz", "bergamot-jasper-with-a-much-longer-name"
TWO = ("cardamom-onyx", "dill-beryl-also-with-a-longer-name", "endive-topaz")
THREE = ("fennel-opal", "ginger-agate-whose-name-is-longer-too", "hyssop-garnet")
DAY: Final = timedelta(days=1)
GROUP: Final = 4


def marked_ballot(station: Station) -> OpenBallot:
    """That ballot, open."""
    now = datetime.now(UTC).replace(microsecond=0)
    window = {"opens": (now - DAY).isoformat(), "closes": (now + DAY).isoformat()}
    return OpenBallot(station, "marked", _DEFINITION.format(ballot="marked", **window))


def choices(ballot: OpenBallot) -> dict[str, bytes]:
    """The ids and texts of all options."""
    found: dict[str, bytes] = {}
    for question in ballot.document.definition.questions:
        for option in question.options:
            text = option.text if isinstance(option.text, str) else option.text["en"]
            found |= {f"the id {option.id}": option.id.encode(), f"the text of {option.id}": text.encode()}
    return found


def whose(code: str, ballot: str) -> dict[str, bytes]:
    """What only the voter has: the code, as it stands in the letter and as it is used, and the key's seed."""
    symbols = Code.parse(code).text().replace("-", "")
    seed = hkdf(symbols.encode(), salt=f"strike-ballot/v1/{ballot}".encode(), info=b"credential", length=32)
    groups = [symbols[start : start + GROUP] for start in range(0, len(symbols), GROUP)]
    return {
        "the code": symbols.encode(),
        "the code in groups": "-".join(groups).encode(),
        "the code with spaces": " ".join(groups).encode(),
        "half of the code": symbols[: len(symbols) // 2].encode(),
        "half of the groups": "-".join(groups[:3]).encode(),
        "the seed": seed,
    }


def spellings(secret: bytes) -> set[bytes]:
    """`secret` in every form of `forms`, and as addresses, JSON, scripts and browsers' files may spell it."""
    found = set(forms(secret))
    try:
        text = secret.decode()
    except UnicodeDecodeError:
        return found
    for word in {text, text.lower(), text.upper()}:
        escaped = "".join(f"\\u{ord(letter):04x}" for letter in word)
        part = "".join(f"\\u{ord(letter):04x}" if ord(letter) > 0x7E else letter for letter in word)
        percent = "".join(f"%{byte:02X}" for byte in word.encode())
        quoted = {urllib.parse.quote(word, safe=""), urllib.parse.quote_plus(word)}
        spelt = {escaped, part, part.replace('"', '\\"'), percent, percent.lower(), word[::-1], *quoted}
        found |= {one.encode() for one in spelt} | {word.encode("utf-16-le"), word.encode("utf-16-be")}
        found.add(base64.b64encode(word.encode("utf-16-le")).rstrip(b"="))
    return {one for one in found if len(one) >= FORM_BYTES_MIN}


def found_in(data: Iterable[bytes], secrets: Mapping[str, bytes]) -> set[str]:
    """The names of the secrets of which a spelling is in the data."""
    pieces = [one.replace(ZEROS, b"\0") for one in data]
    return {
        name
        for name, secret in secrets.items()
        for one in spellings(secret)
        if any(one in piece for piece in pieces)
    }
