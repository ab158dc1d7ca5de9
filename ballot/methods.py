"""Which kinds of ballot may use which voting methods: requirement P-3, as data with a version (P-8).

Electronic alone: industrial action, political fund, election, merger. Electronic beside post: those and
recognition. Workplace: industrial action only. Post alone is always lawful. A probe is ours, not the law's:
electronic only.
"""

from typing import Final

RULES_VERSION: Final = "2025-11"
"""The consultation's month; to be changed with the table when the statutory instrument changes it."""

METHODS: Final = ("electronic", "postal", "workplace")
PRECEDENCES: Final = ("first-recorded",)

LEGAL_METHODS: Final[dict[str, frozenset[str]]] = {
    "industrial-action": frozenset({"electronic", "postal", "workplace"}),
    "political-fund": frozenset({"electronic", "postal"}),
    "election": frozenset({"electronic", "postal"}),
    "merger": frozenset({"electronic", "postal"}),
    "recognition": frozenset({"electronic", "postal"}),
    "probe": frozenset({"electronic"}),
}

ONLY_BESIDE: Final[dict[tuple[str, str], str]] = {("recognition", "electronic"): "postal"}
"""(kind, method) pairs that are legal only together with another method."""

WITHOUT_EMPLOYER: Final = frozenset({"political-fund", "election", "merger", "probe"})
"""Kinds that concern the union alone, so that no employer need be named."""

WITHOUT_UNION: Final = frozenset({"probe"})


def fault(kind: str, methods: tuple[str, ...]) -> str | None:
    """One sentence on why `methods` may not be used for a ballot of `kind`, or None."""
    illegal = [method for method in methods if method not in LEGAL_METHODS[kind]]
    if illegal:
        return f'a ballot of kind "{kind}" may not use the method "{illegal[0]}"'
    for method in methods:
        needed = ONLY_BESIDE.get((kind, method))
        if needed is not None and needed not in methods:
            return f'a ballot of kind "{kind}" may use the method "{method}" only together with "{needed}"'
    return None
