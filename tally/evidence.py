"""What must hold in a file we publish, besides its signature: each check says in a sentence what does not.

Every function takes a file as read and the pinned key, and raises `NotGenuine`; returning means all holds.
"""

import json
from collections.abc import Mapping
from typing import Any

from ballot import receipt, signed
from ballot.definition import Definition
from ballot.encoding import Malformed, hex_decode, parse_time
from ballot.receipt import Receipt
from ballot.suite import SignatureInvalid, key_id
from tally import result as results

_RESULT_FIELDS = {
    "ballot",
    "definition_sha256",
    "entitled",
    "votes_cast",
    "turnout",
    "by_method",
    "questions",
    "set_aside",
    "quarantined",
    "books",
    "generated_at",
    "signature",
    "key_id",
}
_COUNTED_FORMS = {"single", "multiple"}


class NotGenuine(Exception):  # noqa: N818  # named for what it says of the file
    """The file is not what it says it is; the text is a sentence about it."""


def parse_object(data: bytes) -> dict[str, Any]:
    """Return the JSON object in `data`, or raise Malformed; no name in it is repeated.

    A repeated name is how a file could show its reader one number and have another one verified.
    """
    try:
        value = json.loads(data, object_pairs_hook=_once_each)
    except (ValueError, RecursionError):
        raise Malformed("this is not JSON, or a name in it is repeated") from None
    if not isinstance(value, dict):
        raise Malformed("this is JSON, but not an object")
    return value


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of `pairs`, or raise if it names anything twice."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise Malformed("a name in this JSON is repeated")
    return value


def check_result(value: Mapping[str, Any], *, result_key: bytes, definition: Definition | None) -> None:
    """Check a result: (1) signature, (2) form, (3) sums, (4) books, (5) the ballot's questions and options.

    `definition` comes from the ballot document signed by the desk; without it (5) cannot be checked.
    """
    try:  # (1)
        signed.verify_object(value, label=signed.RESULT_LABEL, public=result_key)
    except SignatureInvalid:
        raise NotGenuine(f"it is not signed by the result key {key_id(result_key)}") from None
    try:
        _check_form(value)  # (2)
        _check_sums(value)  # (3)
        found = results.differences(
            value["books"], votes_cast=value["votes_cast"], by_method=value["by_method"]
        )  # (4)
    except (Malformed, KeyError, TypeError, AttributeError):
        raise NotGenuine("it is signed, but not in the form of a result") from None
    if found:
        raise NotGenuine(f"its books do not balance: {found[0]}")
    if definition is not None:
        _check_definition(value, definition)  # (5)


def _check_form(value: Mapping[str, Any]) -> None:
    """Raise Malformed unless every field is there and every number is one."""
    if value.keys() != _RESULT_FIELDS:
        raise Malformed("fields")
    hex_decode(value["definition_sha256"], length=32)
    parse_time(value["generated_at"])
    books = value["books"]
    numbers = [value["entitled"], value["votes_cast"], books["opened"], books["set_aside"], books["papers"]]
    for table in (value["by_method"], value["set_aside"], value["quarantined"]):
        numbers += table.values()
    for question in value["questions"]:
        told = books["questions"][question["id"]]
        numbers += [*question["counts"].values(), question["spoilt"], told["valid"], told["spoilt"]]
        if question["form"] not in _COUNTED_FORMS:
            raise Malformed("form")
    if any(type(number) is not int or number < 0 for number in numbers):
        raise Malformed("number")
    if len(books["questions"]) != len(value["questions"]):
        raise Malformed("questions")


def _check_sums(value: Mapping[str, Any]) -> None:
    """Raise NotGenuine unless each number that follows from others does."""
    books, votes_cast = value["books"], value["votes_cast"]
    equal = {
        "the number entitled": (value["entitled"], books["entitled"]),
        "the turnout": (value["turnout"], results.turnout(votes_cast, value["entitled"])),
        "the number set aside": (sum(value["set_aside"].values()), books["set_aside"]),
    }
    for question in value["questions"]:
        name, told = question["id"], books["questions"][question["id"]]
        marks = sum(question["counts"].values())
        equal[f"the spoilt answers to {name}"] = (question["spoilt"], told["spoilt"])
        equal[f"the answers to {name}"] = (told["valid"] + question["spoilt"], votes_cast)
        if question["form"] == "single":
            equal[f"the choices for {name}"] = (marks, told["valid"])
        elif marks < told["valid"] or max(question["counts"].values()) > told["valid"]:
            raise NotGenuine(f"the choices for {name} cannot come from {told['valid']} valid answers")
    for what, (stated, follows) in equal.items():
        if stated != follows:
            raise NotGenuine(f"{what} is given as {stated} and follows to be {follows}")


def _check_definition(value: Mapping[str, Any], definition: Definition) -> None:
    """Raise NotGenuine unless the result is of exactly this ballot."""
    if (value["ballot"], value["definition_sha256"]) != (definition.id, definition.sha256.hex()):
        raise NotGenuine("it is of another ballot than the document that the desk signed")
    told = [(q["id"], q["form"], set(q["counts"])) for q in value["questions"]]
    wanted = [(q.id, q.form, {option.id for option in q.options}) for q in definition.questions]
    if told != wanted:
        raise NotGenuine("its questions or options are not the ballot's")


def check_receipt(value: Mapping[str, Any], *, public: bytes) -> Receipt:
    """Return the receipt in `value` if it is in form and the receipts key signed it."""
    try:
        found = Receipt.from_dict(value)
        receipt.verify(found, public)
    except Malformed as fault:
        raise NotGenuine(f"it is not a receipt: {fault}") from None
    except SignatureInvalid:
        raise NotGenuine(f"it is not signed by the receipts key {key_id(public)}") from None
    return found
