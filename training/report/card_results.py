"""The model card's words on how good a model is: measures, calibration, segments."""

from collections.abc import Sequence
from typing import Any

from training.report.card_decisions import costs_in_words
from training.report.markdown import code, number, percent, percent_within, plain, span, table
from training.report.stage_reports import Reports, Row

# Per measure its name, whether it is a share, and its meaning in plain words.
MEASURES = {
    "roc_auc": (
        "ROC AUC",
        False,
        "how often a fraud gets a higher probability than a legitimate request; 0.5: guessing",
    ),
    "average_precision": ("average precision", False, "precision averaged over every recall; guessing gives {rate}"),
    "recall_at_1pct_fpr": (
        "recall at 1 % false positives",
        True,
        "the frauds found where one legitimate request in a hundred may be flagged",
    ),
    "brier_score": (
        "Brier score",
        False,
        "mean squared error of the probabilities; always answering the fraud rate gives {brier}",
    ),
    "expected_calibration_error": (
        "calibration error",
        False,
        "mean distance of predicted and observed fraud rate, over fifteen groups of like probability",
    ),
    "recall": ("at the threshold: recall", True, "the frauds that are flagged"),
    "precision": ("at the threshold: precision", True, "the flagged requests that are fraud"),
    "false_positive_rate": ("at the threshold: false positive rate", True, "the legitimate requests that are flagged"),
    "alert_rate": ("at the threshold: alert rate", True, "all requests that are flagged"),
}
MOST_SEGMENTS = 20
# Of intervals that hold 95 times in 100, so many lie to one side by chance.
BY_CHANCE = 0.05
STEEP = 0.05


def results(reports: Reports) -> str:
    """The measures on the test window, each with its interval and its meaning."""
    rate = reports.metrics["fraud_rate"]
    guesses = {"rate": number(rate), "brier": number(rate * (1 - rate))}
    lines = [
        [name, shown(value), span(reports.intervals[measure], is_share=is_share), meaning.format(**guesses)]
        for measure, (name, is_share, meaning) in MEASURES.items()
        for shown, value in [(percent if is_share else number, reports.metrics[measure])]
    ]
    for measure, value in reports.metrics.items():
        if measure.startswith("entity_precision_at_"):
            top = measure.rsplit("_", 1)[1]
            entity = code(reports.scorer.entity or "entity")
            bounds = span(reports.intervals[measure], is_share=True) if measure in reports.intervals else ""
            lines.append(
                [f"frauds among the top {top}", percent(value), bounds, f"of each day's riskiest {entity} values"]
            )
    if costs := costs_in_words(reports):
        column, meaning = costs
        bounds = span(reports.intervals["cost_of_1000"], is_share=False)
        lines.append([f"at the threshold: {column}", number(reports.metrics["cost_of_1000"]), bounds, meaning])
    return (
        f"## How good it is\n\nMeasured on the {reports.metrics['rows']:,} rows of the test window, "
        f"{reports.metrics['frauds']:,} of them fraud, which are later than all that was learned or chosen.\n\n"
        f"{table('lrrl', ['measure', 'value', '95 % interval', 'meaning'], lines)}\n\n"
        "The interval says how far the value may lie from that of other rows of the same kind: by drawing the test "
        "rows again (bootstrap), for shares by Wilson's formula; that of the calibration error is centred on the "
        "value, because draws are noisier than rows. It covers the "
        "chance of which rows happened to come, and takes rows of one customer for as independent as any others. It "
        "does not cover a change of the fraud, wrong labels, or another choice of model.\n"
    )


