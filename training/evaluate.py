"""Evaluate: the latest window, which nothing before has seen -> metrics with intervals, tables, curves as DVC plots."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import joblib
import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import precision_recall_curve, roc_curve

from handler.scoring.features import build_features
from training.data.window import Window
from training.declaration import declared_scorer
from training.evaluation.calibration import calibrated
from training.evaluation.entity_precision import TOP, daily_precision
from training.evaluation.importance import importance_table
from training.evaluation.intervals import DRAWS, bootstrap, interval, share_interval
from training.evaluation.metrics import (
    Ranking,
    average_precision,
    brier_score,
    calibration_bins,
    expected_calibration_error,
    rank,
    recall_at_fpr,
    roc_auc,
)
from training.evaluation.segments import segment_table
from training.evaluation.threshold import cost_of
from training.model.fit import matrix_margins
from training.params import Costs
from training.run.command import run
from training.run.engine import workers_of
from training.run.files import BUILD, REPORTS, rounded, write_json, write_table
from training.run.matrix import Floats, Labels
from training.run.progress import say

# More points than a plot can show; a million would only bloat the repository.
CURVE_POINTS = 200

RATES = ("recall", "precision", "false_positive_rate", "alert_rate")
RANKING_METRICS = ("roc_auc", "average_precision", "recall_at_1pct_fpr", "brier_score", "expected_calibration_error")


@dataclass(frozen=True)
class Evaluation:
    """Scored rows, ready to be measured under any weights."""

    probability: Floats
    label: Labels
    thresholds: Sequence[float]
    amount: Floats | None = None
    costs: Costs | None = None

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
        """What is measured at each threshold."""
        return (*RATES, "cost_of_1000") if self.costs else RATES

    @cached_property
    def positions(self) -> list[int]:
        """Where each threshold stands in the ranking's counts."""
        return [self.ranking.position_of(threshold) for threshold in self.thresholds]

    def measured(self, weight: Floats) -> Floats:
        """The RANKING_METRICS under the weights of the rows, then the `columns` of threshold after threshold."""
        frauds, legitimate = self.ranking.counts(weight)
        of_ranking = [
            roc_auc(frauds, legitimate),
            average_precision(frauds, legitimate),
            recall_at_fpr(frauds, legitimate),
            brier_score(self.probability, self.label, weight),
            expected_calibration_error(self.probability, self.label, self.bins, weight),
        ]
        caught, wrong, total = frauds[self.positions], legitimate[self.positions], weight.sum()
        flagged = caught + wrong
        rates = [caught / frauds[-1], caught / np.maximum(flagged, 1e-12), wrong / legitimate[-1], flagged / total]
        if self.amount is not None and self.costs is not None:
            cost = cost_of(self.ranking, frauds + legitimate, self.amount, self.costs, weight)
            rates.append(1000 * cost[self.positions] / total)
        return np.concatenate([of_ranking, np.stack(rates, axis=1).ravel()])

    def share_intervals(self) -> list[list[tuple[float, float]]]:
        """Per threshold the 95 % intervals of the RATES (Wilson 1927)."""
        frauds, legitimate = self.ranking.counts()
        caught, wrong = frauds[self.positions].tolist(), legitimate[self.positions].tolist()
        return [
            [
                share_interval(right, frauds[-1]),
                share_interval(right, right + false),
                share_interval(false, legitimate[-1]),
                share_interval(right + false, len(self.label)),
            ]
            for right, false in zip(caught, wrong, strict=True)
        ]


def measure(evaluation: Evaluation, *, seed: int) -> tuple[dict[str, float], dict[str, list[float]], pd.DataFrame]:
    """Metrics with the first threshold, their 95 % intervals, and the table of all thresholds with theirs."""
    say(f"bootstrap: {DRAWS:,} draws of {len(evaluation.label):,} rows")
    draws = bootstrap(evaluation.measured, evaluation.label, seed=seed)
    whole = evaluation.measured(np.ones(len(evaluation.label)))
    # A calibration error only grows with noise, and draws are noisier than the rows: without that bias they are
    # centred on what was measured.
    error = RANKING_METRICS.index("expected_calibration_error")
    draws[:, error] = np.maximum(draws[:, error] - np.median(draws[:, error]) + whole[error], 0.0)
    drawn, values = [*interval(draws)], whole.tolist()
    # Of 6 frauds that are all flagged every draw says 100 %. For shares there is a formula that knows better.
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


