"""What a billion rows would take, from the largest recorded run of `make bench-training`."""

from collections.abc import Mapping
from typing import Any

from benchmarks.tables import number, table
from benchmarks.training.stages import TRAIN, by_rows

# The cores of the measured machine, and the threads of the fit.
CORES = 2
THREADS_OF_FIT = 1
BILLION = 1_000_000_000
# The plan: four machines of 16 vCPUs, busy for this share of the time; otherwise they wait for each other.
MACHINES, VCPUS, EFFICIENCY = 4, 16, 0.7
# AWS listed m7g.large, with 2 vCPUs and 8 GB, at 0.0816 USD an hour in us-east-1 in June 2026.
USD_A_VCPU_HOUR = 0.0816 / 2
STEPS = ("prepare", *TRAIN, "calibrate", "baseline", "score")


def figures_of(report: Mapping[str, Any], step: str) -> tuple[float, float, float]:
    """What a step takes if it grows linearly: hours of one core, hours on the plan's machines, and bytes per row.

    The bytes are the growth of its memory, on one machine, with each row of the data.
    """
    rows = by_rows(report)
    few, many = sorted(rows)[-2:]
    hours = rows[many][step]["seconds"] * BILLION / many / 3600
    core_hours = hours * (THREADS_OF_FIT if step == "fit" else CORES)
    # Reading and sorting take as long on the plan's machines as on one.
    plan_hours = hours if step == "prepare" else core_hours / (MACHINES * VCPUS * EFFICIENCY)
    growth = max(rows[many][step]["GB"] - rows[few][step]["GB"], 0.0)
    return core_hours, plan_hours, growth * 1e9 / (many - few)


def billion_table(report: Mapping[str, Any]) -> str:
    """What each step of a billion rows takes: hours of one core, on the plan's machines, and memory on one machine."""
    figures = [figures_of(report, step) for step in STEPS]
    cores, plan, memory = zip(*figures, strict=True)
    rows = [[step, *map(number, row)] for step, row in zip(STEPS, figures, strict=True)]
    rows.append(["all", number(sum(cores)), number(sum(plan)), number(max(memory))])
    head = ["step", "hours of one core", f"hours on {MACHINES} x {VCPUS} vCPUs", "bytes a row, on one machine"]
    return table(head, rows)


def cost_fact(report: Mapping[str, Any]) -> str:
    """What the plan costs."""
    hours = sum(figures_of(report, step)[1] for step in STEPS)
    usd = hours * MACHINES * VCPUS * USD_A_VCPU_HOUR
    return f"{hours:.1f} hours of {MACHINES} machines of {VCPUS} vCPUs, some {usd:,.0f} USD"