def calibration(reports: Reports) -> str:
    """What calibration did to the probabilities, and how close they came on later rows."""
    slope, intercept = (reports.manifest["calibration"][name] for name in ("slope", "intercept"))
    if slope < 1 - STEEP:
        steep = "less than one: the trees were too sure of themselves, and probabilities move towards the middle"
    elif slope > 1 + STEEP:
        steep = "more than one: the trees were too timid, and probabilities move apart"
    else:
        steep = "about one: the trees were about as sure as they may be"
    after = reports.metrics["expected_calibration_error"]
    before = reports.metrics["expected_calibration_error_uncalibrated"]
    expected = sum(row["predicted"] * row["rows"] for row in reports.reliability)
    return (
        "## Calibration\n\n"
        f"The trees' log-odds are multiplied by {number(slope)} ({steep}), and {number(intercept)} is added; "
        f"both numbers come from calibration rows at their natural fraud rate (Platt 1999). "
        f"On the test window predicted and observed fraud rates are {number(100 * after)} percentage points apart on "
        f"average, {number(100 * before)} before calibration. In all, {number(expected)} frauds were predicted and "
        f"{reports.metrics['frauds']:,} found.\n"
    )


def segments(reports: Reports) -> str:
    """The categories, those that differ from the whole marked and first to be kept where not all can be shown."""
    heading = "## Segments\n\n"
    if not reports.segments:
        return f"{heading}No category has enough rows in the test window to be judged by itself.\n"
    marks = [_marks(row, reports.metrics) for row in reports.segments]
    kept = sorted(range(len(marks)), key=lambda at: _urgency(reports.segments[at], marks[at]))[:MOST_SEGMENTS]
    intervals = sum(
        row[f"{name}_low"] is not None for row in reports.segments for name in ("recall", "false_positive_rate")
    )
    lines = [_segment_line(reports.segments[at], marks[at]) for at in sorted(kept)]
    headers = ["feature", "category", "rows", "frauds", "fraud rate", "predicted", "recall", "false positive rate"]
    return (
        f"{heading}Decisions by category, on the test window. A category is marked where a whole 95 % interval lies to "
        f"one side of the overall recall ({percent(reports.metrics['recall'])}) or false positive rate "
        f"({percent(reports.metrics['false_positive_rate'])}): {sum(map(bool, marks)):,} of {len(marks):,} are. Of "
        f"{intervals:,} intervals about {intervals * BY_CHANCE:.0f} would lie so by chance alone."
        f"{_left_out(reports, len(kept))}\n\n{table('llrrrrrrl', [*headers, 'mark'], lines)}\n"
    )


def _marks(row: Row, metrics: dict[str, Any]) -> Sequence[str]:
    """In which ways a segment differs from the whole by more than chance."""
    words = {
        "recall": ("recall below", "recall above"),
        "false_positive_rate": ("fewer false alarms", "more false alarms"),
    }
    found = []
    for name, (below, above) in words.items():
        if row[f"{name}_low"] is not None and row[f"{name}_high"] < metrics[name]:
            found.append(below)
        if row[f"{name}_low"] is not None and row[f"{name}_low"] > metrics[name]:
            found.append(above)
    return found


def _urgency(row: Row, marks: Sequence[str]) -> tuple[bool, bool, bool, float]:
    """Segments that miss frauds first, then those with false alarms, then others that are marked, then the largest."""
    return "recall below" not in marks, "more false alarms" not in marks, not marks, -row["rows"]


def _left_out(reports: Reports, n_kept: int) -> str:
    if n_kept == len(reports.segments):
        return ""
    return f" {n_kept:,} are shown; all are in `reports/{reports.name}/segments.csv`."


def _segment_line(row: Row, marks: Sequence[str]) -> list[str]:
    rates = [
        "too few" if row[name] is None else percent_within(row[name], row[f"{name}_low"], row[f"{name}_high"])
        for name in ("recall", "false_positive_rate")
    ]
    counts = [f"{row[name]:,.0f}" for name in ("rows", "frauds")]
    shares = [percent(row[name]) for name in ("fraud_rate", "predicted_rate")]
    mark = f"**{', '.join(marks)}**" if marks else ""
    return [code(row["feature"]), plain(row["segment"]), *counts, *shares, *rates, mark]
