"""What must hold of a run, judged from its directory alone: what was not recorded never passes.

Read `verdict` (what a judgement is) and `judge` (all of them together), then `judged_votes`, `stretches` (who
came while what else went on), `judged_voters` and `judged_times`, which hold most, and the smaller ones as
they are needed.
"""