def curves(probability: Floats, label: Labels) -> dict[str, pd.DataFrame]:
    """The ROC and precision-recall curves, each thinned to what a plot can show."""
    false_positive_rate, recall, _ = roc_curve(label, probability)
    precision, pr_recall, _ = precision_recall_curve(label, probability)
    return {
        "roc": _thinned(pd.DataFrame({"false_positive_rate": false_positive_rate, "recall": recall})),
        "precision_recall": _thinned(pd.DataFrame({"recall": pr_recall, "precision": precision})),
    }


def _thinned(curve: pd.DataFrame) -> pd.DataFrame:
    """At most CURVE_POINTS of a curve's points, evenly spaced along its length, the ends among them."""
    length = np.concatenate([[0.0], np.cumsum(curve.diff().abs().sum(axis="columns").to_numpy()[1:])])
    kept = np.searchsorted(length, np.linspace(0, length[-1], CURVE_POINTS))
    return curve.iloc[np.unique(np.append(kept, len(curve) - 1))]


def reliability(probability: Floats, label: Labels) -> pd.DataFrame:
    """Per bin of equally many rows the mean prediction and the observed rate with its 95 % interval (Wilson 1927)."""
    rows = pd.DataFrame({"bin": calibration_bins(probability), "predicted": probability, "observed": label})
    table = rows.groupby("bin").agg(
        predicted=("predicted", "mean"), observed=("observed", "mean"), rows=("observed", "size"), n=("observed", "sum")
    )
    bounds = [share_interval(n, size) for n, size in zip(table.n, table.rows, strict=True)]
    table["low"], table["high"] = zip(*bounds, strict=True)
    return table.drop(columns="n").reset_index(drop=True)


def main(name: str) -> None:
    """Evaluate one scorer: `python -m training.evaluate refund`."""
    scorer = declared_scorer(name)
    folder, report = BUILD / name, REPORTS / name
    fitted = json.loads((folder / "calibration.json").read_text())
    pipeline = joblib.load(folder / "pipeline.joblib")
    window = Window(folder / "rows" / "test.parquet")
    label = window.column(scorer.label)
    points = fitted["operating_points"]
    encoder = pipeline[0]
    features = build_features(scorer.contract, encoder.vocabulary_)
    with workers_of(scorer.compute) as workers:
        encoded = encoder.encoded(window, workers)
        margin = matrix_margins(pipeline, encoded)
        probability = calibrated(margin, fitted["calibration"])
        say(f"permutation importance of {len(features.names)} features")
        importance = importance_table(pipeline[-1], encoded, label, features.names, seed=scorer.seed)
        segments = segment_table(features, encoded, probability, label, points["declared"])
    uncalibrated = calibrated(margin, {"slope": 1.0, "intercept": 0.0})
    aims = ["declared", *(aim for aim in points if aim != "declared")]
    amount = window.column(scorer.costs.amount) if scorer.costs else None
    evaluation = Evaluation(probability, label, [points[aim] for aim in aims], amount, scorer.costs)
    metrics, intervals, thresholds = measure(evaluation, seed=scorer.seed)
    counts = {"rows": len(label), "frauds": int(label.sum()), "fraud_rate": float(label.mean())}
    metrics["expected_calibration_error_uncalibrated"] = expected_calibration_error(
        uncalibrated, label, calibration_bins(uncalibrated)
    )
    if scorer.entity:
        entity, seconds = window.column(scorer.entity), window.column(scorer.time)
        for top in TOP:
            daily = daily_precision(entity, seconds, probability, label, top)
            metrics[f"entity_precision_at_{top}"] = float(daily.mean())
            days = np.random.default_rng(scorer.seed).integers(0, len(daily), (DRAWS, len(daily)))
            intervals[f"entity_precision_at_{top}"] = list(interval(daily[days].mean(axis=1, keepdims=True))[0])
    tables = {
        **curves(probability, label),
        "reliability": reliability(probability, label),
        "reliability_uncalibrated": reliability(uncalibrated, label),
        "importance": importance,
        "segments": segments,
        "thresholds": thresholds.assign(aim=aims).sort_values("threshold", ascending=False, kind="stable"),
    }
    for table, content in tables.items():
        write_table(report / f"{table}.csv", content)
    write_json(report / "metrics.json", counts | metrics)
    write_json(report / "intervals.json", intervals)
    say(json.dumps(rounded(counts | metrics), indent=1))


if __name__ == "__main__":
    run(main)
