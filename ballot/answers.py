"""The plaintext of a vote, and the one length that every vote on a ballot is padded to."""

from collections.abc import Mapping, Sequence

import orjson

from ballot import limits
from ballot.encoding import Malformed
from ballot.question import Question


def plaintext(questions: Sequence[Question], answers: Mapping[str, Sequence[str]]) -> bytes:
    """`answers` as compact JSON in the order of `questions`; a question not answered is left blank .

    Refuses what would be spoilt, so that an honest client cannot send it by mistake.
    """
    unknown = answers.keys() - {question.id for question in questions}
    if unknown:
        raise Malformed("An answer names a question that is not on this ballot.")
    for question in questions:
        chosen = answers.get(question.id, ())
        if isinstance(chosen, str) or set(chosen) - {option.id for option in question.options}:
            raise Malformed(f"The answer to {question.id} names an option that is not on this ballot.")
        if len(set(chosen)) != len(chosen):
            raise Malformed(f"The answer to {question.id} names an option twice.")
        if len(chosen) > question.choices_max:
            raise Malformed(
                f"The answer to {question.id} has more options than the {question.choices_max} allowed."
            )
    return _compact({question.id: list(answers.get(question.id, ())) for question in questions})


def pad(data: bytes, size: int) -> bytes:
    """`data` followed by zero bytes up to `size`."""
    if len(data) > size:
        raise Malformed("These answers are longer than any legal answer to this ballot.")
    return data.ljust(size, b"\x00")


def padded_size(questions: Sequence[Question]) -> int:
    """The length of the longest legal plaintext, rounded up to a multiple of 64."""
    longest = {}
    for question in questions:
        by_length = sorted((option.id for option in question.options), key=len, reverse=True)
        longest[question.id] = by_length[: question.choices_max]
    unit = limits.PADDED_BYTES_UNIT
    return -(-len(_compact(longest)) // unit) * unit


def _compact(answers: dict[str, list[str]]) -> bytes:
    return orjson.dumps({"v": 1, "answers": answers})
