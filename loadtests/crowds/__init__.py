"""All voters of a run at once, under Locust: sealed ahead, sent at their moments, reckoned afterwards.

Read `timetable` (every request with its moment), `comers` (who they are), `ahead` (sealed before the first is
sent), `openloop`, `line` and `ledger` (sent, and written down; `sources` has the addresses), `openrun` (the
same inside Locust), `reckoning`, `casts`, `unconfirmed`, `openresult` (what became of them; `buckets` holds
times) and `opencrowd`, which starts it all. `crowd` is the other kind, in which a voter waits for the answer
before the next comes: the demo and `faults` have it.
"""
