"""The figures of `make bench`: their titles, units and budgets, and the table that shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.tables import number, table
from training.delivery.artifact import MAX_BYTES

Samples = dict[str, dict[str, dict[int, float]]]
"""Figure -> service -> round -> what was measured."""

SERVICES = {
    "ours": "this function",
    "echo": "FastAPI + Mangum echo",
    "xgboost": "with XGBoost's Python package",
    "joblib": "joblib + pandas service",
}


@dataclass(frozen=True, slots=True)
class Budget:
    """A bound for ours: a multiple of another service's figure, or a value in the figure's own unit."""

    bound: float
    against: str | None = "echo"
    is_least: bool = False
    """Whether ours must reach the bound; else ours must not exceed it."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A row of the table: its title, its unit, and the budgets of ours."""

    title: str
    unit: str
    budgets: tuple[Budget, ...] = ()


COLD, WARM = (Budget(1.25),), (Budget(2.0),)
# 1.0 ms for 300 trees of depth 5, on a processor that takes 85 µs for the echo; the ratio holds on other processors.
EXPLAINED = (Budget(1000 / 85),)
RATE = (Budget(0.65, is_least=True), Budget(15, against="joblib", is_least=True))
# Lambda allows 250 MB.
WEIGHT = (Budget(MAX_BYTES / 1e6, against=None),)
FIGURES = {
    "cold start: init in AWS's runtime emulator": Figure("cold start: init in AWS's runtime emulator", "ms", COLD),
    "cold start: first import to first answer": Figure("cold start: imports, bundles, first answer", "ms", COLD),
    "cold start: first answer alone": Figure("of that, the first answer", "ms"),
    "warm: transaction, p50": Figure("warm request, transaction: median", "µs", WARM),
    "warm: transaction, p95": Figure("95th percentile", "µs"),
    "warm: transaction, p99": Figure("99th percentile", "µs"),
    "warm: refund, p50": Figure("warm request, refund: median", "µs", WARM),
    "warm: refund, p99": Figure("99th percentile", "µs"),
    "warm: transaction, with every reason, p50": Figure(
        "warm request, transaction, with every reason: median", "ms", EXPLAINED
    ),
    "warm: transaction, in a batch of 100, each": Figure("each request of a batch of 100", "µs"),
    "requests a second under uvicorn, transaction": Figure("requests a second, one worker on one core", "/s", RATE),
    "resident memory after the first answer": Figure("memory after the first answer", "MB"),
    "resident memory after the warm rounds": Figure("memory after the warm requests", "MB"),
    "artifact, unzipped": Figure("artifact, unzipped", "MB", WEIGHT),
}


def rows_of(samples: Samples) -> list[dict[str, Any]]:
    """Each figure's medians, and the ratios of ours to the others'.

    A ratio is the median of the rounds' ratios, so that a slow round affects both sides of it.
    """
    return [
        {
            "measured": what,
            "unit": FIGURES[what].unit,
            "median": {name: median(rounds.values()) for name, rounds in figures.items()},
            "ours_over": {
                name: median(figures["ours"][turn] / figure for turn, figure in rounds.items())
                for name, rounds in figures.items()
                if name != "ours"
            },
        }
        for what, figures in samples.items()
    ]


def verdicts(row: Mapping[str, Any]) -> list[tuple[str, float | None]]:
    """Each budget of a row in words, and the figure if it was missed; without budgets against what was not measured."""
    figure, budgets = FIGURES[row["measured"]], []
    figures = {None: row["median"]["ours"], **row["ours_over"]}
    for budget in figure.budgets:
        if budget.against not in figures:
            continue
        ours = figures[budget.against]
        unit = {None: figure.unit, "echo": "x"}.get(budget.against, f"x {budget.against}")
        is_kept = ours >= budget.bound if budget.is_least else ours <= budget.bound
        words = f"at {'least' if budget.is_least else 'most'} {number(budget.bound)} {unit}"
        budgets.append((words, None if is_kept else ours))
    return budgets


def excesses(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The budgets that were missed, a sentence each."""
    return [
        f"{row['measured']}: {number(missed)}, {words}"
        for row in rows
        for words, missed in verdicts(row)
        if missed is not None
    ]


def speed_table(report: Mapping[str, Any]) -> str:
    """The medians of each service, ours beside the echo, and the budgets."""
    recorded = {row["measured"]: row for row in report["rows"]}
    # Without wrk, requests per second were not measured.
    shown = [recorded[what] for what in FIGURES if what in recorded]
    ours, *others = SERVICES.values()
    return table(["medians", ours, "relative to the echo", "budget", *others], [_cells(row) for row in shown])


def _cells(row: Mapping[str, Any]) -> list[str]:
    medians = row["median"]
    ours, *others = (f"{number(medians[name])} {row['unit']}" if name in medians else "" for name in SERVICES)
    ratio = f"{number(row['ours_over']['echo'])} x" if "echo" in row["ours_over"] else ""
    budgets = "; ".join(
        words if missed is None else f"{words} (missed: {number(missed)})" for words, missed in verdicts(row)
    )
    return [FIGURES[row["measured"]].title, ours, ratio, budgets, *others]
