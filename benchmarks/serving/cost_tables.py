"""The tables of docs/cost.md, from the record of `make bench-cost`, the template and AWS's prices."""

from benchmarks.tables import table
from training.delivery.bill import MILLION, Line, lines_of, totals_of
from training.delivery.billed_template import billed_template
from training.delivery.footprint import read_footprint
from training.delivery.prices import PRICES

REQUESTS_A_MONTH = (10_000, MILLION, 10 * MILLION, 100 * MILLION)


def _lines(requests: int = MILLION) -> tuple[Line, ...]:
    return lines_of(requests, read_footprint(), billed_template())


def cost_table() -> str:
    """The lines of the default deployment for a million requests, and their total."""
    lines = _lines()
    rows = [[line.what, line.amount, f"{line.x86_64:.4f}", f"{line.arm64:.4f}"] for line in lines if not line.option]
    totals = totals_of(lines, with_options=False)
    rows.append(["total", "", f"{totals.x86_64:.2f}", f"{totals.arm64:.2f}"])
    return table(["a million requests a month", "amount", "USD, x86_64", "USD, arm64"], rows)


def cost_options_table() -> str:
    """The lines of the options that are off by default, and the total with all of them."""
    lines = _lines()
    rows = [
        [f"`{line.option}`", line.what, line.amount, f"{line.x86_64:.4f}", f"{line.arm64:.4f}"]
        for line in lines
        if line.option
    ]
    totals = totals_of(lines, with_options=True)
    rows.append(["total with every option", "", "", f"{totals.x86_64:.2f}", f"{totals.arm64:.2f}"])
    return table(["not in the default deployment", "", "amount", "USD, x86_64", "USD, arm64"], rows)


def cost_scale_table() -> str:
    """The default deployment's total for several numbers of requests, and the cost of a million of them."""
    rows = []
    for requests in REQUESTS_A_MONTH:
        totals = totals_of(_lines(requests), with_options=False)
        both = (totals.x86_64, totals.arm64)
        rows.append(
            [
                f"{requests:,}",
                *(f"{usd:,.2f}" for usd in both),
                *(f"{usd * MILLION / requests:,.2f}" for usd in both),
            ]
        )
    head = ["requests a month", "USD, x86_64", "USD, arm64", "a million, x86_64", "a million, arm64"]
    return table(head, rows)


def prices_table() -> str:
    """Every price with its source page."""
    rows = [[price.unit, f"{price.usd:.10f}".rstrip("0").rstrip("."), price.page] for price in PRICES.all()]
    return table(["unit", "USD", "source"], rows)


def month_fact() -> str:
    """What a million requests a month cost with the defaults."""
    totals = totals_of(_lines(), with_options=False)
    arm64 = f"{totals.arm64:.2f} on arm64"
    if arm64 == f"{totals.x86_64:.2f} on arm64":
        arm64 = "the same on arm64"
    return f"A million requests in a month cost {totals.x86_64:.2f} USD (x86_64; {arm64})"
