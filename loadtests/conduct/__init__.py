"""One load run from the empty directory to the verdict: everything else is put to use here.

Read `wanted` (what was asked for), `conductor` (the run, step by step), `beside` (the overlays, each at its
moment) and `sampler` (a line a second; `kin` and `exposition` are its eyes). `machine` says what it ran on,
`tls_edge` is one more edge.
"""
