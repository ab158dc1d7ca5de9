"""The life of a ballot around its votes, by the desk's own commands: set up, closed, counted, checked.

Read `life` (one ballot), `poll` (one that stays open until a load run is ready) and `many` (the ballots of a
group in one command each), `extension` (the close is put off), `turnouts` (what the desk sees meanwhile) and
`aftermath` (close to check, faults noted). `table` shows the figures, `tryout` is the ballot that the demo
leaves open.
"""
