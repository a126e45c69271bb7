"""Evaluate the scorer on the latest window, unused until then: metrics with intervals, tables, and curves."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import joblib
import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import precision_recall_curve, roc_curve

from handler.scoring.features import build_features
from training.data.window import GIVEN, Window
from training.declaration import ScorerDeclaration, declared_scorer
from training.evaluation.calibration import calibrated
from training.evaluation.cost import Money, RankedCosts, declared_money
from training.evaluation.entity_precision import TOP, daily_precision
from training.evaluation.importance import importance_table
from training.evaluation.intervals import (
    DRAWS,
    bootstrap,
    count_groups,
    entity_groups,
    grouped_share_interval,
    interval,
    share_of_sample_interval,
)
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
from training.evaluation.segments import Decisions, segment_table
from training.model.fit import margins, matrix_margins
from training.params import COST_PARTS
from training.run.command import run
from training.run.engine import workers_of
from training.run.files import BUILD, REPORTS, rounded, write_json, write_table
from training.run.matrix import Floats, Labels, Positions
from training.run.progress import say

# As many points as a plot can show; more would only bloat the repository.
CURVE_POINTS = 200

RATES = ("recall", "precision", "false_positive_rate", "alert_rate")
RANKING_SHARES = ("roc_auc", "average_precision", "recall_at_1pct_fpr")
RANKING_METRICS = (*RANKING_SHARES, "brier_score", "expected_calibration_error")
COST_COLUMNS = ["threshold", "alert_rate", "reviews_a_day", *COST_PARTS, "cost_of_1000"]
# What is also measured as if the history did not answer, and how these metrics' names end.
OUTAGE, WITHOUT_HISTORY = ("average_precision", "recall", "precision", "alert_rate"), "_without_history"


@dataclass(frozen=True)
class Evaluation:
    """Scored, labelled rows, whose metrics can be computed under any weights."""

    probability: Floats
    label: Labels
    thresholds: Sequence[float]
    money: Money | None = None
    groups: Positions | None = None
    """What intervals draw together (`Window.drawn_by`), numbered from 0."""
    block: float | None = None
    """From which probability on a request is blocked, and so not reviewed; None where that is declared of none."""

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
        """From which positions on requests are blocked, if they are flagged from these on."""
        return np.minimum(positions, 0 if self.block is None else self.ranking.position_of(self.block))

    def measured(self, weight: Floats) -> Floats:
        """The RANKING_METRICS under the weights of the rows, then the `columns` of each threshold in turn."""
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
    """Metrics with the first threshold, their 95 % intervals, and the table of all thresholds with theirs."""
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
    # Where 6 of 6 frauds are flagged, every draw has a recall of 100 %; Wilson's formula for shares is more accurate.
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


def caught_amounts(evaluation: Evaluation, amount: Floats) -> dict[str, list[float]]:
    """Per threshold the amount of the flagged frauds, in each thousand rows and as a share of that of all frauds."""
    at_risk = np.where(evaluation.label == 1, np.nan_to_num(amount), 0.0)
    caught = [float(at_risk[evaluation.probability >= threshold].sum()) for threshold in evaluation.thresholds]
    total = max(float(at_risk.sum()), 1e-12)
    return {
        "caught_amount_of_1000": [1000 * amount / len(at_risk) for amount in caught],
        "caught_amount_share": [amount / total for amount in caught],
    }


def costs_at(evaluation: Evaluation, money: Money, positions: Positions) -> pd.DataFrame:
    """The parts of what 1,000 requests cost that are flagged from each position on, and the reviews a day."""
    costs, block, n_rows = RankedCosts(evaluation.ranking, money), evaluation.blocked(positions), len(evaluation.label)
    parts = dict(zip(COST_PARTS, 1000 * costs.parts(positions, block) / n_rows, strict=True))
    return pd.DataFrame(parts | {"reviews_a_day": (costs.n_flagged[positions] - costs.n_flagged[block]) / money.days})


def cost_curve(evaluation: Evaluation, money: Money) -> pd.DataFrame:
    """The parts of what 1,000 requests cost by the threshold to flag from, with the declared one to block from."""
    frauds, legitimate = evaluation.ranking.counts()
    flagged = frauds + legitimate
    positions = np.unique(np.clip(np.searchsorted(flagged, np.geomspace(1, flagged[-1], CURVE_POINTS)), 1, None))
    table = costs_at(evaluation, money, positions)
    table.insert(0, "threshold", [evaluation.ranking.threshold_at(position) for position in positions])
    table.insert(1, "alert_rate", flagged[positions] / flagged[-1])
    return table.assign(cost_of_1000=table[list(COST_PARTS)].sum(axis="columns"))[COST_COLUMNS]


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


def reliability(probability: Floats, label: Labels, groups: Positions | None = None) -> pd.DataFrame:
    """Per bin of equally many rows the mean prediction and the observed rate with its 95 % interval."""
    bins = calibration_bins(probability)
    rows = pd.DataFrame({"bin": bins, "predicted": probability, "observed": label})
    table = rows.groupby("bin").agg(
        predicted=("predicted", "mean"), observed=("observed", "mean"), rows=("observed", "size")
    )
    bounds = [grouped_share_interval(label == 1, bins == number, groups) for number in table.index]
    table["low"], table["high"] = zip(*bounds, strict=True)
    return table.reset_index(drop=True)


def without_history(window: Window, scorer: ScorerDeclaration) -> Iterator[pd.DataFrame]:
    """The rows, a row group at a time, as the function sees them while the history does not answer."""
    features = scorer.history.features if scorer.history else ()
    for rows in window.frames(window.names):
        yield rows.assign(**{name: rows.get(f"{name}{GIVEN}", np.nan) for name in features})


def outage(evaluation: Evaluation, *, seed: int) -> tuple[dict[str, float], dict[str, list[float]]]:
    """What is left without the history: the OUTAGE metrics with their intervals, under names that say so."""
    metrics, intervals, _ = measure(evaluation, seed=seed)
    return (
        {f"{name}{WITHOUT_HISTORY}": metrics[name] for name in OUTAGE},
        {f"{name}{WITHOUT_HISTORY}": intervals[name] for name in OUTAGE},
    )


def main(name: str) -> None:
    """Evaluate one scorer: `python -m training.evaluate refund`."""
    scorer = declared_scorer(name)
    folder, report = BUILD / name, REPORTS / name
    fitted = json.loads((folder / "calibration.json").read_text())
    pipeline = joblib.load(folder / "pipeline.joblib")
    window = Window(folder / "rows" / "test.parquet", weight=scorer.split.weight)
    label = window.column(scorer.label)
    points = fitted["operating_points"]
    drawn_by = window.drawn_by(scorer.entity)
    groups = None if drawn_by is None else entity_groups(drawn_by)
    encoder = pipeline[0]
    features = build_features(scorer.contract, encoder.vocabulary_)
    with workers_of(scorer.compute) as workers:
        encoded = encoder.encoded(window, workers)
        margin = matrix_margins(pipeline, encoded)
        probability = calibrated(margin, fitted["calibration"])
        say(f"permutation importance of {len(features.names)} features")
        importance = importance_table(pipeline[-1], encoded, label, features.names, seed=scorer.seed)
        audited = {name: window.column(name) for name in scorer.contract.audited}
        decisions = Decisions(probability, label, points["declared"], groups)
        segments = segment_table(features, encoded, decisions, audited)
    uncalibrated = calibrated(margin, {"slope": 1.0, "intercept": 0.0})
    aims = ["declared", *(aim for aim in points if aim != "declared")]
    money = declared_money(scorer, window.column)
    evaluation = Evaluation(probability, label, [points[aim] for aim in aims], money, groups, points.get("block"))
    metrics, intervals, thresholds = measure(evaluation, seed=scorer.seed)
    caught = caught_amounts(evaluation, window.column(scorer.amount_field)) if scorer.amount_field else {}
    if scorer.history:
        margin = np.concatenate([margins(pipeline, rows) for rows in without_history(window, scorer)])
        left = Evaluation(calibrated(margin, fitted["calibration"]), label, [points["declared"]], groups=groups)
        metrics_left, intervals_left = outage(left, seed=scorer.seed)
        metrics |= metrics_left
        intervals |= intervals_left
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
            (bounds,) = interval(daily[days].mean(axis=1, keepdims=True))
            intervals[f"entity_precision_at_{top}"] = list(
                share_of_sample_interval(bounds, float(daily.mean()), len(daily) * top)
            )
    costs = costs_at(evaluation, money, np.array(evaluation.positions)) if money else {}
    thresholds = thresholds.assign(**costs, **caught, aim=aims)
    tables = {
        **curves(probability, label),
        "reliability": reliability(probability, label, groups),
        "reliability_uncalibrated": reliability(uncalibrated, label, groups),
        "importance": importance,
        "costs": cost_curve(evaluation, money) if money else pd.DataFrame(columns=COST_COLUMNS),
        "segments": segments,
        "thresholds": thresholds.assign(**costs, **caught, aim=aims).sort_values(
            "threshold", ascending=False, kind="stable"
        ),
    }
    for table, content in tables.items():
        write_table(report / f"{table}.csv", content)
    write_json(report / "metrics.json", counts | metrics)
    write_json(report / "intervals.json", intervals)
    say(json.dumps(rounded(counts | metrics), indent=1))


if __name__ == "__main__":
    run(main)
