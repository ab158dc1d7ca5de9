"""What `./run test` does: every check and test, each bounded and timed; the first failure ends it."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from tests.page import PAGE, environment

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
STEP_SECONDS_MAX = 840
STEP_LONG_SECONDS_MAX = 3600
PROCESSES = "4"


def steps(*, long: bool, extra: list[str]) -> list[tuple[str, list[str]]]:
    """The name and command of each step, cheapest first; pytest last, so that its summary is last.

    Most tests wait most of the time: several processes share the files, each with servers of its own. The
    tests that measure time run afterwards, one at a time.
    """
    pytest = [str(BIN / "python"), "-m", "pytest"]
    bound = [] if long else ["-m", "not long"]
    if extra:
        return [("tests", [*pytest, *bound, *extra])]
    together, alone = ("not alone", "alone") if long else ("not long and not alone", "not long and alone")
    return [
        ("ruff", [str(BIN / "ruff"), "check", "."]),
        ("format", [str(BIN / "ruff"), "format", "--check", "."]),
        ("imports", [str(BIN / "lint-imports"), "--no-cache"]),
        ("types", [str(BIN / "mypy")]),
        ("vectors", [str(BIN / "python"), "-m", "tests.vectors.make", "--check"]),
        ("page tools", [str(BIN / "python"), "-m", "tests.page"]),
        ("page types", [str(BIN / "npm"), "--prefix", str(PAGE), "run", "--silent", "types"]),
        ("page format", [str(BIN / "npm"), "--prefix", str(PAGE), "run", "--silent", "format"]),
        ("page tests", [str(BIN / "npm"), "--prefix", str(PAGE), "run", "--silent", "test"]),
        ("tests", [*pytest, "-m", together, "--numprocesses", PROCESSES, "--dist", "loadfile"]),
        ("timed tests", [*pytest, "-m", alone]),
    ]


def main() -> int:
    """Run the steps in order; the exit code is that of the first that fails."""
    parser = argparse.ArgumentParser(prog="./run test", description=__doc__)
    parser.add_argument("--long", action="store_true", help="also the long races, fuzzing and fault runs")
    parser.add_argument("tests", nargs="*", help="only these test files or folders, without the other checks")
    arguments = parser.parse_args()
    for name, command in steps(long=arguments.long, extra=arguments.tests):
        started = time.monotonic()
        bound = STEP_LONG_SECONDS_MAX if arguments.long else STEP_SECONDS_MAX
        try:
            code = subprocess.run(command, cwd=ROOT, env=environment(), check=False, timeout=bound).returncode
        except subprocess.TimeoutExpired:
            sys.stdout.write(f"{name}: not done after {bound} s, ended\n")
            return 1
        sys.stdout.write(f"{name}: {'ok' if code == 0 else 'FAILED'} in {time.monotonic() - started:.1f} s\n")
        sys.stdout.flush()
        if code != 0:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
