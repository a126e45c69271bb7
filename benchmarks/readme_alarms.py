"""The README's table of what the monitor notices, from the recorded run of `make alarms`."""

from typing import Any

from benchmarks.readme_table import SCORERS, report, table


def alarms_table() -> str:
    """False alarms, what each change leads to, how often, after how many requests (median), and the planted fraud."""
    recorded = report("alarms.json")
    found = [recorded[name] for name in SCORERS]
    windows = recorded["windows"]
    rows = [
        [
            f"{windows} windows of four blocks without drift: {level}",
            *(f"{one['false_alarms'][level]:.1%}" for one in found),
        ]
        for level in ("watch", "retrain")
    ]
    draws = recorded["draws"]
    rows += [[what, *(_noticed(one["changes"][what], draws) for one in found)] for what in found[0]["changes"]]
    rows += [
        [f"the planted fraud, from its first day: {level}", *(_days(one["planted_days"], level) for one in found)]
        for level in ("watch", "retrain")
    ]
    return table([f"`make alarms` on {recorded['machine']['date'].split()[0]}", *SCORERS], rows)


def _noticed(change: dict[str, Any], draws: int) -> str:
    if change["requests"] is None:
        return f"not noticed in {draws} draws"
    return f"{change['state']} in {change['draws']} of {draws} draws, after {change['requests']:,} requests"


def _days(planted: dict[str, Any], level: str) -> str:
    if planted[level] is None:
        return f"not within the {planted['left']} days that are left"
    return f"after {planted[level]:g} days"
