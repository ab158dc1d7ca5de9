"""Every upper bound, units last; how they depend on each other is asserted, so that a bad change fails."""

from typing import Final

REQUEST_BYTES_MAX: Final = 64 * 1024
"""One HTTP request body; a sealed vote and a sealed complaint fit with room to spare."""

JSON_DEPTH_MAX: Final = 8
"""Nesting of any JSON we read; the deepest of ours, a ballot document, has seven levels."""

DEFINITION_BYTES_MAX: Final = 256 * 1024
"""A definition file or its canonical form; beyond this it is not a ballot."""

DOCUMENT_BYTES_MAX: Final = 512 * 1024
"""A ballot document: definition, keys and names."""

MANIFEST_BYTES_MAX: Final = 1024 * 1024
"""First line of an export: a document in base64 and the books."""

OBJECT_BYTES_MAX: Final = 1024 * 1024
"""A receipt, result or other small signed file read whole."""

ID_CHARS_MAX: Final = 40
TEXT_CHARS_MAX: Final = 4000
QUESTIONS_MAX: Final = 40
OPTIONS_MAX: Final = 200

PADDED_BYTES_UNIT: Final = 64
PADDED_BYTES_MAX: Final = 32 * 1024
"""Longest padded answers; a definition whose longest answer needs more is refused at `create`."""

SEALED_BYTES_MAX: Final = PADDED_BYTES_MAX + 1136
"""Encapsulated key (1,120) and tag (16) around the padded answers."""

COMPLAINT_BYTES_MAX: Final = 4096

RECEIPT_PATH_STEPS_MAX: Final = 16
RECEIPT_BATCH_MAX: Final = 2**RECEIPT_PATH_STEPS_MAX

SHARDS_MAX: Final = 32
"""The first symbol of a reference has five bits, and they name the shard."""

IP_BYTES_MAX: Final = 46
"""Longest textual IPv6 address; every address is stored at this length."""

VOTE_OTHER_BYTES: Final = 512
"""Upper bound of a vote request without `sealed`: the other fields, names and punctuation."""

CLOCK_YEAR_MIN: Final = 2000
CLOCK_YEAR_MAX: Final = 2100

assert PADDED_BYTES_MAX % PADDED_BYTES_UNIT == 0  # noqa: S101  # a fact about this file, not about input
assert (SEALED_BYTES_MAX + 2) // 3 * 4 + VOTE_OTHER_BYTES <= REQUEST_BYTES_MAX  # noqa: S101  # a fact about this file, not about input
assert (COMPLAINT_BYTES_MAX + 1136 + 2) // 3 * 4 + VOTE_OTHER_BYTES <= REQUEST_BYTES_MAX  # noqa: S101  # a fact about this file, not about input
assert DEFINITION_BYTES_MAX + 4096 <= DOCUMENT_BYTES_MAX  # noqa: S101  # a fact about this file, not about input
assert (DOCUMENT_BYTES_MAX + 2) // 3 * 4 + 64 * 1024 <= MANIFEST_BYTES_MAX  # noqa: S101  # a fact about this file, not about input
assert SHARDS_MAX == 2**5  # noqa: S101  # a fact about this file, not about input
