"""What a run came to, for a person (HTML) and for a program (JSON).

Read `making` (a report whole), `reading` (the run's directory) and `document` (report.json; `plan`,
`traffic`, `system`, `happenings`, `counted` and `record` are its parts), then `page` (report.html; `words`,
`tables`, `plots` and `plotting`, and below them `curves`, `lanes`, `drawing` and `axis`), and `compare` with
`rows` and `comparing` for two runs.
"""
