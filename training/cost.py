"""What a deployment of template.yaml costs in a month: `make cost REQUESTS=1000000`.

Dollars, line by line, for both processors, from AWS's prices and what `make bench-cost` measured and recorded.
"""

import argparse
import re

from training.delivery.bill import MILLION, Line, lines_of, totals_of
from training.delivery.billed_template import BilledTemplate, billed_template
from training.delivery.footprint import Footprint, read_footprint
from training.delivery.prices import DATE, REGION
from training.errors import StageError
from training.run.command import one_line_errors

# Hundreds of millions a second.
MOST_REQUESTS = 10**15
HEAD = ("", "", "x86_64", "arm64")


def requests_of(text: str) -> int:
    """A number of requests as it was typed; raises StageError where it is none."""
    if not re.fullmatch(r"[0-9]{1,3}(,[0-9]{3})+|[0-9]+(_[0-9]+)*", text, re.ASCII):
        raise StageError(f"REQUESTS is {text!r}; it must be a whole number of requests a month, such as 1000000")
    requests = int(text.replace(",", "").replace("_", ""))
    if not 1 <= requests <= MOST_REQUESTS:
        raise StageError(f"REQUESTS is {text}; it must be from 1 to {MOST_REQUESTS:,}")
    return requests


def bill_text(requests: int, footprint: Footprint, template: BilledTemplate) -> str:
    """The bill as the command prints it."""
    lines = lines_of(requests, footprint, template)
    rows = [HEAD, *(_cells(line) for line in lines if not line.option), _total(lines, with_options=False)]
    option = ""
    for line in lines:
        if line.option and line.option != option:
            option = line.option
            rows.append((f"not in the default deployment, {option}:", "", "", ""))
        if line.option:
            rows.append(_cells(line))
    rows.append(_total(lines, with_options=True))
    measured = str(footprint.machine["date"]).split()[0]
    head = (
        f"USD a month for {requests:,} requests at {template.memory_mb} MB; {REGION}, prices of {DATE}, measured on "
        f"{measured} on x86_64, whose milliseconds stand for arm64's too"
    )
    end = "Prices are those of the first tier; free tiers are left out. docs/cost.md says what is assumed."
    return "\n".join([head, *_aligned(rows), end])


def _cells(line: Line) -> tuple[str, str, str, str]:
    return line.what, line.amount, f"{line.x86_64:.4f}", f"{line.arm64:.4f}"


def _total(lines: tuple[Line, ...], *, with_options: bool) -> tuple[str, str, str, str]:
    totals = totals_of(lines, with_options=with_options)
    name = "total with every option" if with_options else "total of the default deployment"
    return name, "", f"{totals.x86_64:.2f}", f"{totals.arm64:.2f}"


def _aligned(rows: list[tuple[str, str, str, str]]) -> list[str]:
    """The rows with their columns below each other; the line that names an option is as long as it is."""
    widths = [max(len(row[column]) for row in rows if row[3]) for column in range(len(HEAD))]
    return [
        f"  {row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]:>{widths[3]}}"
        if row[3]
        else row[0]
        for row in rows
    ]


def main() -> None:
    """Print the bill."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", default=str(MILLION), help="requests in a month")
    arguments = parser.parse_args()
    with one_line_errors("cost"):
        print(bill_text(requests_of(arguments.requests), read_footprint(), billed_template()))  # noqa: T201 - output


if __name__ == "__main__":
    main()
