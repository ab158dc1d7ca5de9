"""Real faults under real load, at seeded moments, and what the books say afterwards.

Read `kinds` (what can be done) and `draw` (what comes when), `ground` (where) and `deeds` (how; `hands`,
`servers`, `relay`, `spoil` and `clock` do it), `play` (the run), `tape`, `depth` and `events` (what voters
saw), `audit` (what the books say) and `account` (runs added up).
"""
