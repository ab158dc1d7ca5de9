"""`python -m loadtests.sealing`: a scenario's votes sealed ahead, for whoever runs Locust themselves.

    python -m loadtests.sealing SCENARIO --url URL --codes FILE --desk-key FILE --out DIR --workers 2
    locust -f loadtests/locustfile.py --host URL --ahead DIR/ahead --out DIR --processes 2

The ballot must be open at URL. It is not closed by the run, so nobody comes late or aims at the close.
"""

import json
import sys
from argparse import ArgumentParser
from pathlib import Path

from loadtests.crowds.opencrowd import Electorate, OpenBooking, prepare
from loadtests.published import group, plan, scenario, schedule
from loadtests.published.scenario import ScenarioFault
from loadtests.voting.desk import DeskFileFault
from loadtests.voting.voter import Refused, Unconfirmed, Untrue


def arguments() -> ArgumentParser:
    """What the command takes."""
    parser = ArgumentParser(prog="python -m loadtests.sealing", description="Seal a scenario's votes ahead.")
    parser.add_argument("scenario", help="a scenario's name, NAME:VARIANT, or its file")
    parser.add_argument("--url", required=True, help="where the ballot is open")
    parser.add_argument("--codes", type=Path, required=True, help="the dispatch file of the ballot's codes")
    parser.add_argument(
        "--reissued", type=Path, help="the dispatch file of the second codes, if there are any"
    )
    parser.add_argument("--desk-key", type=Path, required=True, help="the desk's public key, pinned")
    parser.add_argument("--ca", type=Path, help="certificate authorities that vouch for an https address")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.add_argument("--schedule", type=Path, help="a schedule.npz, instead of the scenario's own")
    parser.add_argument("--only", choices=("peak", "close"), help="the worst quarter hour, or the end")
    parser.add_argument("--scale", type=float, default=1.0, help="of the scenario's size, above 0, to 1")
    parser.add_argument("--seed", type=int, help="another seed than the scenario's")
    parser.add_argument("--workers", type=int, default=1, help="how many Locust processes will send")
    parser.add_argument(
        "--access", action="store_true", help="each device asks for the paper before it votes"
    )
    return parser


def main() -> int:
    """The command."""
    told = arguments().parse_args()
    try:
        played = scenario.load(told.scenario)
        if told.scale != 1:
            played = scenario.scaled(played, told.scale)
        told.out.mkdir(parents=True, exist_ok=True)
        moments = (
            schedule.load(told.schedule)
            if told.schedule
            else schedule.build(played, only=told.only or "", seed=told.seed)
        )
        moments.save(told.out / "schedule.npz")
        (cast,) = group.as_scheduled([played], moments)
        booking = OpenBooking(
            electorates=(Electorate(cast, plan.draw(cast, seed=told.seed), told.codes, told.reissued),),
            schedule=told.out / "schedule.npz",
            url=told.url,
            desk_key=told.desk_key,
            out=told.out,
            seed=played.seed if told.seed is None else told.seed,
            ca=told.ca,
            generators=max(1, told.workers),
            access=told.access,
        )
        sealed = prepare(booking, told=_progress)
    except (ScenarioFault, DeskFileFault, Refused, Unconfirmed, Untrue, ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps({"ahead": str(booking.ahead), **sealed}) + "\n")
    return 0


def _progress(done: int, of: int) -> None:
    """How far it is, for a person."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\rsealed {done:,} of {of:,}" + ("\n" if done == of else ""))
        sys.stderr.flush()


if __name__ == "__main__":
    raise SystemExit(main())
