"""The capacity model's answer: as text for a person, as data for a program; both say the same."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from loadtests.capacity import model
from loadtests.capacity.measured import PARTS, WHERE, Costs, Run
from loadtests.capacity.model import Demand, Machine

UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")


def as_json(costs: Costs, demand: Demand, machine: Machine) -> dict[str, Any]:
    """Everything the model says."""
    laid = model.layout(costs, demand, machine)
    rate = demand.second
    return {
        "demand": {name: getattr(demand, name) for name in Demand.__slots__},
        "machine": {name: getattr(machine, name) for name in Machine.__slots__},
        "cores": {
            part: {
                "least": round(model.least(costs, part, rate), 4),
                "casts_alone": round(model.least(costs, part, rate, web=False), 4),
                "seen": round(
                    model.expected(costs, part, rate, processes=machine.cores if part == "edge" else 1), 4
                ),
            }
            for part in PARTS
        },
        "queue": {
            "votes_a_call": round(min(model.votes_a_call(costs, rate / laid.primaries), 256.0), 1),
            "syncs_a_second": round(model.calls(costs, rate, primaries=laid.primaries), 1),
            "disk_syncs_a_second": costs.disk_syncs,
        },
        "bytes": {name: round(size) for name, size in model.sizes(costs, demand).items()},
        "network": {name: round(amount, 1) for name, amount in model.network(costs, demand).items()},
        "seconds": {
            name: round(took, 1) for name, took in model.before_and_after(costs, demand, machine).items()
        },
        "layout": {name: getattr(laid, name) for name in laid.__slots__},
        "fills_up": _fills_up(costs, demand, machine),
        "constants": {name: {"value": _plain(costs, name), "where": where} for name, where in WHERE.items()},
    }


def _plain(costs: Costs, name: str) -> Any:
    value = getattr(costs, name)
    if name != "parts":
        return value
    return {part: {each: getattr(cost, each) for each in cost.__slots__} for part, cost in value.items()}


def _fills_up(costs: Costs, demand: Demand, machine: Machine) -> list[dict[str, Any]]:
    """What fills up first of one machine, and what to add then."""
    rows = [
        {
            "what": place.name,
            "used": round(place.used(demand.second), 4),
            "full_at": round(model.full_at(place)),
            "then_add": place.then,
        }
        for place in model.places(costs, machine)
    ]
    return sorted(rows, key=lambda row: row["full_at"])


def lines(told: Mapping[str, Any]) -> Iterator[str]:
    """What `as_json` gives, for a terminal."""
    demand, machine = told["demand"], told["machine"]
    yield (
        f"{demand['electorate']:,} may vote, {demand['votes']:,} do; {demand['curve']}: "
        f"{demand['second']:,.0f} votes in the worst second, {demand['minute']:,.0f} in the worst minute, "
        f"{demand['hour']:,.0f} in the worst hour"
    )
    yield ""
    yield from _cores(told)
    yield ""
    queue, network = told["queue"], told["network"]
    yield (
        f"queue: {queue['syncs_a_second']:,.0f} syncs a second, {queue['votes_a_call']:,.1f} votes each; "
        f"a disk was measured at {queue['disk_syncs_a_second']:,.0f}"
    )
    yield (
        f"network: casts {bits(network['casts_in'])} in, {bits(network['casts_out'])} out; with pages and TLS"
        f" {bits(network['all_in'])} in, {bits(network['all_out'])} out"
    )
    yield ""
    yield from _bytes(told["bytes"])
    yield ""
    yield from _seconds(told["seconds"], machine["cores"])
    yield ""
    yield from _first(told)
    yield ""
    yield from _layout(told)


def _cores(told: Mapping[str, Any]) -> Iterator[str]:
    """Three ways to count cores; the first is the largest where calls have time to go with one vote each."""
    heads = ("casts, as seen", "casts, at least", "with pages and TLS, at least")
    yield "cores at the worst second  " + "  ".join(heads)
    names = ("seen", "casts_alone", "least")
    rows = {part: [found[name] for name in names] for part, found in told["cores"].items()}
    rows["together"] = [sum(column) for column in zip(*rows.values(), strict=True)]
    for part, row in rows.items():
        figures = zip(row, heads, strict=True)
        yield f"  {part:<25}" + "  ".join(f"{cores:>{len(head)}.2f}" for cores, head in figures)


def _bytes(found: Mapping[str, float]) -> Iterator[str]:
    size = {name: volume(amount) for name, amount in found.items()}
    yield (
        f"queue's memory: {size['queue_memory']} (codes {size['queue_codes']}, marks {size['queue_marks']},"
        f" and {size['queue_a_minute_waiting']} for each worst minute that voterdb is away: five of them)"
    )
    yield f"queue's disk: {size['append_only_file']} of log until it is rewritten"
    yield (
        f"voterdb: {size['voterdb']} (indexes of votes {size['voterdb_indexes']}),"
        f" {size['voterdb_wal']} of WAL; userdb: {size['userdb']}"
    )
    yield f"backups: {size['backup_full']} a full one, at most {size['backups_most']} as kept for 35 days"


def _seconds(found: Mapping[str, float], cores: int) -> Iterator[str]:
    took = {name: span(seconds) for name, seconds in found.items()}
    yield (
        f"on {cores} cores: codes issued in {took['issue']}; counted in {took['tally']}, "
        f"signatures checked in {took['check_signatures']}"
    )
    yield (
        f"as measured, a million at a time: check {took['check']}, full backup {took['backup_full']}, drill"
        f" {took['drill']}, queue rebuilt in {took['recover']}"
    )


def _first(told: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"what fills up on one machine of {told['machine']['cores']} cores, in this order, with pages and TLS"
        " (full at so many votes a second)"
    )
    for row in told["fills_up"]:
        yield f"  {row['full_at']:>9,}  {row['what']}, {row['used']:.0%} now"
        yield f"             then add {row['then_add']}"


def _layout(told: Mapping[str, Any]) -> Iterator[str]:
    laid, cores = told["layout"], told["machine"]["cores"]
    if laid["one_machine"]:
        yield f"One machine of {cores} cores is enough, less than half busy at the worst second."
    else:
        yield (
            f"One machine of {cores} cores would be more than half busy; {2 * laid['cores']:,.0f} cores are"
            f" wanted, {laid['machines']:,} such machines:"
        )
        yield (
            f"  {laid['edge_processes']:,} edge processes, {laid['primaries']:,} primaries of the queue,"
            f" {laid['workers']:,} workers, {laid['voterdb_cores']:,} cores for voterdb"
        )
    if not laid["enough"]:
        yield f"Not even {model.SHARDS_MAX} primaries, one for each shard, are enough: take larger ones."
    if not laid["one_roll"]:
        yield (f"A roll takes {model.ROLL_MAX:,} people at most today: raise that bound, and try it, first.")


def beside(costs: Costs, run: Run, *, edges: int) -> list[dict[str, Any]]:
    """What the model would have said of a run, beside what was measured in it: CPU seconds by part."""
    rows = []
    for part in PARTS:
        processes = edges if part == "edge" else 1
        said = model.expected(costs, part, run.rate, processes=processes) * run.seconds
        rows.append({"part": part, "model_cpu_s": round(said, 2), "measured_cpu_s": run.cpu_s[part]})
    return rows


def beside_lines(run: Run, rows: list[dict[str, Any]]) -> Iterator[str]:
    """The same for a terminal."""
    yield f"{run.name}: {run.votes:,} votes in {run.seconds:,.0f} s, {run.rate:,.1f} a second"
    yield "part       model, CPU s  measured, CPU s  measured / model"
    for row in rows:
        ratio = row["measured_cpu_s"] / row["model_cpu_s"] if row["model_cpu_s"] else 0.0
        yield f"{row['part']:<10}{row['model_cpu_s']:>13,.2f}{row['measured_cpu_s']:>17,.2f}{ratio:>18.2f}"


def volume(amount: float) -> str:
    """Bytes, in the unit that fits."""
    unit = 0
    while amount >= 1000 and unit < len(UNITS) - 1:  # noqa: PLR2004  # a thousand of the one is one of the next
        amount, unit = amount / 1000, unit + 1
    return f"{amount:.0f} {UNITS[unit]}" if amount >= 10 or not unit else f"{amount:.1f} {UNITS[unit]}"  # noqa: PLR2004  # two figures


def bits(amount: float) -> str:
    """Bits a second, in megabits."""
    return f"{amount / 1e6:,.1f} Mbit/s"


def span(seconds: float) -> str:
    """A length of time, in the unit that fits."""
    if seconds < 120:  # noqa: PLR2004  # two minutes
        return f"{seconds:,.1f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7_200 else f"{seconds / 3600:,.1f} h"  # noqa: PLR2004  # two hours
