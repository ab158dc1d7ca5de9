"""A small second ballot that stays open after the demo, with unused codes for the page and `ballot cast`."""

import shlex

from loadtests.lifetime.life import Life
from loadtests.published import plan, scenario
from loadtests.staging.stage import Stage
from loadtests.voting.desk import dispatched_codes

PAPER = "branch-41"
BALLOT = "try-it"


class Tryout:
    """The ballot `try-it`: the paper of `branch-41`, nobody has voted, and nobody will unless by hand."""

    def __init__(self, stage: Stage) -> None:
        self.ballot = BALLOT
        self._stage = stage
        paper = scenario.load(PAPER)
        self._life = Life(stage, scenario.renamed(paper, BALLOT), plan.draw(paper))
        self._code_file = stage.files / BALLOT / "code"
        self._linked = ""

    def open(self, *, now_us: int) -> None:
        """Set the ballot up and open it; keep one code in a file of its own and another for its link."""
        self._life.create(now_us=now_us)
        self._life.keys()
        self._life.roll()
        self._life.issue()
        self._life.open()
        code, self._linked = list(dispatched_codes(self._life.codes).values())[:2]
        self._code_file.touch(mode=0o600)
        self._code_file.write_text(f"{code}\n", encoding="ascii")

    def link(self) -> str:
        """The link in another voter's letter; whoever runs the demo has every code anyway."""
        return f"{self._stage.url}/b/{BALLOT}#{self._linked}"

    def line(self) -> str:
        """The command that casts a vote with that code."""
        words = ["./run", "ballot", "cast", BALLOT, "--code-file", str(self._code_file)]
        words += ["--answer", "strike=yes", "--answer", "asos=no"]
        words += ["--url", self._stage.url, "--key", str(self._stage.desk_key)]
        return shlex.join(words)
