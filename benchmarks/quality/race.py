"""`make try` beside AutoGluon and plain XGBoost, on the same rows and the same later test window: `make bench-automl`.

AutoGluon runs in an environment of its own (.venv-automl) with its defaults, as long as `--minutes` allows. Its results
are cached below build/, because they do not depend on this project's code. A set whose file is absent is skipped.
"""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.command import REPORTS, keep, options_of
from benchmarks.machine import machine
from benchmarks.quality.contestants import Entry, tried, with_autogluon, with_xgboost
from benchmarks.quality.race_sets import SETS, RacedSet
from benchmarks.quality.sets import AbsentError
from benchmarks.tables import date_of, number, report, table
from training.evaluation.intervals import bootstrap, interval
from training.evaluation.metrics import average_precision, rank, recall_at_fpr, roc_auc
from training.run.matrix import Floats, Labels
from training.run.progress import say

# AutoGluon's minutes per set, the calls whose median is the time of a row, and the N of one in N rows. The smallest run
# uses one in 60 refunds and FEWEST_SECONDS.
SIZES = {"minutes": (10, 0), "latency_calls": (200, 5), "one_in": (1, 60)}
FEWEST_SECONDS = 30
SMALLEST = ["refund"]
SEED = 7
METRICS = {"roc_auc": roc_auc, "average_precision": average_precision, "recall_at_1pct_fpr": recall_at_fpr}
CONTESTANTS = {"try": "`make try`", "autogluon": "AutoGluon", "xgboost": "plain XGBoost"}
TITLES = {"ulb": "ULB", "bitcoin": "Bitcoin OTC"}


def windows_of(raced_set: RacedSet, labels: Labels) -> dict[str, pd.DataFrame]:
    """The training and test rows for the other contestants; the test window is the last rows, which have these labels.

    The time is dropped; if it is a datetime, its hour and day of the week are added, as `make try` does. Raises
    SystemExit if the last rows have other labels, because then `make try` did not keep the rows as they are.
    """
    time = raced_set.rows[raced_set.time]
    rows = raced_set.rows.drop(columns=raced_set.time)
    if pd.api.types.is_datetime64_any_dtype(time):
        rows = rows.assign(hour_of_day=time.dt.hour, day_of_week=time.dt.day_of_week)
    n_before = len(rows) - len(labels)
    test = rows.iloc[n_before:].reset_index(drop=True)
    if not np.array_equal(test[raced_set.label].to_numpy(), labels):
        raise SystemExit("the test window of make try is not the last rows of the file, which the others are tested on")
    return {"train": rows.iloc[:n_before], "test": test}


def compared(entries: Mapping[str, Entry], labels: Labels) -> dict[str, dict[str, Any]]:
    """Per contestant, its facts, its METRICS and the first contestant's lead in each, with paired 95 % intervals."""
    rankings = [rank(entry.scores, labels) for entry in entries.values()]

    def statistic(weight: Floats | None) -> Floats:
        counts = [ranking.counts(weight) for ranking in rankings]
        values = np.array([[metric(*of) for metric in METRICS.values()] for of in counts])
        return np.stack([values, values[0] - values])

    shape = (2, len(entries), len(METRICS), 2)
    drawn = bootstrap(lambda weight: statistic(weight).ravel(), labels, seed=SEED)
    values, bounds = statistic(None), np.array(interval(drawn)).reshape(shape)
    return {
        name: entry.facts
        | {
            metric: {
                "value": values[0, place, column],
                "interval": bounds[0, place, column].tolist(),
                "lead": values[1, place, column],
                "lead_interval": bounds[1, place, column].tolist(),
            }
            for column, metric in enumerate(METRICS)
        }
        for place, (name, entry) in enumerate(entries.items())
    }


def race(name: str, options: Namespace) -> dict[str, Any]:
    """One set's report; raises AbsentError if its file is absent."""
    raced_set = SETS[name]()
    raced_set = RacedSet(raced_set.rows.iloc[:: options.one_in], raced_set.label, raced_set.time)
    say(f"{name}: {len(raced_set.rows):,} rows: make try")
    with TemporaryDirectory() as folder:
        ours, labels = tried(name, raced_set, Path(folder), options.latency_calls)
    windows = windows_of(raced_set, labels)
    entries = {"try": ours}
    say(f"{name}: AutoGluon")
    try:
        seconds = max(60 * options.minutes, FEWEST_SECONDS)
        entries["autogluon"] = with_autogluon(name, windows, raced_set.label, seconds)
    except AbsentError as error:
        if options.record:
            raise SystemExit(f"nothing is recorded without AutoGluon: {error}") from error
        say(f"AutoGluon is left out: {error}")
    entries["xgboost"] = with_xgboost(**windows, label=raced_set.label, n_calls=options.latency_calls)
    counts = {"train_rows": len(windows["train"]), "test_rows": len(labels), "test_frauds": int(labels.sum())}
    return {"machine": machine(), **counts, "contestants": compared(entries, labels)}


def race_table(sets: Mapping[str, Any]) -> str:
    """Per set and contestant, its metrics, the lead of `make try` in each, and its time and size."""
    rows = [
        [TITLES.get(name, name) if contestant == "try" else "", CONTESTANTS[contestant]]
        + [_with_lead(measured[metric]) for metric in METRICS]
        + [f"{number(measured['cpu_seconds'])} s", f"{number(measured['bytes'] / 1e6)} MB"]
        + [f"{number(measured['row_cpu_seconds'] * 1e6)} µs"]
        for name, raced in sets.items()
        for contestant, measured in raced["contestants"].items()
    ]
    heading = ["set", "model", "ROC AUC", "average precision", "recall at 1 % FPR", "training", "artifact", "one row"]
    return table(heading, rows)


def race_caption(sets: Mapping[str, Any]) -> str:
    """Which version of AutoGluon raced, when, and how long it was allowed to take."""
    recorded = [raced["contestants"]["autogluon"] for raced in sets.values()]
    versions = sorted({facts["version"] for facts in recorded})
    minutes = sorted({facts["time_limit_seconds"] / 60 for facts in recorded})
    limit = " to ".join(f"{bound:.0f}" for bound in dict.fromkeys((minutes[0], minutes[-1])))
    dates = sorted({date_of(raced) for raced in sets.values()})
    return f"AutoGluon {', '.join(versions)} had at most {limit} minutes a set (recorded on {', '.join(dates)})"


def _with_lead(metric: Mapping[str, Any]) -> str:
    low, high = metric["lead_interval"]
    lead = f", {metric['lead']:+.3f} ({low:+.3f} to {high:+.3f})" if low < high else ""
    return f"{metric['value']:.3f}{lead}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Race on each set; with `--record`, these sets' results replace the recorded ones."""
    options = options_of("quality.race", __doc__, SIZES, arguments, SETS)
    sets: dict[str, Any] = report("race.json") if (REPORTS / "race.json").is_file() else {}
    for name in SMALLEST if options.smallest else options.only:
        try:
            sets[name] = race(name, options)
        except AbsentError as error:
            say(f"{name} is skipped: {error}")
            continue
        say(race_table({name: sets[name]}))
        keep("race", {raced: sets[raced] for raced in SETS if raced in sets}, options)


if __name__ == "__main__":
    main()
