"""The figures of a scorer's model card: rows of the reports -> pictures."""

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

from matplotlib.figure import Figure

from training.params import COST_PARTS
from training.report.axes import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    blank_axes,
    decades,
    line_axes,
    percent_ticks,
    round_ticks,
    write_key,
)
from training.report.card_reports import Reports, Row
from training.report.html import Picture
from training.report.markdown import percent

MOST_FEATURES = 12
QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)


def pictures(reports: Reports) -> dict[str, Picture]:
    """The pictures by name, without those of comparisons that were not made."""
    declared, metrics = reports.declared, reports.metrics
    at_threshold = f"recall is {percent(declared['recall'])} and precision {percent(declared['precision'])}"
    figures = {
        "importance": Picture(
            "What the model uses, and what it would lose",
            "Bars per feature; the table of features above has the numbers.",
            partial(importance_figure, reports.importance),
        ),
        "precision_recall": Picture(
            "Precision and recall on the test window",
            f"Precision falls as recall grows. At the declared threshold {at_threshold}.",
            partial(
                precision_recall_figure,
                reports.precision_recall,
                reports.thresholds,
                declared,
                metrics["fraud_rate"],
            ),
        ),
        "tradeoff": Picture(
            "What a threshold does on the test window",
            f"A higher threshold gives fewer alerts and catches fewer frauds. At the declared one {at_threshold}.",
            partial(tradeoff_figure, reports.thresholds, declared["threshold"]),
        ),
        "reliability": Picture(
            "Predicted and observed fraud rate on the test window",
            "Groups of similar probability, before and after calibration, with 95 % intervals, on logarithmic axes. "
            "On the dotted line both rates are equal.",
            partial(reliability_figure, reports.reliability, reports.reliability_uncalibrated),
        ),
    }
    if reports.costs:
        figures["costs"] = Picture(
            "What 1,000 requests cost, by the share that is flagged",
            f"On the test window. At the declared threshold {percent(declared['alert_rate'])} are flagged.",
            partial(cost_figure, reports.costs, declared["alert_rate"]),
        )
    if report := reports.resampling:
        draw = partial(variants_figure, report["variants"])
        figures["variants"] = Picture("Ways to rebalance", f"With 95 % intervals. {report['verdict']}.", draw)
    if report := reports.selection:
        draw = partial(candidates_figure, report["candidates"])
        figures["candidates"] = Picture("Kinds of model", f"Mean and spread over folds. {report['verdict']}.", draw)
    if report := reports.tuning:
        draw = partial(tuning_figure, report["trials"])
        figures["history"] = Picture("The search for parameters", f"One dot per trial. {report['verdict']}.", draw)
    return figures


def precision_recall_figure(
    curve: Sequence[Row], thresholds: Sequence[Row], declared: Row, fraud_rate: float
) -> Figure:
    """The precision-recall curve, the declared threshold on it with its 95 % intervals, and what guessing gives."""
    figure, axes = blank_axes()
    # The curve has few points where recall is low; the report's thresholds add some there.
    points = sorted([*curve, *thresholds], key=lambda row: (row["recall"], -row["precision"]))
    axes.plot(_column(points, "recall"), _column(points, "precision"), color=BLUE)
    axes.axhline(fraud_rate, color=GREY, linestyle=":")
    recall, precision = declared["recall"], declared["precision"]
    axes.errorbar(
        recall, precision, _reach([declared], "precision"), _reach([declared], "recall"), fmt="o", color=ORANGE
    )
    for side in ("x", "y"):
        percent_ticks(axes, side, QUARTERS)
    axes.set(xlabel="recall", ylabel="precision")
    write_key(figure, ("● declared threshold", ORANGE), ("·· guessing", GREY))
    return figure


def reliability_figure(calibrated: Sequence[Row], uncalibrated: Sequence[Row]) -> Figure:
    """The observed fraud rate of each bin, with its 95 % interval, over the predicted one, on logarithmic axes.

    On linear axes rare fraud would be a dot in the corner. A bin without frauds is drawn at the lower edge.
    """
    figure, axes = blank_axes()
    rows = [*calibrated, *uncalibrated]
    ticks = decades(row[name] for row in rows for name in ("predicted", "observed"))
    floor = ticks[0]
    columns = {"predicted": "predicted", "observed": "observed", "low": "observed_low", "high": "observed_high"}
    axes.plot([floor, 1], [floor, 1], color=GREY, linestyle=":")
    for table, color, filling in ((uncalibrated, GREY, "none"), (calibrated, BLUE, BLUE)):
        bins = [{columns[name]: max(row[name], floor) for name in columns} for row in table]
        x, y = _column(bins, "predicted"), _column(bins, "observed")
        axes.errorbar(x, y, _reach(bins, "observed"), fmt="o", color=color, markerfacecolor=filling, elinewidth=0.7)
    axes.set(xscale="log", yscale="log", xlabel="predicted probability", ylabel="observed fraud rate")
    for side in ("x", "y"):
        percent_ticks(axes, side, ticks)
    write_key(figure, ("● calibrated", BLUE), ("○ before", GREY))
    return figure


