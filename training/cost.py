"""What a deployment of template.yaml costs in a month: `make cost REQUESTS=1000000`.

In dollars, line by line, for both processors, from AWS's prices and the measurements that `make bench-cost` recorded.
"""

import argparse
import re

from training.delivery.bill import MILLION, bill_text
from training.delivery.billed_template import billed_template
from training.delivery.footprint import read_footprint
from training.errors import StageError
from training.run.command import one_line_errors

# Some 400 million requests a second.
MOST_REQUESTS = 10**15


def requests_of(text: str) -> int:
    """Parse a number of requests as typed; raises StageError if it is not a whole number from 1 to MOST_REQUESTS."""
    if not re.fullmatch(r"[0-9]{1,3}(,[0-9]{3})+|[0-9]+(_[0-9]+)*", text, re.ASCII):
        raise StageError(f"REQUESTS is {text!r}; it must be a whole number of requests a month, such as 1000000")
    requests = int(text.replace(",", "").replace("_", ""))
    if not 1 <= requests <= MOST_REQUESTS:
        raise StageError(f"REQUESTS is {text}; it must be from 1 to {MOST_REQUESTS:,}")
    return requests


def main() -> None:
    """Print the bill."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", default=str(MILLION), help="requests in a month")
    arguments = parser.parse_args()
    with one_line_errors("cost"):
        print(bill_text(requests_of(arguments.requests), read_footprint(), billed_template()))  # noqa: T201 - output


if __name__ == "__main__":
    main()
