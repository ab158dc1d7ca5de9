"""Recomputes the issue register's roots against the desk's own signed copies, never those in `voterdb`."""

from dataclasses import dataclass

from ballot import merkle, register
from ballot.suite import SignatureInvalid, verify_signature
from scrutineer.ballots import StoredBallot
from scrutineer.roots import RootJournal, SignedRoot
from scrutineer.session import Desk

#: Rows of each table that are in none of the batches given, by batch.
UNSIGNED = {
    "register": """SELECT batch, count(*) AS rows FROM ballot.register
                    WHERE ballot = $1 AND batch <> ALL($2) GROUP BY 1""",
    "revocations": """SELECT batch, count(*) AS rows FROM ballot.revocations
                       WHERE ballot = $1 AND batch <> ALL($2) GROUP BY 1""",
}


@dataclass(frozen=True, slots=True)
class RegisterFault:
    """One thing wrong with the register; `text` is a sentence without personal data."""

    batch: int
    text: str


async def check_register(desk: Desk, stored: StoredBallot) -> list[RegisterFault]:
    """Give everything in which the register is not what the desk signed.

    (1) every signed batch verifies, has all its rows, and each row is the signed one; (2) nothing is in the
    register that is in no signed batch.
    """
    journal = RootJournal(desk.home, stored.id)
    faults: list[RegisterFault] = []
    signed = journal.live()
    # Step 1.
    for root in signed:
        faults += await _check_batch(desk, stored, journal, root)
    # Step 2.
    numbers = [root.batch for root in signed]
    for table, statement in UNSIGNED.items():
        rows = await desk.votes.fetch(
            statement,
            stored.id,
            numbers,
        )
        faults += (
            RegisterFault(
                row["batch"],
                f"batch {row['batch']} has {row['rows']:,} rows in {table} that the desk never signed",
            )
            for row in rows
        )
    return faults


async def _check_batch(
    desk: Desk, stored: StoredBallot, journal: RootJournal, root: SignedRoot
) -> list[RegisterFault]:
    message = register.root_message(stored.id, root.batch, root.kind, root.leaves, root.root)
    try:
        verify_signature(desk.key.public, root.signature, message)
    except SignatureInvalid:
        return [
            RegisterFault(
                root.batch, f"the desk's own copy of the root of batch {root.batch} is not signed by its key"
            )
        ]
    named, leaves = await _leaves(desk, stored, root)
    if len(leaves) == root.leaves and merkle.root(leaves) == root.root:
        return []
    kept = journal.leaf_hashes(root.batch)
    changed = [
        RegisterFault(
            root.batch,
            f"{root.kind} row {position} of batch {root.batch} (credential digest {name}) "
            "is not what the desk signed",
        )
        for position, (name, leaf) in enumerate(zip(named, leaves, strict=True))
        if position >= len(kept) or merkle.leaf_hash(leaf) != kept[position]
    ]
    if len(leaves) != root.leaves:
        text = (
            f"batch {root.batch} of the issue register has {len(leaves):,} rows where the desk "
            f"signed {root.leaves:,}"
        )
        return [RegisterFault(root.batch, text), *changed]
    return changed or [
        RegisterFault(root.batch, f"batch {root.batch} of the issue register is not what the desk signed")
    ]


async def _leaves(desk: Desk, stored: StoredBallot, root: SignedRoot) -> tuple[list[str], list[bytes]]:
    if root.kind == "issue":
        rows = await desk.votes.fetch(
            """SELECT credential_digest, uin, channel, issued_us, shard FROM ballot.register
                WHERE ballot = $1 AND batch = $2 ORDER BY position""",
            stored.id,
            root.batch,
        )
        leaves = [
            register.issue_leaf(
                stored.id,
                bytes(row["credential_digest"]),
                bytes(row["uin"]),
                row["channel"],
                row["issued_us"],
                row["shard"],
            )
            for row in rows
        ]
    else:
        rows = await desk.votes.fetch(
            """SELECT credential_digest, revoked_us FROM ballot.revocations
                WHERE ballot = $1 AND batch = $2 ORDER BY position""",
            stored.id,
            root.batch,
        )
        leaves = [
            register.revoke_leaf(stored.id, bytes(row["credential_digest"]), row["revoked_us"])
            for row in rows
        ]
    return [bytes(row["credential_digest"]).hex()[:16] for row in rows], leaves
