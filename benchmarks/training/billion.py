"""What a billion rows would take, from the largest recorded run of `make bench-training`."""

from collections.abc import Mapping
from typing import Any

from benchmarks.tables import number, table
from benchmarks.training.stages import TRAIN, by_rows

Report = Mapping[str, Any]

# The measured machine's.
CORES = 2
THREADS_OF_FIT = 1
BILLION = 1_000_000_000
# Four machines of 16 vCPUs, of which the plan uses this share: the rest of the time they wait for each other.
MACHINES, VCPUS, EFFICIENCY = 4, 16, 0.7
# AWS listed m7g.large, with 2 vCPUs and 8 GB, at 0.0816 USD an hour in us-east-1 in June 2026.
USD_A_VCPU_HOUR = 0.0816 / 2
STEPS = ("prepare", *TRAIN, "calibrate", "baseline", "score")


def machine_hours(report: Report, step: str) -> float:
    """What a step of a billion rows takes on the measured machine, if it grows as the rows do."""
    rows = by_rows(report)
    most = max(rows)
    return rows[most][step]["seconds"] * BILLION / most / 3600


def core_hours(report: Report, step: str) -> float:
    """What a step of a billion rows takes of one core."""
    return machine_hours(report, step) * (THREADS_OF_FIT if step == "fit" else CORES)


def plan_hours(report: Report, step: str) -> float:
    """What a step of a billion rows takes on the plan's machines; reading and sorting take as long as on one."""
    if step == "prepare":
        return machine_hours(report, step)
    return core_hours(report, step) / (MACHINES * VCPUS * EFFICIENCY)


def bytes_a_row(report: Report, step: str) -> float:
    """By how much the memory of a step on one machine grows with each row of the data."""
    rows = by_rows(report)
    few, many = sorted(rows)[-2:]
    return max(rows[many][step]["GB"] - rows[few][step]["GB"], 0.0) * 1e9 / (many - few)


def billion_table(report: Report) -> str:
    """What each step of a billion rows takes: hours of one core, on the plan's machines, and memory on one machine."""
    figures = [[measure(report, step) for measure in (core_hours, plan_hours, bytes_a_row)] for step in STEPS]
    cores, plan, memory = zip(*figures, strict=True)
    rows = [[step, *map(number, row)] for step, row in zip(STEPS, figures, strict=True)]
    rows.append(["all", number(sum(cores)), number(sum(plan)), number(max(memory))])
    head = ["step", "hours of one core", f"hours on {MACHINES} x {VCPUS} vCPUs", "bytes a row, on one machine"]
    return table(head, rows)


def cost_fact(report: Report) -> str:
    """What the plan costs."""
    hours = sum(plan_hours(report, step) for step in STEPS)
    usd = hours * MACHINES * VCPUS * USD_A_VCPU_HOUR
    return f"{hours:.1f} hours of {MACHINES} machines of {VCPUS} vCPUs, some {usd:,.0f} USD"
