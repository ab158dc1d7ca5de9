"""How much machine an electorate needs, and where that is measured.

Read `measured` (what a vote costs, with its source), `model` (arithmetic), `saying` and `command`.
"""
