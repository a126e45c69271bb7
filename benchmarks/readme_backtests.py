"""The README's figures of what retraining is worth, from the recorded run of `make backtests`."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from benchmarks.readme_table import SCORERS, number, report, table

SETS = (*SCORERS, "handbook")


def backtests_table() -> str:
    """Per policy what it would have caught and cost, and what it brought back of what the late fraud took."""
    recorded = report("backtests.json")
    found = [recorded[name] for name in SETS]
    policies = list(found[0]["policies"])
    lines: dict[str, Callable[[Mapping[str, Any]], str]] = {"weeks replayed": lambda one: str(one["weeks"])}
    shown = {
        "equal alerts": _equal,
        "as set: recall, alerts": _as_set,
        "missed and reviews, USD": _cost,
        "retrained": _moves,
    }
    for what, of_policy in shown.items():
        lines |= {f"{name}: {what}": partial(of_policy, name) for name in policies}
    lines["equal alerts before the late fraud"] = _before
    lines |= {f"{name}: after learning it": partial(_learned, name) for name in ("scheduled", "on watch")}
    rows = [[what, *map(line, found)] for what, line in lines.items()]
    return table([f"`make backtests` on {recorded['machine']['date'].split()[0]}", *SETS], rows)


def estimates_fact() -> str:
    """How far the performance by the scores is from what the labels then said."""
    one = report("backtests.json")["handbook"]["estimates"]["frozen"]
    errors = ", ".join(
        f"{number(one[name]['mean_absolute_error'])} of {name.replace('_', ' ')}"
        for name in ("recall", "precision", "average_precision")
    )
    return f"its mean absolute error over the handbook's weeks is {errors}"


def _equal(policy: str, one: Mapping[str, Any]) -> str:
    sums = one["policies"][policy]["total"]
    low, high = sums["recall_at_frozen_alerts_interval"]
    return f"{sums['recall_at_frozen_alerts']:.3f} ({low:.3f} to {high:.3f})"


def _as_set(policy: str, one: Mapping[str, Any]) -> str:
    sums = one["policies"][policy]["total"]
    return f"{sums['recall']:.3f}, {sums['alerts']:,}"


def _moves(policy: str, one: Mapping[str, Any]) -> str:
    sums = one["policies"][policy]["total"]
    return f"{sums['retrained']} times" + (f", {sums['refused']} refused" if sums["refused"] else "")


def _cost(policy: str, one: Mapping[str, Any]) -> str:
    sums = one["policies"][policy]["total"]
    return f"{sums['cost']:,.0f}" if "cost" in sums else "not declared"


def _before(one: Mapping[str, Any]) -> str:
    return f"{one['restored']['frozen']['recall_before']:.3f}" if "restored" in one else "none planted"


def _learned(policy: str, one: Mapping[str, Any]) -> str:
    if "restored" not in one:
        return "none planted"
    restored = one["restored"][policy]
    if restored["recall_after"] is None:
        return "never retrained"
    after, frozen = (f"{restored[name]:.3f}" for name in ("recall_after", "frozen_after"))
    return f"{after}, from day {restored['days_to_learn']:g}; frozen {frozen}"
