"""The shipped scorers' own reports, as tables: metrics, candidates, thresholds, resampling, calibration."""

from typing import Any

import pandas as pd

from benchmarks import tables
from benchmarks.command import REPORTS
from benchmarks.quality.part import AbsentError, Line, Part
from benchmarks.quality.resampling import variant_lines
from benchmarks.tables import SCORERS, number, table, with_interval
from training.declaration import read_params

METRICS = (
    ("ROC AUC", "roc_auc"),
    ("average precision", "average_precision"),
    ("recall at 1 % false positive rate", "recall_at_1pct_fpr"),
    ("Brier score", "brier_score"),
    ("expected calibration error", "expected_calibration_error"),
    ("the same without recalibration", "expected_calibration_error_uncalibrated"),
    ("at the threshold: recall", "recall"),
    ("at the threshold: precision", "precision"),
    ("at the threshold: false positive rate", "false_positive_rate"),
    ("at the threshold: alert rate", "alert_rate"),
    ("cost of 1,000 requests, USD", "cost_of_1000"),
    ("test rows", "rows"),
    ("of which fraud", "frauds"),
)
# The largest calibration error that a scorer may have on its test window.
LIMITS = {"transaction": 0.005}


def report(scorer: str, name: str) -> dict[str, Any]:
    """A report of a scorer.

    Raises AbsentError where no stage has written it.
    """
    try:
        return tables.report(f"{scorer}/{name}")
    except FileNotFoundError as error:
        raise AbsentError(f"{error.filename} is absent; run `make train`") from error


def shipped_variants() -> Part:
    """The resampling variants of every declared scorer, from its last run of training.compare."""
    reports = {scorer: report(scorer, "resampling.json") for scorer in read_params().scorers}
    lines = [line for scorer, content in reports.items() for line in variant_lines(scorer, content["arms"])]
    return Part(lines, [f"{scorer}: {content['verdict']}" for scorer, content in reports.items()])


def calibration() -> Part:
    """Every declared scorer's calibration error on its test window, with and without the recalibration."""
    lines: list[Line] = []
    for scorer in read_params().scorers:
        metrics = report(scorer, "metrics.json")
        error = metrics["expected_calibration_error"]
        raw = metrics["expected_calibration_error_uncalibrated"]
        lines.append({"scorer": scorer, "limit": LIMITS.get(scorer), "ece": error, "ece_uncalibrated": raw})
    over = [line["scorer"] for line in lines if line["limit"] is not None and line["ece"] > line["limit"]]
    return Part(lines, [f"OVER THE LIMIT: {', '.join(over)}" if over else "the calibration errors are within limits"])


def metrics_table() -> str:
    """The headline metrics of both scorers on the test window."""
    metrics = [report(scorer, "metrics.json") for scorer in SCORERS]
    intervals = [report(scorer, "intervals.json") for scorer in SCORERS]
    rows = []
    for title, key in METRICS:
        shown = [with_interval(m[key], i.get(key)) for m, i in zip(metrics, intervals, strict=True)]
        rows.append([title, *([f"{m[key]:,}" for m in metrics] if key in {"rows", "frauds"} else shown)])
    return table(["on the test window", *SCORERS], rows)


def candidates_table() -> str:
    """The candidates' average precision on the folds, mean and spread."""
    by_scorer = [report(scorer, "selection.json")["candidates"] for scorer in SCORERS]
    rows = []
    for name in by_scorer[0]:
        cells = [name.replace("_", " ")]
        for candidates in by_scorer:
            precision = candidates[name]["average_precision"]
            cells += [f"{precision['mean']:.3f} ± {precision['std']:.3f}", f"{candidates[name]['size_kb']:,} kB"]
        rows.append(cells)
    return table(["candidate", "transaction: AP", "size", "refund: AP", "size"], rows)


def thresholds_table() -> str:
    """The transaction scorer's thresholds, chosen on calibration rows, measured on the test window."""
    thresholds = pd.read_csv(REPORTS / "transaction" / "thresholds.csv")
    columns = ("recall", "precision", "false_positive_rate", "cost_of_1000")
    rows = [
        [row["aim"], number(row["threshold"])]
        + [with_interval(row[name], [row[f"{name}_low"], row[f"{name}_high"]]) for name in columns]
        for _, row in thresholds.iterrows()
    ]
    return table(["aim", "threshold", "recall", "precision", "false positive rate", "cost of 1,000, USD"], rows)
