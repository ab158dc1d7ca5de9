"""What goes wrong around a ballot on purpose: floods, sieges, a thin line; each bounded, each on loopback.

Read `catalogue` (which there are, and how one is started), `terms` (what is said between the two), `work`
(what all have in their process) and `wire` (HTTP as an attacker writes it), and then any one: `reloaders` is
the plainest.
"""
