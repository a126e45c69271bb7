"""Quality beside published numbers, on the benchmark sets and the shipped scorers: `make quality`.

Every number comes from this project's own functions. A set that is absent is named and skipped.
"""

from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from benchmarks.command import REPORTS, keep, options_of
from benchmarks.machine import machine
from benchmarks.quality.handbook import handbook
from benchmarks.quality.recall_bound import recall_bound
from benchmarks.quality.resampling import handbook_variants, ulb_variants
from benchmarks.quality.sets import AbsentError, Line
from benchmarks.quality.steps import all_steps
from benchmarks.quality.tuning_rows import all_tuning_rows
from benchmarks.quality.ulb import ulb
from benchmarks.tables import SCORERS, report
from training.run.progress import say

# `*_one_in`: one in so many customers or rows of a set is used; `steps_one_in` is for the handbook in `steps`, and
# `shipped_one_in` for the shipped scorers. `trials` are those of each search, `draws` those of the recall bound.
SIZES = {
    "handbook_one_in": (1, 120),
    "steps_one_in": (4, 160),
    "shipped_one_in": (1, 60),
    "ulb_one_in": (1, 2_000),
    "trials": (10, 1),
    "draws": (200, 1),
}
# The sets of the parts `steps` and `tuning_rows`, and the one set of each in the smallest run: the others run the same
# code.
SETS = {"steps": ("handbook", "ulb", *SCORERS), "tuning_rows": ("ulb", *SCORERS)}
SMALLEST = {"steps": ("refund",), "tuning_rows": ("ulb",)}


def one_in(part: str, options: Namespace) -> dict[str, int]:
    """Per set of a part, the N for which one in N of its rows or customers is used."""
    shares = {"handbook": options.steps_one_in, "ulb": options.ulb_one_in}
    names = (SMALLEST if options.smallest else SETS)[part]
    return {name: shares.get(name, options.shipped_one_in) for name in names}


# The parts, by their names in the report. All but the last take minutes and change only with the code; the last takes
# seconds and changes with every release.
PARTS: dict[str, Callable[[Namespace], list[Line]]] = {
    "handbook": lambda options: handbook(options.handbook_one_in, options.trials),
    "ulb": lambda options: ulb(options.ulb_one_in),
    "handbook_variants": lambda options: handbook_variants(options.handbook_one_in),
    "ulb_variants": lambda options: ulb_variants(options.ulb_one_in),
    "steps": lambda options: all_steps(one_in("steps", options), options.trials),
    "tuning_rows": lambda options: all_tuning_rows(one_in("tuning_rows", options), options.trials),
    "recall_bound": lambda options: recall_bound(options.draws),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the parts; with `--record`, the measured parts replace the recorded ones."""
    options = options_of("quality.published", __doc__, SIZES, arguments, PARTS)
    parts: dict[str, Any] = report("quality.json") if (REPORTS / "quality.json").is_file() else {}
    for name in options.only:
        try:
            lines = PARTS[name](options)
        except AbsentError as error:
            say(f"{name} is skipped: {error}")
            continue
        say(f"\n{name}\n{pd.DataFrame(lines).to_string(index=False, na_rep='', float_format='%.4g')}\n")
        parts[name] = {"machine": machine(), "lines": lines}
    keep("quality", {name: parts[name] for name in PARTS if name in parts}, options)


if __name__ == "__main__":
    main()
