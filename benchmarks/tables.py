"""Markdown tables and numbers, as README.md and docs/ show them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.command import REPORTS

SCORERS = ("transaction", "refund")


def report(name: str) -> dict[str, Any]:
    """A report as JSON."""
    content: dict[str, Any] = json.loads((REPORTS / name).read_text(encoding="utf-8"))
    return content


def date_of(recorded: Mapping[str, Any]) -> str:
    """The day on which a report was recorded."""
    return str(recorded["machine"]["date"]).split()[0]


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headings, ["---"] * len(headings), *rows))


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"  # noqa: PLR2004 - from there on no decimals


def with_interval(value: float, bounds: list[float] | None) -> str:
    """A value and, if it has one, its 95 % interval."""
    return number(value) if bounds is None else f"{number(value)} ({number(bounds[0])} to {number(bounds[1])})"
