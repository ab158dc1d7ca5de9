"""A ballot as it was published: who was entitled, who votes what and when; drawn from a seed, no server near.

Read `scenario` (what a file says; `scenario_parts`, `scenario_table` and `scenario_variants` read it,
`apportioning` makes it smaller), `arrivals` and `schedule` (when votes come, and when a run sends them),
`group` (many ballots of one), `plan` (who does what), and below it `people`, `voters` and `posted` (the roll,
the votes, the papers).
"""
