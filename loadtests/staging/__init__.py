"""What a run stands on: a deployment of its own, a directory that it leaves, and what it says meanwhile.

Read `stage` (servers and commands, all stopped at the end), `kept` (the files), `telling` (the lines of a
command and its faults in one sentence), `progress` (the bar) and `aside` (a thread for as long as a block).
"""
