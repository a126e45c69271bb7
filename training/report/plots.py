"""The model card's plots: rows of the reports -> figures."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.figure import Figure

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

Row = dict[str, Any]

MOST_FEATURES = 12
QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)


def precision_recall(curve: Sequence[Row], thresholds: Sequence[Row], declared: Row, fraud_rate: float) -> Figure:
    """The precision-recall curve, the declared threshold on it with its 95 % intervals, and what guessing gives."""
    figure, axes = blank_axes()
    # The curve's points are few where recall is low; the thresholds of the report lie there.
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


def reliability(calibrated: Sequence[Row], uncalibrated: Sequence[Row]) -> Figure:
    """The observed fraud rate of each bin, with its 95 % interval, over the predicted one; both axes by decades.

    Rare fraud would be a dot in the corner of linear axes. A bin without frauds stands on the lower edge.
    """
    figure, axes = blank_axes()
    rows = [*calibrated, *uncalibrated]
    ticks = decades(row[name] for row in rows for name in ("predicted", "observed"))
    floor = ticks[0]
    axes.plot([floor, 1], [floor, 1], color=GREY, linestyle=":")
    for table, color, filling in ((uncalibrated, GREY, "none"), (calibrated, BLUE, BLUE)):
        raised = [{name: max(row[name], floor) for name in ("predicted", "observed", "low", "high")} for row in table]
        renamed = [row | {"observed_low": row["low"], "observed_high": row["high"]} for row in raised]
        spread = _reach(renamed, "observed")
        x, y = _column(raised, "predicted"), _column(raised, "observed")
        axes.errorbar(x, y, spread, fmt="o", color=color, markerfacecolor=filling, elinewidth=0.7)
    axes.set(xscale="log", yscale="log", xlabel="predicted probability", ylabel="observed fraud rate")
    for side in ("x", "y"):
        percent_ticks(axes, side, ticks)
    write_key(figure, ("● calibrated", BLUE), ("○ before", GREY))
    return figure


def tradeoff(thresholds: Sequence[Row], declared: float) -> Figure:
    """Recall, precision and alert rate over the threshold, by decades, with bands of their 95 % intervals."""
    figure, axes = blank_axes()
    rows = sorted({row["threshold"]: row for row in thresholds}.values(), key=lambda row: float(row["threshold"]))
    at = _column(rows, "threshold")
    for name, color, line in (("recall", BLUE, "-"), ("precision", ORANGE, "--"), ("alert_rate", INK, ":")):
        low, high = _column(rows, f"{name}_low"), _column(rows, f"{name}_high")
        axes.fill_between(at, low, high, color=color, alpha=0.2, linewidth=0)
        axes.plot(at, _column(rows, name), color=color, linestyle=line, marker=".")
    axes.axvline(declared, color=GREY)
    axes.set(xscale="log", xlabel="threshold (vertical line: the declared one)")
    percent_ticks(axes, "x", decades(at))
    percent_ticks(axes, "y", QUARTERS)
    write_key(figure, ("— recall", BLUE), ("-- precision", ORANGE), ("·· alert rate", INK))
    return figure


def importance(features: Sequence[Row]) -> Figure:
    """Bars: each feature's share of gain, and the average precision lost without it, with its spread."""
    shown = features[:MOST_FEATURES]
    figure, (gain, lost) = line_axes(_column(shown, "feature"), panels=2)
    gain.barh(range(len(shown)), _column(shown, "gain"), color=BLUE, height=0.6)
    values, spread = _column(shown, "permutation"), _column(shown, "permutation_std")
    lost.barh(range(len(shown)), values, xerr=spread, color=ORANGE, height=0.6, ecolor=INK)
    gain.set_xlabel("share of gain")
    lost.set_xlabel("average precision lost when shuffled")
    round_ticks(gain, "x", [0.0, *_column(shown, "gain")])
    round_ticks(
        lost, "x", [0.0, *(value + sign * std for value, std in zip(values, spread, strict=True) for sign in (-1, 1))]
    )
    return figure


def candidates(report: dict[str, Any]) -> Figure:
    """The average precision of each candidate: its folds as dots, their mean and standard deviation as a bar."""
    figure, (axes,) = line_axes(list(report))
    found = [candidate["average_precision"] for candidate in report.values()]
    for line, of_candidate in enumerate(found):
        axes.plot(of_candidate["folds"], [line] * len(of_candidate["folds"]), "o", color=GREY, markersize=2)
    axes.errorbar(
        _column(found, "mean"), range(len(found)), xerr=_column(found, "std"), fmt="|", color=BLUE, markersize=7
    )
    axes.set_xlabel("average precision on the folds")
    ends = [of["mean"] + sign * of["std"] for of in found for sign in (-1, 1)]
    round_ticks(axes, "x", [*ends, *(value for of in found for value in of["folds"])])
    return figure


def arms(report: dict[str, Any]) -> Figure:
    """How far each resampling arm's average precision is from the declared arm's, with 95 % intervals."""
    figure, (axes,) = line_axes(list(report))
    found = [arm["average_precision"] for arm in report.values()]
    axes.axvline(0, color=GREY, linestyle=":")
    for line, of_arm in enumerate(found):
        axes.plot(of_arm["interval"], [line, line], color=BLUE)
    axes.plot(_column(found, "difference"), range(len(found)), "o", color=BLUE)
    axes.set_xlabel("average precision minus the declared one's")
    round_ticks(axes, "x", [0.0, *(bound for of_arm in found for bound in of_arm["interval"])])
    return figure


def history(trials: Sequence[Row]) -> Figure:
    """The average precision of each trial of the tuning, hollow where it was stopped early, and the best so far."""
    figure, axes = blank_axes()
    numbers, values = list(range(1, len(trials) + 1)), _column(trials, "average_precision")
    best: list[float] = []
    for trial in trials:
        before = best[-1] if best else -math.inf
        best.append(max(before, trial["average_precision"]) if trial["is_whole"] else before)
    axes.step(numbers, best, where="post", color=ORANGE)
    for is_whole, filling in ((True, BLUE), (False, "none")):
        kept = [at for at, trial in enumerate(trials) if trial["is_whole"] == is_whole]
        x, y = [numbers[at] for at in kept], [values[at] for at in kept]
        axes.plot(x, y, "o", color=BLUE, markerfacecolor=filling, clip_on=False)
    axes.set(xlabel="trial", ylabel="average precision on the folds")
    round_ticks(axes, "x", [0.0, *numbers])
    round_ticks(axes, "y", values)
    write_key(figure, ("— best so far", ORANGE), ("● trial", BLUE), ("○ stopped early", BLUE))
    return figure


def _column(rows: Iterable[Row], name: str) -> list[Any]:
    return [row[name] for row in rows]


def _reach(rows: Sequence[Row], name: str) -> tuple[list[float], list[float]]:
    """How far the intervals of a value reach below and above it."""
    below = [max(row[name] - row[f"{name}_low"], 0.0) for row in rows]
    return below, [max(row[f"{name}_high"] - row[name], 0.0) for row in rows]
