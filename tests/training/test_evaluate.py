"""Evaluation: the stage's reports are those of the test window and agree with each other."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from handler.scoring.features import feature_names
from training.declaration import ScorerDeclaration
from training.evaluation.measure import RANKING_METRICS, RATES

Read = Callable[[str], Any]

# Without segments.csv, for which the mini scorer has too few rows.
TABLES = ("roc", "precision_recall", "reliability", "reliability_uncalibrated", "importance", "thresholds")


def test_stage_writes_metrics_and_tables(reported: Read, trained_rows: Read) -> None:
    """The metrics are those of the test window, to six significant digits, and every table has its file.

    SMOTE inflates probabilities; calibrated ones err less.
    """
    metrics = reported("metrics.json")
    assert metrics["rows"] == len(trained_rows("test"))
    assert metrics["roc_auc"] > 0.8
    assert metrics["expected_calibration_error"] < metrics["expected_calibration_error_uncalibrated"]
    assert all(value == float(f"{value:.6g}") for value in metrics.values())
    for name in TABLES:
        assert len(reported(f"{name}.csv")) > 1


def test_headline_lies_inside_its_interval(reported: Read) -> None:
    """Every metric with an interval lies within it, bounds included."""
    metrics, intervals = reported("metrics.json"), reported("intervals.json")
    assert list(intervals) == [*RANKING_METRICS, *RATES, "cost_of_1000"]
    outside = {
        name: (low, metrics[name], high) for name, (low, high) in intervals.items() if not low <= metrics[name] <= high
    }
    assert outside == {}


def test_table_of_thresholds(trained: Path, reported: Read) -> None:
    """Down the table thresholds fall, and flagged and caught shares rise; the declared line is the headline.

    Among points with equal thresholds the declared one comes first, on every processor.
    """
    metrics, table = reported("metrics.json"), reported("thresholds.csv")
    [declared] = table[table["aim"] == "declared"].to_dict("records")
    for name in (*RATES, "cost_of_1000"):
        assert declared[name] == metrics[name]
    assert table["threshold"].is_monotonic_decreasing
    for name in ("recall", "false_positive_rate", "alert_rate"):
        assert table[name].is_monotonic_increasing
    points = json.loads((trained / "build" / "mini" / "calibration.json").read_text())["operating_points"]
    aims = ["declared", *(aim for aim in points if aim != "declared")]
    assert table["aim"].tolist() == sorted(aims, key=lambda aim: -points[aim])


@pytest.mark.parametrize("name", ["reliability", "reliability_uncalibrated"])
def test_reliability_tables_hold_the_test_window(reported: Read, name: str) -> None:
    """The bins hold all rows and frauds of the test window, and intervals contain the observed shares."""
    metrics, table = reported("metrics.json"), reported(f"{name}.csv")
    assert table["rows"].sum() == metrics["rows"]
    assert (table["rows"] * table["observed"]).sum() == pytest.approx(metrics["frauds"], abs=1e-3)
    assert ((table["low"] <= table["observed"]) & (table["observed"] <= table["high"])).all()


def test_importance_names_every_feature(reported: Read, mini_scorer: ScorerDeclaration) -> None:
    """Each feature has a line, and the ones that separate the frauds are at the top."""
    table = reported("importance.csv")
    assert sorted(table["feature"]) == sorted(feature_names(mini_scorer.contract))
    assert table["gain"].sum() == pytest.approx(1.0, abs=1e-4)
    assert set(table["feature"][:4]) & {"amount", "amount_per_visit", "momentum", "speed"}


def test_brier_score_is_that_of_the_test_window(reported: Read, calibrated_rows: Read) -> None:
    """The reported Brier score is that of the model and its calibration on the test window."""
    rows, probability = calibrated_rows("test")
    expected = ((probability - rows["is_fraud"]) ** 2).mean()
    assert reported("metrics.json")["brier_score"] == pytest.approx(expected, rel=1e-5)
