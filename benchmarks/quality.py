"""Quality beside published numbers, on the benchmark sets and the shipped scorers: `make quality`.

Every number comes from this project's own functions. A set that is absent is named and skipped.
"""

import argparse
import json
import time
from collections.abc import Callable

from benchmarks.quality_arms import handbook_arms, ulb_arms
from benchmarks.quality_handbook import handbook
from benchmarks.quality_part import AbsentError, Part
from benchmarks.quality_recall_bound import recall_bound
from benchmarks.quality_shipped import calibration, shipped_arms
from benchmarks.quality_ulb import ulb
from training.run.files import REPORTS, write_json
from training.run.progress import say

# What the README quotes: per part its lines, its conclusions, and when and where it ran.
RECORDED = REPORTS / "quality.json"
# These take minutes and change with the code only.
BENCHMARKS: dict[str, Callable[[], Part]] = {
    "handbook": handbook,
    "ulb": ulb,
    "handbook_arms": handbook_arms,
    "ulb_arms": ulb_arms,
}
# These take seconds and change with every release.
SHIPPED: dict[str, Callable[[], Part]] = {
    "shipped_arms": shipped_arms,
    "calibration": calibration,
    "recall_bound": recall_bound,
}
PARTS = BENCHMARKS | SHIPPED


def measure(name: str) -> Part | None:
    """A part, printed; None, and said so, where its file is absent."""
    start = time.monotonic()
    say(f"\n{name}")
    try:
        found = PARTS[name]()
    except AbsentError as error:
        say(f"{name} is skipped: {error}")
        return None
    say(f"\n{found.text()}\n{name} took {time.monotonic() - start:,.0f} s")
    return found


def record(name: str, found: Part) -> None:
    """Put a part into the recorded file; the others stay as they are."""
    known = json.loads(RECORDED.read_text(encoding="utf-8")) if RECORDED.is_file() else {}
    known[name] = found.record()
    write_json(RECORDED, {name: known[name] for name in PARTS if name in known})


def main() -> None:
    """Measure the parts that are asked for, all by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--only", nargs="+", choices=[*PARTS, "arms"], default=list(PARTS), help="these parts; arms: all three"
    )
    which.add_argument("--shipped", action="store_true", help="the parts on the shipped scorers: seconds, not minutes")
    parser.add_argument("--record", action="store_true", help=f"keep the parts in {RECORDED}, for the README")
    asked = parser.parse_args()
    wanted = SHIPPED if asked.shipped else asked.only
    for name in PARTS:
        if name in wanted or (name.endswith("_arms") and "arms" in wanted):
            found = measure(name)
            if found and asked.record:
                record(name, found)


if __name__ == "__main__":
    main()
