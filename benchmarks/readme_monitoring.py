"""The README's figures of what recording and monitoring cost, from the recorded runs of `make bench-monitoring`."""

from typing import Any

from benchmarks.readme_table import SCORERS, number, report, table

TARGETS = {"stdout": "to stdout", "folder": "to a folder"}


def recording_table() -> str:
    """What a record adds to a warm invocation of each scorer."""
    recorded = report("recording.json")
    found = [recorded["scorers"][name] for name in SCORERS]
    rows = [["a warm invocation without a record", *(f"{number(one['unrecorded'])} µs" for one in found)]]
    rows += [[f"a record {where} adds", *(_added(one[target]) for one in found)] for target, where in TARGETS.items()]
    return table([f"`make bench-monitoring` on {_date(recorded)}", *SCORERS], rows)


def monitoring_fact() -> str:
    """How long the monitor takes for how much, and in how much memory."""
    recorded = report("monitoring.json")
    read = f"{recorded['predictions']:,} predictions and {recorded['outcomes']:,} outcomes, {recorded['MB']:,} MB"
    took = f"{number(recorded['seconds'])} s and {number(recorded['GB'])} GB of memory"
    return f"Monitoring {read} of lines, took {took}"


def _added(cost: dict[str, Any]) -> str:
    return f"{number(cost['microseconds'])} µs ({cost['share']:.1%})"


def _date(recorded: dict[str, Any]) -> str:
    return str(recorded["machine"]["date"]).split()[0]