def tradeoff_figure(thresholds: Sequence[Row], declared: float) -> Figure:
    """Recall, precision and alert rate over the threshold (logarithmic), with bands of their 95 % intervals."""
    figure, axes = blank_axes()
    rows = sorted({row["threshold"]: row for row in thresholds}.values(), key=lambda row: float(row["threshold"]))
    x = _column(rows, "threshold")
    for name, color, line in (("recall", BLUE, "-"), ("precision", ORANGE, "--"), ("alert_rate", INK, ":")):
        low, high = _column(rows, f"{name}_low"), _column(rows, f"{name}_high")
        axes.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)
        axes.plot(x, _column(rows, name), color=color, linestyle=line, marker=".")
    axes.axvline(declared, color=GREY)
    axes.set(xscale="log", xlabel="threshold (vertical line: the declared one)")
    percent_ticks(axes, "x", decades(x))
    percent_ticks(axes, "y", QUARTERS)
    write_key(figure, ("— recall", BLUE), ("-- precision", ORANGE), ("·· alert rate", INK))
    return figure


def cost_figure(curve: Sequence[Row], declared: float) -> Figure:
    """The parts of the cost of 1,000 requests, stacked, over the share that is flagged (logarithmic)."""
    figure, axes = blank_axes()
    x, below = _column(curve, "alert_rate"), [0.0] * len(curve)
    words = (("missed", BLUE), ("not recovered", GREY), ("reviews", ORANGE), ("insults", INK))
    for name, (_, color) in zip(COST_PARTS, words, strict=True):
        above = [low + part for low, part in zip(below, _column(curve, name), strict=True)]
        axes.fill_between(x, below, above, color=color, alpha=0.6, linewidth=0)
        below = above
    axes.axvline(declared, color=INK)
    axes.set(xscale="log", xlabel="flagged requests (vertical line: the declared threshold)")
    percent_ticks(axes, "x", decades(x))
    round_ticks(axes, "y", [0.0, *below])
    write_key(figure, *words)
    return figure


def importance_figure(features: Sequence[Row]) -> Figure:
    """Bars: each feature's share of gain, and the average precision lost without it, with its spread."""
    shown = features[:MOST_FEATURES]
    figure, (gain, lost) = line_axes(_column(shown, "feature"), panels=2)
    gain.barh(range(len(shown)), _column(shown, "gain"), color=BLUE, height=0.6)
    values, spread = _column(shown, "permutation"), _column(shown, "permutation_std")
    lost.barh(range(len(shown)), values, xerr=spread, color=ORANGE, height=0.6, ecolor=INK)
    gain.set_xlabel("share of gain")
    lost.set_xlabel("average precision lost when shuffled")
    round_ticks(gain, "x", [0.0, *_column(shown, "gain")])
    round_ticks(lost, "x", [0.0, *_ends(values, spread)])
    return figure


def candidates_figure(report: dict[str, Any]) -> Figure:
    """The average precision of each candidate: its folds as dots, their mean and standard deviation as a bar."""
    figure, (axes,) = line_axes(list(report))
    scores = [candidate["average_precision"] for candidate in report.values()]
    for line, score in enumerate(scores):
        axes.plot(score["folds"], [line] * len(score["folds"]), "o", color=GREY, markersize=2)
    means, spread = _column(scores, "mean"), _column(scores, "std")
    axes.errorbar(means, range(len(scores)), xerr=spread, fmt="|", color=BLUE, markersize=7)
    axes.set_xlabel("average precision on the folds")
    round_ticks(axes, "x", [*_ends(means, spread), *(value for score in scores for value in score["folds"])])
    return figure


def variants_figure(report: dict[str, Any]) -> Figure:
    """How far each resampling variant's average precision is from the chosen one's, with 95 % intervals."""
    figure, (axes,) = line_axes(list(report))
    scores = [variant["average_precision"] for variant in report.values()]
    axes.axvline(0, color=GREY, linestyle=":")
    for line, score in enumerate(scores):
        axes.plot(score["interval"], [line, line], color=BLUE)
    axes.plot(_column(scores, "difference"), range(len(scores)), "o", color=BLUE)
    axes.set_xlabel("average precision minus the chosen one's")
    round_ticks(axes, "x", [0.0, *(bound for score in scores for bound in score["interval"])])
    return figure


def tuning_figure(trials: Sequence[Row]) -> Figure:
    """The average precision of each tuning trial, and the best so far."""
    figure, axes = blank_axes()
    numbers, values = list(range(1, len(trials) + 1)), _column(trials, "average_precision")
    best = list(accumulate(values, max))
    axes.step(numbers, best, where="post", color=ORANGE)
    axes.plot(numbers, values, "o", color=BLUE, clip_on=False)
    axes.set(xlabel="trial", ylabel="average precision on the folds")
    round_ticks(axes, "x", [0.0, *numbers])
    round_ticks(axes, "y", values)
    write_key(figure, ("— best so far", ORANGE), ("● trial", BLUE))
    return figure


def _column(rows: Iterable[Row], name: str) -> list[Any]:
    return [row[name] for row in rows]


def _ends(values: Sequence[float], spread: Sequence[float]) -> list[float]:
    """Where bars of one standard deviation around values end."""
    return [value + sign * std for value, std in zip(values, spread, strict=True) for sign in (-1, 1)]


def _reach(rows: Sequence[Row], name: str) -> tuple[list[float], list[float]]:
    """How far the intervals of a value reach below and above it."""
    below = [max(row[name] - row[f"{name}_low"], 0.0) for row in rows]
    return below, [max(row[f"{name}_high"] - row[name], 0.0) for row in rows]
