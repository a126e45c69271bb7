"""The figures of many rows, from the recorded runs of `make bench-training` and `make bench-repro`."""

from typing import Any

from benchmarks.readme_table import number, report, table
from benchmarks.training import TRAIN, shown

# The measured machine's.
CORES = 2
THREADS_OF_FIT = 1
BILLION = 1_000_000_000
# Four machines of 16 vCPUs, of which the plan makes use by so much: the rest is waiting for each other.
MACHINES, VCPUS, EFFICIENCY = 4, 16, 0.7
# AWS listed m7g.large, with 2 vCPUs and 8 GB, at 0.0816 USD an hour in us-east-1 in June 2026.
USD_A_VCPU_HOUR = 0.0816 / 2
STEPS = ("prepare", *TRAIN, "calibrate", "baseline", "score")


def _rows() -> dict[int, dict[str, dict[str, float]]]:
    return {int(n_rows): found for n_rows, found in report("training.json")["rows"].items()}


def training_table() -> str:
    """Each step's seconds and memory by number of rows, and how they grow."""
    return shown(_rows())


def training_caption() -> str:
    """What was measured, when and where."""
    recorded = report("training.json")["machine"]
    cores = f"{recorded['cores']} cores of an {recorded['processor']}"
    return f"`make bench-training` on {recorded['date'].split()[0]}, {cores}"


def repro_fact() -> str:
    """The handbook's rows through `dvc repro`."""
    found = report("repro.json")
    stages: dict[str, dict[str, float]] = found["stages"]
    seconds, memory = sum(of["seconds"] for of in stages.values()), max(of["GB"] for of in stages.values())
    most = max(stages, key=lambda stage: stages[stage]["seconds"])
    return (
        f"`make bench-repro`: the handbook's {found['rows']:,} rows through `dvc repro` took {seconds / 60:.1f} "
        f"minutes ({most} {stages[most]['seconds'] / 60:.1f}) and {memory:.1f} GB"
    )


def core_hours(step: str) -> float:
    """What a step of a billion rows takes of one core, if it grows as the rows do."""
    most = max(_rows())
    cores = THREADS_OF_FIT if step == "fit" else CORES
    return _rows()[most][step]["seconds"] * cores * BILLION / most / 3600


def plan_hours(step: str) -> float:
    """What a step of a billion rows takes on the plan's machines; reading and sorting take as long as on one."""
    most = max(_rows())
    if step == "prepare":
        return _rows()[most][step]["seconds"] * BILLION / most / 3600
    return core_hours(step) / (MACHINES * VCPUS * EFFICIENCY)


def bytes_a_row(step: str) -> float:
    """By how much the memory of a step on one machine grows with each row of the data."""
    few, many = sorted(_rows())[-2:]
    return max(_rows()[many][step]["GB"] - _rows()[few][step]["GB"], 0.0) * 1e9 / (many - few)


def billion_table() -> str:
    """What each step of a billion rows takes: hours of one core, on the plan's machines, and memory on one machine."""
    rows: list[list[Any]] = [
        [step, number(core_hours(step)), number(plan_hours(step)), number(bytes_a_row(step))] for step in STEPS
    ]
    totals = (number(sum(map(hours, STEPS))) for hours in (core_hours, plan_hours))
    rows.append(["all", *totals, number(max(map(bytes_a_row, STEPS)))])
    head = ["step", "hours of one core", f"hours on {MACHINES} x {VCPUS} vCPUs", "bytes a row, on one machine"]
    return table(head, rows)


def money_fact() -> str:
    """What the plan costs."""
    hours = sum(map(plan_hours, STEPS))
    usd = hours * MACHINES * VCPUS * USD_A_VCPU_HOUR
    return f"{hours:.1f} hours of {MACHINES} machines of {VCPUS} vCPUs, some {usd:,.0f} USD"
