"""The shipped scorers' own reports, as tables: metrics, candidates, thresholds."""

from benchmarks.command import REPORTS
from benchmarks.tables import SCORERS, number, report, table, with_interval
from training.run.files import read_table

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


def metrics_table() -> str:
    """The headline metrics of both scorers on the test window."""
    metrics = [report(f"{scorer}/metrics.json") for scorer in SCORERS]
    intervals = [report(f"{scorer}/intervals.json") for scorer in SCORERS]
    rows = []
    for title, key in METRICS:
        shown = [with_interval(m[key], i.get(key)) for m, i in zip(metrics, intervals, strict=True)]
        rows.append([title, *([f"{m[key]:,}" for m in metrics] if key in {"rows", "frauds"} else shown)])
    return table(["on the test window", *SCORERS], rows)


def candidates_table() -> str:
    """The candidates' average precision on the folds, mean and spread."""
    by_scorer = [report(f"{scorer}/selection.json")["candidates"] for scorer in SCORERS]
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
    thresholds = read_table(REPORTS / "transaction" / "thresholds.csv")
    columns = ("recall", "precision", "false_positive_rate", "cost_of_1000")
    rows = [
        [row["aim"], number(row["threshold"])]
        + [with_interval(row[name], [row[f"{name}_low"], row[f"{name}_high"]]) for name in columns]
        for _, row in thresholds.iterrows()
    ]
    return table(["aim", "threshold", "recall", "precision", "false positive rate", "cost of 1,000, USD"], rows)
