"""Evaluate the scorer on the test window, from which nothing was learned: metrics with intervals, tables and curves."""

import json
from collections.abc import Iterator

import joblib
import numpy as np
import pandas as pd

from handler.scoring.features import build_features
from training.data.window import GIVEN, Window
from training.declaration import ScorerDeclaration, declared_scorer
from training.evaluation.calibration import calibrated, calibration_bins, expected_calibration_error
from training.evaluation.cost import caught_amounts, declared_money
from training.evaluation.curves import COST_COLUMNS, cost_curve, costs_at, curves, reliability
from training.evaluation.entity_precision import TOP, daily_precision, daily_precision_interval
from training.evaluation.importance import importance_table
from training.evaluation.intervals import entity_groups
from training.evaluation.measure import Evaluation, measure
from training.evaluation.segments import Decisions, segment_table
from training.model.fit import margins, matrix_margins
from training.run.command import run
from training.run.engine import workers_of
from training.run.files import BUILD, REPORTS, rounded_floats, write_json, write_table
from training.run.progress import say

# The metrics that are also measured as if the history did not answer, and the suffix of their names.
OUTAGE, WITHOUT_HISTORY = ("average_precision", "recall", "precision", "alert_rate"), "_without_history"


def without_history(window: Window, scorer: ScorerDeclaration) -> Iterator[pd.DataFrame]:
    """The rows to evaluate, a row group at a time, as the function sees them while the history does not answer."""
    features = scorer.history.features if scorer.history else ()
    for rows in window.frames(window.names):
        yield rows.assign(**{name: rows.get(f"{name}{GIVEN}", np.nan) for name in features})


def outage(evaluation: Evaluation, *, seed: int) -> tuple[dict[str, float], dict[str, list[float]]]:
    """The OUTAGE metrics without the history, and their intervals, under names that end in WITHOUT_HISTORY."""
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
    caught = {}
    if scorer.amount_field:
        caught = caught_amounts(probability, label, evaluation.thresholds, window.column(scorer.amount_field))
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
            intervals[f"entity_precision_at_{top}"] = daily_precision_interval(daily, top, scorer.seed)
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
    say(json.dumps(rounded_floats(counts | metrics), indent=1))


if __name__ == "__main__":
    run(main)
