"""One figure of every service, round by round, and the budgets that ours must keep."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

Samples = Mapping[int, float]
"""Round -> the figure of that round."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A bound for ours, and the goal beyond it: times another service, or in the figure's own unit."""

    bound: float
    against: str | None = None
    is_least: bool = False
    """Whether ours must reach the bound; else ours must not exceed it."""
    goal: float | None = None

    def is_kept(self, figure: float) -> bool:
        """Whether a figure keeps to the bound."""
        return figure >= self.bound if self.is_least else figure <= self.bound


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured, the samples of each service, and the budgets of ours."""

    what: str
    unit: str
    figures: Mapping[str, Samples]
    budgets: tuple[Budget, ...] = ()

    def ratio(self, other: str) -> float:
        """Ours over another service: the median of the rounds' ratios, so that a slow round weighs on both."""
        ours, others = self.figures["ours"], self.figures[other]
        return median(ours[turn] / others[turn] for turn in ours if turn in others)

    def figure(self, budget: Budget) -> float:
        """What a budget limits."""
        return self.ratio(budget.against) if budget.against else median(self.figures["ours"].values())

    def excesses(self) -> list[str]:
        """The budgets that are not kept, one sentence each."""
        return [
            f"{self.what}: {self.figure(budget):.3g}, {'at least' if budget.is_least else 'at most'} {budget.bound:.3g}"
            f" {f'x {budget.against}' if budget.against else self.unit}"
            for budget in self.budgets
            if not budget.is_kept(self.figure(budget))
        ]

    def record(self) -> dict[str, Any]:
        """The figure as JSON, with every sample."""
        return {
            "measured": self.what,
            "unit": self.unit,
            "median": {name: median(samples.values()) for name, samples in self.figures.items()},
            "quartiles": {name: _quartiles(list(samples.values())) for name, samples in self.figures.items()},
            "ours_over": {name: self.ratio(name) for name in self.figures if name != "ours"},
            "limits": [
                {
                    "against": budget.against,
                    "is_least": budget.is_least,
                    "budget": budget.bound,
                    "goal": budget.goal,
                    "figure": self.figure(budget),
                    "verdict": "within" if budget.is_kept(self.figure(budget)) else "OVER",
                }
                for budget in self.budgets
            ],
            "samples": {name: list(samples.values()) for name, samples in self.figures.items()},
        }


def _quartiles(values: list[float]) -> tuple[float, float]:
    """The first and the third quartile; twice the figure where there is only one."""
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = quantiles(values, n=4, method="inclusive")
    return low, high
