"""Key names and stream fields that change hands through the queue; the gate spells them as here."""

from typing import Final

PUBLISHED_KEY: Final = "ballot:published"
"""Hash: ballot id → canonical JSON of {"desk_public_key","document","document_signature","shards"}."""

TRUST_KEY: Final = "ballot:trust"
"""Hash: `run_name` → `1`, for each primary's run that a worker has compared with the stored marks."""

RECOVERING_KEY: Final = "ballot:recovering"
"""Set while `ballot recover` merges: no worker vouches for a queue that has it, so no edge takes a vote."""

EPOCH_KEY: Final = "ballot:epoch"
"""How often the queue was rebuilt, as it was when this one was; absent, never. See `epoch`."""

COMPLAINTS_KEY: Final = "ballot:complaints"
"""Stream: complaints that are not stored yet. No ballot's pattern fits its name, so few users reach it."""

COMPLAINTS_BYTES: Final = 64 * 1024 * 1024
"""The memory that the stream takes at most; the function keeps to it."""

COMPLAINTS_GROUP: Final = "desk"
COMPLAIN: Final = "ballot_complain"
"""The function that appends to it (ops/valkey/complaints.lua)."""

COMPLAINT_SEALED_FIELD: Final = b"s"
COMPLAINT_BALLOT_FIELD: Final = b"b"
COMPLAINT_TIME_FIELD: Final = b"t"
"""Its time of receipt in milliseconds, by the queue's clock."""

GROUP: Final = "workers"
"""The consumer group on every votes and attempts stream."""

GATE_LIBRARY: Final = "ballot"
STATES: Final = ("scheduled", "open", "closed")

CHANNEL_BYTES: Final = {"email": b"e", "sms": b"s", "post": b"p", "probe": b"x"}
CHANNELS: Final = {byte: name for name, byte in CHANNEL_BYTES.items()}
CURRENT_FLAG: Final = b"c"
REVOKED_FLAG: Final = b"r"

# Entries of the votes stream.
KIND_FIELD: Final = b"k"
KIND_VOTE: Final = b"v"
KIND_RETURN: Final = b"r"
RECORD_FIELD: Final = b"r"
DIGEST_FIELD: Final = b"d"
REFERENCE_FIELD: Final = b"ref"
ACCEPTED_FIELD: Final = b"t"
UIN_FIELD: Final = b"u"
CHANNEL_FIELD: Final = b"c"
NUMBER_FIELD: Final = b"n"
"""Of a vote: its acceptance's number in this shard, counted from 1; a return has none."""

METHOD_FIELD: Final = b"m"
RECEIVED_FIELD: Final = b"rt"
RECORDED_FIELD: Final = b"t"
WON_FIELD: Final = b"won"

# Entries of the attempts stream.
ATTEMPT_VOTE: Final = b"vote"
ATTEMPT_ACCESS: Final = b"access"
OUTCOME_FIELD: Final = b"o"
IP_FIELD: Final = b"ip"
AT_FIELD: Final = b"t"
COUNT_FIELD: Final = b"n"
"""Of an entry that stands for several attempts of one credential, outcome and minute; `t` is the last."""

FIRST_FIELD: Final = b"f"

NUMBER_DIGITS_MAX: Final = 15
"""A number stays exact in the gate's arithmetic up to that many digits; what has more is none of ours."""

UIN_BYTES: Final = 16


def run_name(run_id: str, replication_id: str) -> str:
    """A server's life with one history of data, from its INFO fields `run_id` and `master_replid`.

    The first changes with every start, the second when a server takes over another's data: one that was a
    replica for a while may have lost what it once held, though it never stopped.
    """
    return f"{run_id}-{replication_id}"


def epoch(value: bytes | None) -> int:
    """The number in `EPOCH_KEY`; what is none is -1, which the voter database never has."""
    if value is None:
        return 0
    return int(value) if value.isdigit() and len(value) <= NUMBER_DIGITS_MAX else -1


def tag(ballot: str, shard: int) -> str:
    """The hash tag of a shard: all its keys live in one slot."""
    return f"{{{ballot}:{shard:02d}}}"


def gate_key(ballot: str, shard: int) -> str:
    """Hash: opens_us closes_us state last_us number, and counters.

    Counters: accepted repeated released voted_e voted_p voted_w, and `revoked` codes.
    `number` is the last acceptance's; without it, `accepted` stands for it (a gate of the version before).
    `recovering` is there while `ballot recover` is at work on the shard: it takes nothing then.
    """
    return tag(ballot, shard) + ":gate"


def credentials_key(ballot: str, shard: int) -> str:
    """Hash: first 16 bytes of the keyed digest → UIN ‖ flag byte ‖ channel byte (gate_layout)."""
    return tag(ballot, shard) + ":credentials"


def voted_key(ballot: str, shard: int) -> str:
    """Hash: UIN → `e` ‖ identity ‖ time ‖ reference, or `p`/`w` ‖ time, packed (gate_layout)."""
    return tag(ballot, shard) + ":voted"


def references_key(ballot: str, shard: int) -> str:
    """Hash: reference, packed (gate_layout) → `a` accepted, `s` stored, `h` held."""
    return tag(ballot, shard) + ":references"


def votes_key(ballot: str, shard: int) -> str:
    """Stream: accepted votes and returns."""
    return tag(ballot, shard) + ":votes"


def attempts_key(ballot: str, shard: int) -> str:
    """Stream: attempts with an issued credential that were not accepted votes."""
    return tag(ballot, shard) + ":attempts"


def unknown_key(ballot: str, shard: int) -> str:
    """Hash: minute → count of attempts with a credential never issued."""
    return tag(ballot, shard) + ":unknown"


def unknown_tries_key(ballot: str, shard: int) -> str:
    """Stream of bounded length: the latest attempts with a credential never issued."""
    return tag(ballot, shard) + ":unknown_tries"


def counted_key(ballot: str, shard: int) -> str:
    """Hash: minute, kind, outcome, digest → how many attempts over a budget, until they are in the log."""
    return attempts_key(ballot, shard) + ":counted"


def shard_keys(ballot: str, shard: int) -> tuple[str, str, str, str, str, str, str, str, str]:
    """The nine keys of a shard, in the order in which every gate function takes them."""
    return (
        gate_key(ballot, shard),
        credentials_key(ballot, shard),
        voted_key(ballot, shard),
        references_key(ballot, shard),
        votes_key(ballot, shard),
        attempts_key(ballot, shard),
        unknown_key(ballot, shard),
        unknown_tries_key(ballot, shard),
        counted_key(ballot, shard),
    )
