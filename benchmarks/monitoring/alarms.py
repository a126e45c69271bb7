"""The monitor's false alarms, which drifts it detects, and after how many requests: `make alarms`.

Each window is drawn anew from the shipped scorers' rows of days on which nothing drifts, so that the only drift in it
is the one that is applied. Afterwards the rows are monitored in their true order, with the planted fraud that begins
late.
"""

from argparse import Namespace
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median_low
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from benchmarks.command import keep, options_of
from benchmarks.machine import machine
from benchmarks.monitoring.drifts import drifts
from benchmarks.monitoring.steady_log import Labelled, labelled_rows
from benchmarks.tables import SCORERS, date_of, table
from handler.scoring.fields import SECONDS_A_DAY
from training.intake.synthetic.draws import LATE_PATTERN_DAY
from training.monitoring.dated_model import ScoredRows

# There are enough draws of each drift to tell what is always detected from what is detected by chance.
SIZES = {"windows": (200, 1), "draws": (20, 1), "every": (1, 40)}
# The other scorer runs the same code.
SMALLEST = ("refund",)
# Blocks per window: an alarm takes two in a row, so that a window has three chances of a false alarm.
N_BLOCKS = 4
MOST_BLOCKS = 12
# The share of windows without drift that may end in each state.
ALLOWED = {"retrain": 0.01, "watch": 0.05}
LEVELS = ("watch", "retrain")
ORDER = ("insufficient", "ok", *LEVELS)


def false_alarms(labelled: Labelled, steady: ScoredRows, windows: int) -> dict[str, float]:
    """The share of windows without drift that end in watch, and in retrain."""
    n, rng, counts = N_BLOCKS * labelled.rows_a_block, np.random.default_rng(7), Counter[str]()
    for _ in tqdm(range(windows), unit="window"):
        counts[labelled.state(labelled.drawn(steady, rng.integers(0, len(steady.time), n)))] += 1
    return {level: counts[level] / windows for level in ALLOWED}


def detection(labelled: Labelled, scored: ScoredRows, weight: npt.NDArray[np.float64], draws: int) -> dict[str, Any]:
    """The worst state of any draw, how many draws reach it, and the median number of requests until they do."""
    share, n = weight / weight.sum(), MOST_BLOCKS * labelled.rows_a_block
    by_draw = []
    for seed in range(draws):
        index = np.random.default_rng(seed).choice(len(share), n, p=share)
        by_draw.append(labelled.states(labelled.drawn(scored, index)))
    worst = max((state for reached in by_draw for state in reached), key=ORDER.index)
    requests = [(reached.index(worst) + 1) * labelled.rows_a_block for reached in by_draw if worst in reached]
    return {"state": worst, "draws": len(requests), "requests": median_low(requests) if worst in LEVELS else None}


def planted(labelled: Labelled, scored: ScoredRows) -> dict[str, Any]:
    """The days from the start of the planted fraud until each state was first reached, and until the rows end."""
    begins = labelled.began + LATE_PATTERN_DAY * SECONDS_A_DAY
    ends = scored.time[0] + np.arange(1, MOST_BLOCKS + 1) * labelled.declared.monitoring.block_days * SECONDS_A_DAY
    days: dict[str, Any] = {"watch": None, "retrain": None, "left": round((scored.time[-1] - begins) / SECONDS_A_DAY)}
    # The last block is incomplete.
    for block_end, state in zip(ends.clip(max=scored.time[-1]), labelled.states(scored), strict=False):
        for level in LEVELS:
            if days[level] is None and ORDER.index(level) <= ORDER.index(state):
                days[level] = round(float(block_end - begins) / SECONDS_A_DAY, 1)
    return days


def measure(name: str, options: Namespace) -> dict[str, Any]:
    """False alarms, detections and the planted fraud of a shipped scorer."""
    labelled = labelled_rows(name, options.every)
    steady = labelled.scored(labelled.steady)
    return {
        "false_alarms": false_alarms(labelled, steady, options.windows),
        "changes": {
            what: detection(labelled, drifted, weight, options.draws)
            for what, drifted, weight in tqdm(drifts(labelled, steady), unit="drift")
        },
        "planted_days": planted(labelled, labelled.scored(labelled.rows)),
    }


def alarms_table(report: Mapping[str, Any]) -> str:
    """False alarms, what each drift leads to, how often, after how many requests (median), and the planted fraud."""
    names = [name for name in SCORERS if name in report]
    scorers = [report[name] for name in names]
    windows = f"{report['windows']} windows of four blocks without drift"
    rows = [[f"{windows}: {level}", *(f"{each['false_alarms'][level]:.1%}" for each in scorers)] for level in LEVELS]
    rows += [
        [what, *(_detected(each["changes"][what], report["draws"]) for each in scorers)]
        for what in scorers[0]["changes"]
    ]
    planted = "the planted fraud, from its first day"
    rows += [[f"{planted}: {level}", *(_days(each["planted_days"], level) for each in scorers)] for level in LEVELS]
    return table([f"`make alarms` on {date_of(report)}", *names], rows)


def _detected(drift: Mapping[str, Any], draws: int) -> str:
    if drift["requests"] is None:
        return f"not detected in {draws} draws"
    return f"{drift['state']} in {drift['draws']} of {draws} draws, after {drift['requests']:,} requests"


def _days(planted: Mapping[str, Any], level: str) -> str:
    if planted[level] is None:
        return f"not within the {planted['left']} days that are left"
    return f"after {planted[level]:g} days"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, and end with an error if there are too many false alarms."""
    options = options_of("monitoring.alarms", __doc__, SIZES, arguments)
    report: dict[str, Any] = {"machine": machine(), "windows": options.windows, "draws": options.draws}
    names = SMALLEST if options.smallest else SCORERS
    report |= {name: measure(name, options) for name in sorted(names)}
    print(alarms_table(report))
    excesses = [
        f"{name}: {report[name]['false_alarms'][level]:.1%} of windows without drift end in {level}, "
        f"at most {ALLOWED[level]:.0%}"
        for name in names
        for level in LEVELS
        if report[name]["false_alarms"][level] > ALLOWED[level]
    ]
    keep("alarms", report, options, excesses)


if __name__ == "__main__":
    main()
