"""One voter: what their device does, over which line, and all that people do wrong on a visit.

Read `voter` (seal, sign once, send, check the receipt), `door` (how it gets there), `desk` (the codes and the
key that a voter was given), `session` (one visit), `agenda` (who comes next) and `pace` (how many begin a
second).
"""
