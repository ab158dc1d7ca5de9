"""Rows of the voter database deleted, doubled, altered and exchanged, as only its owner can."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from tests.integration.sight_ground import Case

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.sight_ground import Deed, Hands, Item, Sitting


def rows(sitting: Sitting) -> Iterator[Case]:  # a table
    """Rows of the voter database."""
    stored, trimmed = sitting.items["stored"], sitting.items["trimmed"]
    [held], [released] = sitting.items["held"], sitting.items["released"]
    papers, (abstainer, other, *_) = sitting.items["paper"], sitting.items["abstainer"]
    pick: dict[str, Callable[[Item], str]] = {
        "votes": lambda item: f"ballot = @ AND reference = '{item.reference}'",
        "quarantine": lambda item: f"ballot = @ AND reference = '{item.reference}'",
        "releases": lambda item: f"ballot = @ AND reference = '{item.reference}'",
        "returns": lambda item: f"ballot = @ AND counted AND uin = '\\x{item.voter.uin.hex()}'",
        "register": lambda item: f"ballot = @ AND uin = '\\x{item.voter.uin.hex()}'",
        "electorate": lambda item: f"ballot = @ AND uin = '\\x{item.voter.uin.hex()}'",
    }
    changes = {
        "votes": (
            "sealed = set_byte(sealed, 7, get_byte(sealed, 7) # 1)",
            "sealed = 'x', sealed_sha256 = sha256('x')",
            "nonce = sha256(nonce)",
            "signature = sha512(signature)",
            "accepted_us = accepted_us + 1",
            "accepted_us = 1",
            "uin = sha256(uin)",
            f"uin = '\\x{abstainer.voter.uin.hex()}'",
            "credential_digest = sha256(credential_digest)",
            "reference = 'ZZZZ-ZZZZ-ZZZZ-ZZZZ'",
            "entry = '1-1'",
            "entry = '9999999999999-0'",
            "number = number + 1000",
            "number = 0",
            "number = NULL",
            "channel = 'post'",
        ),
        "quarantine": (
            "accepted_us = accepted_us + 1",
            f"uin = '\\x{abstainer.voter.uin.hex()}'",
            "credential_digest = sha256(credential_digest)",
            "reference = 'ZZZZ-ZZZZ-ZZZZ-ZZZZ'",
        ),
        "releases": (f"uin = '\\x{abstainer.voter.uin.hex()}'", "reference = 'ZZZZ-ZZZZ-ZZZZ-ZZZZ'"),
        "returns": (
            "method = 'workplace'",
            "received_us = received_us + 1",
            "counted = false",
            f"uin = '\\x{abstainer.voter.uin.hex()}'",
        ),
        "register": (
            f"uin = '\\x{abstainer.voter.uin.hex()}'",
            "shard = 1",
            "credential_digest = sha256(credential_digest)",
        ),
        "electorate": ("uin = '\\xeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee'",),
    }
    swapped = {
        "votes": (
            "sealed, sealed_sha256, nonce, signature",
            "uin",
            "reference",
            "accepted_us",
            "number",
            "entry",
        ),
        "quarantine": ("uin", "reference", "credential_digest"),
        "returns": ("uin",),
        "register": ("uin", "credential_digest"),
    }
    of = {
        "votes": (stored[2], trimmed[0]),
        "quarantine": (held, released),
        "releases": (released,),
        "returns": (papers[0], papers[1]),
        "register": (stored[1], other),
        "electorate": (stored[1], other),
    }
    known = frozenset({"ZZZZ-ZZZZ-ZZZZ-ZZZZ", f"UIN {'EE' * 16}"})
    for table, items in of.items():
        where = pick[table]
        for item in items:
            on = where(item)
            delete = f"DELETE FROM ballot.{table} WHERE {on}"  # noqa: S608  # our own names
            yield Case(f"{table}: delete {item.kind}", _sql(delete), (item,))
            yield Case(
                f"{table}: duplicate {item.kind}",
                _sql(f"INSERT INTO ballot.{table} SELECT * FROM ballot.{table} WHERE {on}"),  # noqa: S608  # ours
                (item,),
            )
            for change in changes[table]:
                if item.kind == "trimmed" and change in {"entry = '1-1'", "number = NULL"}:
                    continue  # the first vote: an earlier entry is as good, and so is that it had no number
                # Which of the last two is out of order cannot be told by their order alone.
                last = stored[3].names if change.startswith(("entry", "number")) else set()
                yield Case(
                    f"{table}: alter {item.kind}: {change.partition(' =')[0]} {change[-12:]}",
                    _sql(f"UPDATE ballot.{table} SET {change} WHERE {on}"),  # noqa: S608  # ours
                    (item,),
                    known | _shadows(item, abstainer) | last,
                )
        for columns in swapped.get(table, ()):
            yield Case(
                f"{table}: swap {columns}",
                _swap(table, columns, where(items[0]), where(items[1])),
                items,
                frozenset() if table != "register" else _shadows(items[0], items[1]),
            )


def counts(sitting: Sitting) -> Iterator[Case]:
    """A vote that nobody cast, numbers, and the turnout."""
    one, two = sitting.items["stored"][2:4]
    abstainer = sitting.items["abstainer"][1]
    uin, digest, here = (
        abstainer.voter.uin.hex(),
        abstainer.voter.digest.hex(),
        f"reference = '{one.reference}'",
    )
    added = f"""
        INSERT INTO ballot.votes
        SELECT ballot, '\\x{uin}', 'ZZZZ-ZZZZ-ZZZZ-ZZZZ', accepted_us, '\\x{digest}', channel, credential,
               nonce, sealed, signature, sealed_sha256, substring(sha256(event) FOR 16), shard, entry,
               now(), 12
          FROM ballot.votes WHERE ballot = @ AND {here}
    """  # noqa: S608  # our own names
    invented = frozenset({"ZZZZ-ZZZZ-ZZZZ-ZZZZ"})
    yield Case("votes: add", _sql(added), also=frozenset(abstainer.names | one.names), must=invented)
    doubled = f"UPDATE ballot.votes SET number = {two.number} WHERE ballot = @ AND {here}"  # noqa: S608  # ours
    yield Case("number: duplicate", _sql(doubled), (one,), frozenset(two.names))
    minute_us, named = one.at_us // 60_000_000 * 60_000_000, frozenset({f"{one.minute} electronic"})
    for side in ("stored", "accepted"):
        on = f"ballot = @ AND side = '{side}' AND method = 'electronic' AND minute_us = {minute_us}"
        delete = f"DELETE FROM ballot.turnout WHERE {on}"  # noqa: S608  # our own names
        alter = f"UPDATE ballot.turnout SET votes = votes + 1 WHERE {on}"  # noqa: S608  # our own names
        more = f"INSERT INTO ballot.turnout VALUES (@, 60000000, 'electronic', '{side}', 1)"  # noqa: S608  # our own names
        yield Case(f"turnout: delete {side}", _sql(delete), must=named)
        yield Case(f"turnout: alter {side}", _sql(alter), must=named)
        yield Case(
            f"turnout: add {side}", _sql(more), must=frozenset({"turnout 1970-01-01 00:01:00 electronic"})
        )


def evidence(sitting: Sitting) -> Iterator[Case]:
    """What is left of votes whose entries are gone: IP records, and the order of numbers and entries."""
    stored, (one, other) = sitting.items["stored"], sitting.items["trimmed"]
    for item in (stored[1], one):
        on = f"ballot = @ AND event = '\\x{item.event}'"
        delete = f"DELETE FROM ballot.ip_records WHERE {on}"  # noqa: S608  # our own names
        double = f"INSERT INTO ballot.ip_records SELECT * FROM ballot.ip_records WHERE {on}"  # noqa: S608  # ours
        yield Case(f"ip record: delete {item.kind}", _sql(delete), (item,))
        yield Case(f"ip record: duplicate {item.kind}", _sql(double), (item,))
    columns = "(event, ballot, sealed_ip)"
    more = f"INSERT INTO ballot.ip_records {columns} VALUES (decode(repeat('00', 16), 'hex'), @, 'ip')"  # noqa: S608  # ours
    yield Case("ip record: add", _sql(more), must=frozenset({"event " + "00" * 16}))
    where = "ballot = @ AND reference = "
    for columns in ("number", "entry"):
        swap = _swap("votes", columns, f"{where}'{one.reference}'", f"{where}'{other.reference}'")
        yield Case(f"votes: swap {columns} of two trimmed", swap, (one, other))
    unnumbered = f"UPDATE ballot.votes SET number = NULL WHERE {where}'{other.reference}'"  # noqa: S608  # our own names
    yield Case("votes: no number after one that has one", _sql(unnumbered), (other,))
    never = f"UPDATE ballot.votes SET entry = '1-1' WHERE {where}'{other.reference}'"  # noqa: S608  # our own names
    yield Case("votes: an entry that never was", _sql(never), (other,), frozenset(one.names))


def _shadows(item: Item, abstainer: Item) -> frozenset[str]:
    """Names that a changed row takes on: another voter's, or digests of its own."""
    digest = hashlib.sha256(item.voter.digest).hexdigest().upper()
    uin = hashlib.sha256(item.voter.uin).hexdigest().upper()
    names = {f"credential {digest}", f"credential {digest[:32]}", f"UIN {uin}", "1-1", "9999999999999-0"}
    return frozenset(names | {f"shard 0 number {item.number + 1000}"} | abstainer.names)


def _sql(statement: str) -> Deed:
    async def deed(hands: Hands) -> None:
        await hands.sql(statement)

    return deed


def _swap(table: str, columns: str, one: str, other: str) -> Deed:
    """Exchange columns between two rows."""
    names = [name.strip() for name in columns.split(",")]
    aliased = ", ".join(f"{name} = o.{name}" for name in names)

    def on(alias: str, where: str) -> str:
        for name in ("ballot", "reference", "uin", "counted"):
            where = where.replace(f"{name} =", f"{alias}.{name} =").replace(
                "AND counted", f"AND {alias}.counted"
            )
        return where.replace(f"{alias}.{alias}.", f"{alias}.")

    either = f"({on('v', one)} AND {on('o', other)}) OR ({on('v', other)} AND {on('o', one)})"
    statement = f"UPDATE ballot.{table} v SET {aliased} FROM ballot.{table} o WHERE {either}"  # noqa: S608  # our own names
    return _sql(statement)
