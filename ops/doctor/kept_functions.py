"""The functions and triggers that the migrations make, as `rights` finds them.

Each has a digest of what it says: one that was replaced, or is off, lets through what no right allows. A test
compares them with clusters just made; who adds a migration that makes or replaces one changes the lines.
"""

from __future__ import annotations

VOTERDB = """\
function ballot.backup_event/2 is a973721e506bd42c
function ballot.drill_event/2 is 8ba9e76d190e398f
function ballot.electorate_keeps_register/0 is b41f51fecb790d90
function ballot.entry_order/1 is 57db25d86dca9fa3
function ballot.event_writer/0 is fb7ce0ec68558b10
function ballot.queue_epoch_most/1 is e389006dbd3c338d
function ballot.recovery_epoch/1 is 300d3a477f59ad4e
function ballot.recovery_gate_epochs/2 is eefc623cddacc78a
function ballot.recovery_turnout/9 is 1139c400214a298e
function ballot.register_is_of_electorate/0 is b91bfeb8caaac027
function ballot.register_keeps_votes/0 is e9e845dd2e7f2608
function ballot.sees_what_is_committed/0 is 52333105b08dc1aa
function ballot.stays_while_there_are/0 is 3fb38787e1a0d55c
function ballot.store_attempts/10 is d1d220c1c17068d6
function ballot.store_attempts/11 is f775faf896bf91fb
function ballot.store_attempts/8 is 007018013ac7dcc3
function ballot.store_batch/19 is d3b7bcb3be72cbc6
function ballot.store_batch/20 is cffe84e016985c69
function ballot.store_batch/21 is 766ad091dc3f993f
function ballot.store_votes/14 is 7cb8c83a7872cee8
function ballot.store_votes/15 is 350dd8d1d9a17b84
function ballot.store_votes/16 is e8f13cbec6ec0a40
function ballot.storing_fence/1 is 7f639fe082f06d39
function ballot.trimmer_marks/0 is e7d82e0e306b6f77
function ballot.trimmer_stored/0 is 02d6038eede32a33
function ballot.turnout_add/8 is 5c2ec392c09cf938
function ballot.turnout_add/9 is 80d471caaba10b5f
function ballot.unfenced_store_attempts/10 is 29b9543d6a7d39e7
function ballot.unfenced_store_batch/20 is 9f04a0fe213de85e
function ballot.unfenced_store_votes/15 is c3c66989d1900511
function ballot.unfenced_turnout_add/8 is 3a0513e11a4c8641
function ballot.votes_are_in_register/0 is aaad82305fbb3050
function ballot.worker_epoch/1 is 09dbc477faeff05e
function ballot.worker_event/3 is 872d410748c4fc94
function ballot.worker_fuse_state/0 is 63286383d34f63b6
function ballot.worker_gate_epochs/0 is 5586f704ba7368e9
function ballot.worker_kept/0 is deb9be83c6d2e7a0
function ballot.worker_marks/0 is e58be79090468460
function ballot.worker_stored_references/2 is 93bdd4f8a91bf6d3
function ballot.worker_turnout_place/0 is e8bfe22c6f1cb271
trigger electorate_keeps_register on ballot.electorate is on, 4070dd101c56529e
trigger electorate_stays_while_there_is_a_register on ballot.electorate is on, b7e09413b5dcde30
trigger event_writer on ballot.events is on, 10af2129f253765b
trigger register_is_of_electorate on ballot.register is on, bf27b9739a7d6268
trigger register_keeps_votes on ballot.register is on, 03eebd482c5bf0d8
trigger register_stays_of_electorate on ballot.register is on, e51b4b855773fc6f
trigger register_stays_while_there_are_votes on ballot.register is on, 5cdecefd9247344f
trigger sees_what_is_committed on ballot.electorate is on, d2a4ef057379985e
trigger sees_what_is_committed on ballot.register is on, 7fbf1711fe3c174f
trigger sees_what_is_committed on ballot.votes is on, c9a555bc949d9e6c
trigger votes_are_in_register on ballot.votes is on, 91784092e9dd1bbd
trigger votes_stay_in_register on ballot.votes is on, 1ed64c3687999618
"""

USERDB = """\
function complaints.add_line/4 is 0a04d850636e11eb
function complaints.are_kept/0 is f61a928cdce809ed
function complaints.store/5 is 81e596434cf911a9
function complaints.store_lodged/4 is 54f0d47d07ba4ce3
function people.backup_event/2 is dc24700996e649c4
function people.dispatches_are_to_voters/0 is 76d7c7c9a763aa92
function people.event_writer/0 is 7159e5ded4d19bc1
function people.sees_what_is_committed/0 is 0a963f4e5d723a0b
function people.voters_keep_dispatches/0 is 4629a42b590a10a2
function people.voters_stay_while_there_are_dispatches/0 is 6ea4e7022a769954
trigger are_kept on complaints.complaints is on, 23d40eeb5155b2a3
trigger are_kept on complaints.history is on, e597054ec5e81de4
trigger dispatches_are_to_voters on people.dispatches is on, 5b079834b9716ee4
trigger dispatches_stay_to_voters on people.dispatches is on, f40cdf1fc5c474e5
trigger event_writer on people.events is on, 65ba1bfc8686a209
trigger sees_what_is_committed on people.dispatches is on, 16c17176ff4a1100
trigger sees_what_is_committed on people.voters is on, 6abc844bc4055f64
trigger voters_keep_dispatches on people.voters is on, 1e3e14f01eacc264
trigger voters_stay_while_there_are_dispatches on people.voters is on, 0e58e4c7682a7a4c
"""
