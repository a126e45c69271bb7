"""What every table of the README is made of."""

import json
from pathlib import Path
from typing import Any

REPORTS = Path(__file__).parents[1] / "reports"
SCORERS = ("transaction", "refund")


def report(name: str) -> dict[str, Any]:
    """A report as JSON."""
    found: dict[str, Any] = json.loads((REPORTS / name).read_text())
    return found


def table(headings: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headings, ["---"] * len(headings), *rows))


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"  # noqa: PLR2004 - from there on no decimals


def with_interval(value: float, bounds: list[float] | None) -> str:
    """A value and, where it has one, its 95 % interval."""
    return number(value) if bounds is None else f"{number(value)} ({number(bounds[0])} to {number(bounds[1])})"
