"""What an opened vote says: read strictly, then judged question by question.

Two different things can be wrong with a vote. If its plaintext is not in this ballot's form at all
(`MalformedAnswers`), nothing in it can be counted and it is set aside with its reason. If it is in form but
an answer is blank or not allowed by its question, that answer is spoilt and the others still count.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from ballot.question import Question

ANSWERS_VERSION = 1


class MalformedAnswers(Exception):  # noqa: N818  # named for what it says of the vote
    """The plaintext of an opened vote is not a vote in this ballot's form."""


def read_answers(
    plaintext: bytes, *, questions: Sequence[Question], padded_size: int
) -> dict[str, list[str]]:
    """Return the answers in an opened vote by question id, or raise MalformedAnswers.

    (1) Exactly the padded size, of which all after the JSON is zero bytes. (2) One JSON object: version and
    answers, nothing else. (3) Exactly the questions of this ballot, each answer a list of texts. (4) In
    compact form, so that no name in it comes twice. The order of the questions is free: it says nothing.
    """
    if len(plaintext) != padded_size:  # (1)
        raise MalformedAnswers
    encoded = plaintext.rstrip(b"\0")
    try:  # (2)
        vote = orjson.loads(encoded)
    except orjson.JSONDecodeError:
        raise MalformedAnswers from None
    if not isinstance(vote, dict) or vote.keys() != {"v", "answers"}:
        raise MalformedAnswers
    answers = vote["answers"]
    if type(vote["v"]) is not int or vote["v"] != ANSWERS_VERSION or not isinstance(answers, dict):
        raise MalformedAnswers
    if answers.keys() != {question.id for question in questions}:  # (3)
        raise MalformedAnswers
    if not all(_is_texts(answer) for answer in answers.values()):
        raise MalformedAnswers
    # (4) comes last: only now is the value known to be shallow, which the encoder wants.
    if orjson.dumps(vote) != encoded:
        raise MalformedAnswers
    return answers


def _is_texts(answer: Any) -> bool:
    """Say whether a parsed JSON value is a list of texts."""
    return isinstance(answer, list) and all(isinstance(choice, str) for choice in answer)


def choices(question: Question, answer: Sequence[str]) -> tuple[str, ...] | None:
    """Return the options a valid answer chose, or None if the answer is spoilt: blank or not allowed."""
    known = {option.id for option in question.options}
    distinct = set(answer)
    if len(distinct) != len(answer) or not distinct <= known:
        return None
    if not 1 <= len(answer) <= question.choices_max:
        return None
    return tuple(answer)


def judge(
    answers: Mapping[str, Sequence[str]], *, questions: Sequence[Question]
) -> list[tuple[str, ...] | None]:
    """Return the verdict on each question in definition order: the options chosen, or None for spoilt."""
    return [choices(question, answers[question.id]) for question in questions]
