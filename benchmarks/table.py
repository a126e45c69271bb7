"""One row per thing measured: ours beside its floor and the usual thing, and what the budget says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

Samples = Mapping[int, float]
"""Round -> the figure of that round."""

HEADINGS = ("measured", "ours", "floor (echo)", "ours / floor", "budget", "verdict", "joblib", "joblib / ours")


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured and, per subject, its samples; a subject without samples was not measured."""

    what: str
    unit: str
    ours: Samples
    floor: Samples = field(default_factory=dict)
    usual: Samples = field(default_factory=dict)
    budget: float | None = None
    """The most that ours may be: times the floor where there is one, else in the row's unit."""

    @property
    def figure(self) -> float:
        """What the budget limits."""
        return paired_ratio(self.ours, self.floor) if self.floor else median(self.ours.values())

    @property
    def verdict(self) -> str:
        """`within` or `OVER` the budget; empty where there is none."""
        return "" if self.budget is None else "within" if self.figure <= self.budget else "OVER"

    def cells(self) -> list[str]:
        """The row as text, under `HEADINGS`."""
        return [
            self.what,
            self._shown(self.ours),
            self._shown(self.floor),
            self._limited(self.figure) if self.floor else "",
            "" if self.budget is None else self._limited(self.budget),
            self.verdict,
            self._shown(self.usual),
            f"{paired_ratio(self.usual, self.ours):.1f}x" if self.usual else "",
        ]

    def excess(self) -> str:
        """What is over the budget, in one sentence."""
        budget = "none" if self.budget is None else self._limited(self.budget)
        return f"{self.what} is {self._limited(self.figure)}, the budget {budget}"

    def record(self) -> dict[str, Any]:
        """The row as JSON, with every sample."""
        samples = {"ours": self.ours, "floor": self.floor, "usual": self.usual}
        return {
            "measured": self.what,
            "unit": self.unit,
            "median": {name: median(found.values()) for name, found in samples.items() if found},
            "ours_over_floor": paired_ratio(self.ours, self.floor) if self.floor else None,
            "usual_over_ours": paired_ratio(self.usual, self.ours) if self.usual else None,
            "budget": self.budget,
            "verdict": self.verdict or None,
            "samples": {name: list(found.values()) for name, found in samples.items() if found},
        }

    def _limited(self, value: float) -> str:
        """A figure in the budget's terms: times the floor, or the row's unit."""
        return f"{value:.2f}x" if self.floor else f"{_short(value)} {self.unit}"

    def _shown(self, samples: Samples) -> str:
        if not samples:
            return ""
        values = list(samples.values())
        middle = f"{_short(median(values))} {self.unit}"
        if len(values) == 1:
            return middle
        low, _, high = quantiles(values, n=4, method="inclusive")
        return f"{middle} ({_short(low)}..{_short(high)})"


def paired_ratio(left: Samples, right: Samples) -> float:
    """The median of the rounds' own ratios, so that a slow moment of the machine weighs on both sides."""
    return median(left[turn] / right[turn] for turn in left if turn in right)


def print_table(rows: Sequence[Row]) -> None:
    """Print the rows as a Markdown table, then what is over its budget."""
    lines = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    padded.insert(1, ["-" * width for width in widths])
    for line in padded:
        print(f"| {' | '.join(line)} |")
    over = [row.excess() for row in rows if row.verdict == "OVER"]
    print("\nOVER BUDGET: " + "; ".join(over) if over else "\nEverything is within its budget.")


def _short(value: float) -> str:
    """Three digits, never fewer than the whole number's."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits
