"""Metrics of scored, labelled rows at some thresholds, with their 95 % intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from training.evaluation.calibration import brier_score, calibration_bins, expected_calibration_error
from training.evaluation.cost import Money, RankedCosts
from training.evaluation.intervals import (
    DRAWS,
    bootstrap,
    count_groups,
    grouped_share_interval,
    interval,
    share_of_sample_interval,
)
from training.evaluation.metrics import Ranking, average_precision, rank, recall_at_fpr, roc_auc
from training.run.matrix import Floats, Labels, Positions
from training.run.progress import say

RATES = ("recall", "precision", "false_positive_rate", "alert_rate")
RANKING_SHARES = ("roc_auc", "average_precision", "recall_at_1pct_fpr")
RANKING_METRICS = (*RANKING_SHARES, "brier_score", "expected_calibration_error")


@dataclass(frozen=True)
class Evaluation:
    """Scored, labelled rows, whose metrics can be computed under any weights."""

    probability: Floats
    label: Labels
    thresholds: Sequence[float]
    money: Money | None = None
    groups: Positions | None = None
    """Each row's group, numbered from 0; intervals draw the rows of a group together (`Window.drawn_by`)."""
    block: float | None = None
    """The probability from which a request is blocked instead of reviewed; None if no blocking is declared."""

    @cached_property
    def ranking(self) -> Ranking:
        """The rows by falling probability."""
        return rank(self.probability, self.label)

    @cached_property
    def bins(self) -> npt.NDArray[np.intp]:
        """Each row's bin of the calibration error."""
        return calibration_bins(self.probability)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the metrics at each threshold."""
        return (*RATES, "cost_of_1000") if self.money else RATES

    @cached_property
    def positions(self) -> list[int]:
        """The position of each threshold in the ranking's counts."""
        return [self.ranking.position_of(threshold) for threshold in self.thresholds]

    def blocked(self, positions: npt.ArrayLike) -> Positions:
        """The positions of the thresholds to block from, if those to flag from are at `positions`."""
        return np.minimum(positions, 0 if self.block is None else self.ranking.position_of(self.block))

    def measured(self, weight: Floats) -> Floats:
        """The RANKING_METRICS with one weight per row, then the `columns` of each threshold in turn."""
        frauds, legitimate = self.ranking.counts(weight)
        ranking_metrics = [
            roc_auc(frauds, legitimate),
            average_precision(frauds, legitimate),
            recall_at_fpr(frauds, legitimate),
            brier_score(self.probability, self.label, weight),
            expected_calibration_error(self.probability, self.label, self.bins, weight),
        ]
        caught, false_alarms, total = frauds[self.positions], legitimate[self.positions], weight.sum()
        flagged = caught + false_alarms
        rates = [
            caught / frauds[-1],
            caught / np.maximum(flagged, 1e-12),
            false_alarms / legitimate[-1],
            flagged / total,
        ]
        if self.money:
            costs = RankedCosts(self.ranking, self.money, weight)
            rates.append(1000 * costs.total(self.positions, self.blocked(self.positions)) / total)
        return np.concatenate([ranking_metrics, np.stack(rates, axis=1).ravel()])

    def share_intervals(self) -> list[list[tuple[float, float]]]:
        """Per threshold the 95 % intervals of the RATES (`grouped_share_interval`)."""
        is_fraud, every = self.label == 1, np.ones(len(self.label), dtype=bool)
        intervals = []
        for threshold in self.thresholds:
            flagged = self.probability >= threshold
            shares = ((flagged, is_fraud), (is_fraud, flagged), (flagged, ~is_fraud), (flagged, every))
            intervals.append([grouped_share_interval(hits, cases, self.groups) for hits, cases in shares])
        return intervals


def measure(evaluation: Evaluation, *, seed: int) -> tuple[dict[str, float], dict[str, list[float]], pd.DataFrame]:
    """The metrics at the first threshold, their 95 % intervals, and a table of both for all thresholds."""
    say(f"bootstrap: {DRAWS:,} draws of {len(evaluation.label):,} rows")
    draws = bootstrap(evaluation.measured, evaluation.label, seed=seed, groups=evaluation.groups)
    whole = evaluation.measured(np.ones(len(evaluation.label)))
    # Noise only increases a calibration error, and draws are noisier than the rows; to remove that bias the draws are
    # centred on the measured error.
    error = RANKING_METRICS.index("expected_calibration_error")
    draws[:, error] = np.maximum(draws[:, error] - np.median(draws[:, error]) + whole[error], 0.0)
    drawn, values = [*interval(draws)], whole.tolist()
    n_fewer = min(count_groups(evaluation.label == label, evaluation.groups) for label in (0, 1))
    for position in map(RANKING_METRICS.index, RANKING_SHARES):
        drawn[position] = share_of_sample_interval(drawn[position], values[position], n_fewer)
    # If 6 of 6 frauds are flagged, every draw has a recall of 100 %; Wilson's formula for shares is more accurate.
    width, first = len(evaluation.columns), len(RANKING_METRICS)
    for number, bounds in enumerate(evaluation.share_intervals()):
        start = first + number * width
        drawn[start : start + len(RATES)] = bounds
    names = [*RANKING_METRICS, *evaluation.columns]
    metrics = dict(zip(names, values, strict=False))
    intervals = {name: list(bounds) for name, bounds in zip(names, drawn, strict=False)}
    table: list[dict[str, float]] = []
    for number, threshold in enumerate(evaluation.thresholds):
        start = first + number * width
        line = {"threshold": threshold}
        for column, value, (low, high) in zip(
            evaluation.columns, values[start : start + width], drawn[start : start + width], strict=True
        ):
            line |= {column: value, f"{column}_low": low, f"{column}_high": high}
        table.append(line)
    return metrics, intervals, pd.DataFrame(table)
