"""The rights that the migrations give, as `rights` finds them: a cluster that has others was changed by hand.

A test compares it with clusters just made; who adds a migration that grants something adds the lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops.doctor import kept_functions

if TYPE_CHECKING:
    from runtime.addresses import Cluster

VOTERDB = """\
ballot_backup may connect the database
ballot_backup may execute ballot.backup_event/2
ballot_backup may execute pg_catalog.pg_switch_wal/0
ballot_backup may replicate
ballot_backup may select ballot.marks
ballot_backup may usage schema ballot
ballot_checker may connect the database
ballot_checker may execute ballot.drill_event/2
ballot_checker may execute ballot.queue_epoch_most/1
ballot_checker may select ballot.attempts.at_us
ballot_checker may select ballot.attempts.ballot
ballot_checker may select ballot.attempts.count
ballot_checker may select ballot.attempts.credential_digest
ballot_checker may select ballot.attempts.entry
ballot_checker may select ballot.attempts.first_us
ballot_checker may select ballot.attempts.kind
ballot_checker may select ballot.attempts.outcome
ballot_checker may select ballot.attempts.shard
ballot_checker may select ballot.availability
ballot_checker may select ballot.ballot_keys
ballot_checker may select ballot.ballots
ballot_checker may select ballot.electorate
ballot_checker may select ballot.events
ballot_checker may select ballot.ip_records.ballot
ballot_checker may select ballot.ip_records.event
ballot_checker may select ballot.lifecycle
ballot_checker may select ballot.marks
ballot_checker may select ballot.quarantine
ballot_checker may select ballot.queue_epoch
ballot_checker may select ballot.register
ballot_checker may select ballot.register_roots
ballot_checker may select ballot.rehearsals
ballot_checker may select ballot.releases
ballot_checker may select ballot.returns
ballot_checker may select ballot.revocations
ballot_checker may select ballot.turnout
ballot_checker may select ballot.votes
ballot_checker may usage schema ballot
ballot_desk may connect the database
ballot_desk may execute pg_catalog.pg_advisory_lock/2
ballot_desk may execute pg_catalog.pg_try_advisory_lock/2
ballot_desk may insert ballot.ballot_keys
ballot_desk may insert ballot.ballots
ballot_desk may insert ballot.electorate
ballot_desk may insert ballot.events
ballot_desk may insert ballot.lifecycle
ballot_desk may insert ballot.register
ballot_desk may insert ballot.register_roots
ballot_desk may insert ballot.rehearsals
ballot_desk may insert ballot.releases
ballot_desk may insert ballot.revocations
ballot_desk may select ballot.attempts.at_us
ballot_desk may select ballot.attempts.ballot
ballot_desk may select ballot.attempts.count
ballot_desk may select ballot.attempts.credential_digest
ballot_desk may select ballot.attempts.entry
ballot_desk may select ballot.attempts.first_us
ballot_desk may select ballot.attempts.kind
ballot_desk may select ballot.attempts.outcome
ballot_desk may select ballot.attempts.shard
ballot_desk may select ballot.availability
ballot_desk may select ballot.ballot_keys
ballot_desk may select ballot.ballots
ballot_desk may select ballot.electorate
ballot_desk may select ballot.events
ballot_desk may select ballot.lifecycle
ballot_desk may select ballot.marks
ballot_desk may select ballot.quarantine
ballot_desk may select ballot.register
ballot_desk may select ballot.register_roots
ballot_desk may select ballot.rehearsals
ballot_desk may select ballot.releases
ballot_desk may select ballot.returns
ballot_desk may select ballot.revocations
ballot_desk may select ballot.turnout
ballot_desk may select ballot.votes
ballot_desk may usage schema ballot
ballot_monitor may connect the database
ballot_monitor may insert ballot.availability
ballot_monitor may insert ballot.events
ballot_monitor may select ballot.availability
ballot_monitor may usage schema ballot
ballot_recovery may connect the database
ballot_recovery may execute ballot.queue_epoch_most/1
ballot_recovery may execute ballot.recovery_epoch/1
ballot_recovery may execute ballot.recovery_gate_epochs/2
ballot_recovery may execute ballot.recovery_turnout/9
ballot_recovery may execute pg_catalog.pg_try_advisory_lock/2
ballot_recovery may insert ballot.events
ballot_recovery may select ballot.attempts.ballot
ballot_recovery may select ballot.attempts.entry
ballot_recovery may select ballot.attempts.shard
ballot_recovery may select ballot.ballots
ballot_recovery may select ballot.events
ballot_recovery may select ballot.lifecycle
ballot_recovery may select ballot.gate_epochs
ballot_recovery may select ballot.marks
ballot_recovery may select ballot.quarantine
ballot_recovery may select ballot.queue_epoch
ballot_recovery may select ballot.register
ballot_recovery may select ballot.register_roots
ballot_recovery may select ballot.releases
ballot_recovery may select ballot.returns
ballot_recovery may select ballot.revocations
ballot_recovery may select ballot.turnout
ballot_recovery may select ballot.votes
ballot_recovery may usage schema ballot
ballot_trimmer may connect the database
ballot_trimmer may execute ballot.trimmer_marks/0
ballot_trimmer may execute ballot.trimmer_stored/0
ballot_trimmer may usage schema ballot
ballot_worker may connect the database
ballot_worker may execute ballot.store_attempts/10
ballot_worker may execute ballot.store_attempts/11
ballot_worker may execute ballot.store_attempts/8
ballot_worker may execute ballot.store_batch/19
ballot_worker may execute ballot.store_batch/20
ballot_worker may execute ballot.store_batch/21
ballot_worker may execute ballot.store_votes/14
ballot_worker may execute ballot.store_votes/15
ballot_worker may execute ballot.store_votes/16
ballot_worker may execute ballot.turnout_add/8
ballot_worker may execute ballot.turnout_add/9
ballot_worker may execute ballot.worker_epoch/1
ballot_worker may execute ballot.worker_event/3
ballot_worker may execute ballot.worker_fuse_state/0
ballot_worker may execute ballot.worker_gate_epochs/0
ballot_worker may execute ballot.worker_kept/0
ballot_worker may execute ballot.worker_marks/0
ballot_worker may execute ballot.worker_stored_references/2
ballot_worker may execute ballot.worker_turnout_place/0
ballot_worker may usage schema ballot
"""

USERDB = """\
ballot_backup may connect the database
ballot_backup may execute people.backup_event/2
ballot_backup may execute pg_catalog.pg_switch_wal/0
ballot_backup may replicate
ballot_backup may usage schema people
ballot_complaints may connect the database
ballot_complaints may execute complaints.store_lodged/4
ballot_complaints may usage schema complaints
ballot_people may connect the database
ballot_people may execute complaints.add_line/4
ballot_people may execute complaints.store/5
ballot_people may insert people.dispatches
ballot_people may insert people.voters
ballot_people may select complaints.complaints
ballot_people may select complaints.history
ballot_people may select people.dispatches
ballot_people may select people.events
ballot_people may select people.voters
ballot_people may usage schema complaints
ballot_people may usage schema people
everybody may temporary the database
"""

KEPT: dict[Cluster, frozenset[str]] = {
    "voterdb": frozenset((VOTERDB + kept_functions.VOTERDB).splitlines()),
    "userdb": frozenset((USERDB + kept_functions.USERDB).splitlines()),
}
