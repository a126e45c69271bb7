"""The README's tables of quality, from the reports."""

from typing import Any

import pandas as pd

from benchmarks.readme_table import REPORTS, SCORERS, number, report, table, with_interval

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
    found = [report(f"{scorer}/selection.json")["candidates"] for scorer in SCORERS]
    rows = []
    for name in found[0]:
        cells = [name.replace("_", " ")]
        for candidates in found:
            precision = candidates[name]["average_precision"]
            cells += [f"{precision['mean']:.3f} ± {precision['std']:.3f}", f"{candidates[name]['size_kb']:,} kB"]
        rows.append(cells)
    return table(["candidate", "transaction: AP", "size", "refund: AP", "size"], rows)


def thresholds_table() -> str:
    """The transaction scorer's thresholds, chosen on calibration rows, measured on the test window."""
    found = pd.read_csv(REPORTS / "transaction" / "thresholds.csv")
    columns = ("recall", "precision", "false_positive_rate", "cost_of_1000")
    rows = [
        [row["aim"], number(row["threshold"])]
        + [with_interval(row[name], [row[f"{name}_low"], row[f"{name}_high"]]) for name in columns]
        for _, row in found.iterrows()
    ]
    return table(["aim", "threshold", "recall", "precision", "false positive rate", "cost of 1,000, USD"], rows)


HANDBOOK = {
    "chapter 3": "chapter 3, its settings",
    "chapter 5": "chapter 5 (four test weeks), its settings",
    "chapter 5, its best in hindsight": "chapter 5, its best settings in hindsight",
    "tuned": "chapter 5, this project's tuning alone",
    "ratios, with the best in hindsight": "five declared ratios, the best settings in hindsight",
    "ratios, tuned": "five declared ratios, this project's tuning",
}


def quality(part: str) -> list[dict[str, Any]]:
    """The lines of a part of the recorded quality benchmark."""
    lines: list[dict[str, Any]] = report("quality.json")[part]["lines"]
    return lines


def handbook_table() -> str:
    """The handbook's published numbers beside ours."""
    rows = []
    for line in quality("handbook"):
        cells = [HANDBOOK[line["measured"]]]
        for name in ("roc_auc", "average_precision", "card_precision_100"):
            published, spread = line[f"{name}_published"], line[f"{name}_std"]
            ours = f"{line[name]:.4f}" + ("" if spread is None else f" ± {spread:.3f}")
            cells.append(ours + ("" if published is None else f" (published {published:.3f})"))
        rows.append(cells)
    return table(["handbook protocol", "ROC AUC", "average precision", "card precision@100"], rows)


def ulb_table() -> str:
    """ULB by time beside what others published."""
    titles = {key: title for title, key in METRICS}
    rows = [
        [titles[line["measured"]], line["published"]]
        + [with_interval(line[arm], [line[f"{arm} low"], line[f"{arm} high"]]) for arm in ("none", "smote 0.1")]
        for line in quality("ulb")
    ]
    return table(["ULB, the last fifth", "published", "no resampling", "SMOTE 0.1"], rows)


def resampling_table() -> str:
    """Every arm on every set; the declared one, with which the others are compared, is the one without a gain."""
    rows = []
    for part in ("shipped_arms", "handbook_arms", "ulb_arms"):
        for line in quality(part):
            gain = f"{line['gain']:+.3f} ({line['gain_low']:+.3f} to {line['gain_high']:+.3f})"
            declared = line["gain_low"] == line["gain_high"] == 0
            measured = [f"{line['average_precision']:.3f}", "declared" if declared else gain]
            rows.append([line["set"], line["arm"], *measured])
            rows[-1] += [number(line[name]) for name in ("recall_at_1pct_fpr", "ece_raw", "ece")]
    heading = ["set", "arm", "average precision", "gain", "recall at 1 % FPR", "calibration error", "recalibrated"]
    return table(heading, rows)


FRESH = {
    "population": "what the resamples are drawn from: the bound's promise",
    "left-out rows": "the rows a resample left out (few frauds: noise on top)",
    "other half": "a random half that was never drawn from (the same)",
    "test window": "the later test window, where the fraud has changed",
}


def recall_bound_table() -> str:
    """How often the recall target is met on fresh rows, with the confidence bound and without."""
    found = {(line["scorer"], line["fresh"]): line for line in quality("recall_bound")}
    rows = [
        [title] + [f"{found[scorer, fresh][f'kept_{kind}']:.1%}" for scorer in SCORERS for kind in ("bound", "plain")]
        for fresh, title in FRESH.items()
    ]
    heading = [f"{scorer}: {kind}" for scorer in SCORERS for kind in ("with the bound", "without")]
    return table(["fresh rows", *heading], rows)
