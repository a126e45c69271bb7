"""Quality beside published numbers, on the benchmark sets and the shipped scorers: `make quality`.

Every number comes from this project's own functions. A set that is absent is named and skipped.
"""

import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.command import REPORTS, keep, options_of
from benchmarks.quality.handbook import handbook
from benchmarks.quality.part import AbsentError, Part
from benchmarks.quality.recall_bound import recall_bound
from benchmarks.quality.resampling import handbook_variants, ulb_variants
from benchmarks.quality.shipped import calibration, shipped_variants
from benchmarks.quality.ulb import ulb
from benchmarks.tables import report
from training.run.progress import say

# Of the sets one customer or row in so many is taken; trials of each search, draws of the recall bound.
SIZES = {"handbook_one_in": (1, 80), "ulb_one_in": (1, 400), "trials": (30, 1), "draws": (200, 3)}
# By their names in the report. The first four take minutes and change with the code only, the others take seconds and
# change with every release.
PARTS: dict[str, Callable[[Namespace], Part]] = {
    "handbook": lambda options: handbook(options.handbook_one_in, options.trials),
    "ulb": lambda options: ulb(options.ulb_one_in),
    "handbook_arms": lambda options: handbook_variants(options.handbook_one_in),
    "ulb_arms": lambda options: ulb_variants(options.ulb_one_in),
    "shipped_arms": lambda _: shipped_variants(),
    "calibration": lambda _: calibration(),
    "recall_bound": lambda options: recall_bound(options.draws),
}


def measure(name: str, options: Namespace) -> Part | None:
    """A part, printed; None, and a message, where its file is absent."""
    start = time.monotonic()
    say(f"\n{name}")
    try:
        part = PARTS[name](options)
    except AbsentError as error:
        say(f"{name} is skipped: {error}")
        return None
    say(f"\n{part.text()}\n{name} took {time.monotonic() - start:,.0f} s")
    return part


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the parts; with `--record` those that were measured replace the recorded ones."""
    options = options_of("quality.published", __doc__, SIZES, arguments, PARTS)
    parts: dict[str, Any] = report("quality.json") if (REPORTS / "quality.json").is_file() else {}
    for name in options.only:
        if part := measure(name, options):
            parts[name] = part.record()
    keep("quality", {name: parts[name] for name in PARTS if name in parts}, options)


if __name__ == "__main__":
    main()
