"""One row per thing measured: ours beside the other subjects, and what the budgets say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

Samples = Mapping[int, float]
"""Round -> the figure of that round."""

OTHERS = ("echo", "xgboost", "joblib")
HEADINGS = ("measured", "ours", *OTHERS, *(f"ours / {name}" for name in OTHERS), "budget", "verdict", "goal")


@dataclass(frozen=True, slots=True)
class Limit:
    """A budget for ours, and the goal beyond it: times another subject, or in the row's own unit."""

    budget: float
    against: str | None = None
    is_least: bool = False
    """Whether the budget is the least that ours must reach; else it is the most that ours may take."""
    goal: float | None = None

    def is_met(self, figure: float, bound: float) -> bool:
        """Whether a figure keeps to a bound."""
        return figure >= bound if self.is_least else figure <= bound

    def shown(self, bound: float, unit: str) -> str:
        """A bound as text: "≤ 1.25x echo", "≥ 15x joblib", "≤ 45 MB"."""
        return f"{'≥' if self.is_least else '≤'} {self.figure_shown(bound, unit)}"

    def figure_shown(self, figure: float, unit: str) -> str:
        """A figure in the terms of the budget."""
        return f"{_times(figure)} {self.against}" if self.against else f"{_short(figure)} {unit}"


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured, the samples of each subject that was, and the budgets of ours."""

    what: str
    unit: str
    figures: Mapping[str, Samples]
    limits: tuple[Limit, ...] = ()

    def ratio(self, other: str) -> float:
        """Ours over another subject: the median of the rounds' own ratios, so that a slow moment weighs on both."""
        ours, others = self.figures["ours"], self.figures[other]
        return median(ours[turn] / others[turn] for turn in ours if turn in others)

    def figure(self, limit: Limit) -> float:
        """What a budget limits."""
        return self.ratio(limit.against) if limit.against else median(self.figures["ours"].values())

    def verdict(self, limit: Limit) -> str:
        """`within` or `OVER` the budget."""
        return "within" if limit.is_met(self.figure(limit), limit.budget) else "OVER"

    def cells(self) -> list[str]:
        """The row as text, under `HEADINGS`."""
        return [
            self.what,
            *(self._spread(name) for name in ("ours", *OTHERS)),
            *(_times(self.ratio(name)) if name in self.figures else "" for name in OTHERS),
            "; ".join(limit.shown(limit.budget, self.unit) for limit in self.limits),
            "; ".join(self.verdict(limit) for limit in self.limits),
            "; ".join(self._goal(limit, limit.goal) for limit in self.limits if limit.goal is not None),
        ]

    def excesses(self) -> list[str]:
        """What is beyond a budget, one sentence each."""
        return [
            f"{self.what}, {limit.figure_shown(self.figure(limit), self.unit)}"
            f" instead of {limit.shown(limit.budget, self.unit)}"
            for limit in self.limits
            if self.verdict(limit) == "OVER"
        ]

    def record(self) -> dict[str, Any]:
        """The row as JSON, with every sample."""
        return {
            "measured": self.what,
            "unit": self.unit,
            "median": {name: median(found.values()) for name, found in self.figures.items()},
            "quartiles": {name: _quartiles(found) for name, found in self.figures.items()},
            "ours_over": {name: self.ratio(name) for name in self.figures if name != "ours"},
            "limits": [
                {
                    "against": limit.against,
                    "is_least": limit.is_least,
                    "budget": limit.budget,
                    "goal": limit.goal,
                    "figure": self.figure(limit),
                    "verdict": self.verdict(limit),
                }
                for limit in self.limits
            ],
            "samples": {name: list(found.values()) for name, found in self.figures.items()},
        }

    def _goal(self, limit: Limit, goal: float) -> str:
        is_met = limit.is_met(self.figure(limit), goal)
        return f"{limit.shown(goal, self.unit)} {'met' if is_met else 'not met'}"

    def _spread(self, name: str) -> str:
        """A subject's median and quartiles."""
        if name not in self.figures:
            return ""
        samples = self.figures[name]
        middle = f"{_short(median(samples.values()))} {self.unit}"
        if len(samples) == 1:
            return middle
        low, high = _quartiles(samples)
        return f"{middle} ({_short(low)}..{_short(high)})"


def print_table(rows: Sequence[Row]) -> None:
    """Print the rows as a Markdown table, then what is beyond its budget."""
    lines = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    padded.insert(1, ["-" * width for width in widths])
    for line in padded:
        print(f"| {' | '.join(line)} |")
    over = [sentence for row in rows for sentence in row.excesses()]
    print("\nOVER BUDGET: " + "; ".join(over) if over else "\nEverything measured is within its budget.")


def _quartiles(samples: Samples) -> tuple[float, float]:
    """The first and the third quartile; twice the figure where there is only one."""
    values = list(samples.values())
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = quantiles(values, n=4, method="inclusive")
    return low, high


def _times(ratio: float) -> str:
    return f"{ratio:.2f}x" if ratio < 10 else f"{_short(ratio)}x"  # noqa: PLR2004 - three digits


def _short(value: float) -> str:
    """Three digits, never fewer than the whole number's."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits
