"""Which variant of a scenario file is meant, and the file as that variant overrides it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loadtests.published.scenario_table import ScenarioFault, table

PARTS = ("scenario", "arrivals", "behaviour", "published", "paper", "group", "overlays")
_SPEC = re.compile(
    r"(?P<name>.+?)(?::(?P<variant>[\w-]+))?(?:@(?P<scale>[0-9]+(?:\.[0-9]+)?(?:e-?[0-9]+)?))?", re.ASCII
)


def split(name: str) -> tuple[str, str, float | None]:
    """NAME, VARIANT and SCALE of `name`; a path may hold any of their marks."""
    found = _SPEC.fullmatch(name)
    if found is None or Path(name).is_file():
        return name, "", None
    return found["name"], found["variant"] or "", float(found["scale"]) if found["scale"] else None


def varied(name: str, data: Mapping[str, Any], variant: str) -> dict[str, Any]:
    """`data` as `variant` overrides it; without one, as it stands."""
    plain = {key: value for key, value in data.items() if key != "variants"}
    known, head = data.get("variants", {}), data.get("scenario")
    if not isinstance(known, dict):
        raise ScenarioFault(f"Scenario {name}: [variants] must be a table.")
    if not isinstance(head, dict) or variant in {"", head.get("variant", "")}:
        return plain
    if variant not in known:
        there = ", ".join(str(each) for each in (head.get("variant", ""), *known) if each)
        raise ScenarioFault(f"Scenario {name}: there is no variant '{variant}'; there are {there or 'none'}.")
    where = f"[variants.{variant}]"
    over = table(name, where, known[variant], ("title",), PARTS)
    merged = dict(plain)
    for part in PARTS:
        if part in over.values and part == "overlays":
            merged[part] = over.inner(part)
        elif part in over.values:
            merged[part] = _over(name, f"{where} {part}", merged.get(part, {}), over.inner(part))
    merged["scenario"] = merged["scenario"] | {"title": over.inner("title"), "variant": variant}
    return merged


def _over(name: str, where: str, base: Any, over: Any) -> Any:
    """`base` with what `over` says instead, key by key, and so in the tables inside."""
    if not isinstance(over, dict) or not isinstance(base, dict):
        raise ScenarioFault(f"Scenario {name}: {where} must be a table.")
    return base | {
        key: base[key] | value if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        for key, value in over.items()
    }
