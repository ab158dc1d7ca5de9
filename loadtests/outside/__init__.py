"""Those who look at a deployment from outside, and whether they saw what the monitor inside saw.

Read `outpost` (a ballot of its own to look from), `prober` (one look) and `watch` (all looks, in their own
process), `observed` (looks made intervals), `observers`, `voters` and `agreement` (all who watched, side by
side). `openings` waits at many ballots at once for their opening.
"""
