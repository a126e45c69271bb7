"""Evaluation: metrics of cases that can be worked out by hand, thinned curves, shares of gain."""

import json
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest

from handler.features import feature_names
from training.declaration import Scorer
from training.evaluate import CURVE_POINTS, curves, gain_importance, measure


def labels(*values: int) -> np.ndarray:
    """Labels as the stages hold them."""
    return np.array(values, dtype=np.int8)


def test_worked_case() -> None:
    """Every metric of six rows equals what pencil and paper give."""
    found = measure(np.array([0.9, 0.8, 0.7, 0.6, 0.2, 0.1]), labels(1, 0, 1, 0, 0, 0), 0.65)
    assert found == pytest.approx(
        {
            "rows": 6,
            "frauds": 2,
            "fraud_rate": 1 / 3,
            "roc_auc": 7 / 8,  # of 2 x 4 pairs, one (0.7 against 0.8) is the wrong way round
            "average_precision": (1 / 1 + 2 / 3) / 2,
            "recall_at_1pct_fpr": 1 / 2,
            "brier_score": (0.01 + 0.64 + 0.09 + 0.36 + 0.04 + 0.01) / 6,
            "precision": 2 / 3,
            "recall": 1.0,
            "false_positive_rate": 1 / 4,
            "alert_rate": 3 / 6,
        }
    )


def test_score_at_the_threshold_is_flagged() -> None:
    """The threshold itself is flagged, as the function does."""
    assert measure(np.array([0.5, 0.4]), labels(1, 0), 0.5)["alert_rate"] == 0.5


def test_perfect_model() -> None:
    """A model that knows the label has perfect metrics."""
    label = labels(*([1] * 10 + [0] * 990))
    found = measure(label.astype(float), label, 0.5)
    for name in ("roc_auc", "average_precision", "recall_at_1pct_fpr", "precision", "recall"):
        assert found[name] == 1.0
    assert found["brier_score"] == found["false_positive_rate"] == 0.0
    assert found["alert_rate"] == found["fraud_rate"] == 0.01


def test_random_model() -> None:
    """A model that guesses has an area of a half and the fraud rate as its precision."""
    rng = np.random.default_rng(4)
    label = (rng.random(50_000) < 0.05).astype(np.int8)
    found = measure(rng.random(50_000), label, 0.9)
    assert found["roc_auc"] == pytest.approx(0.5, abs=0.02)
    assert found["average_precision"] == pytest.approx(label.mean(), abs=0.01)
    assert found["recall_at_1pct_fpr"] == pytest.approx(0.01, abs=0.01)
    assert found["precision"] == pytest.approx(label.mean(), abs=0.02)
    assert found["recall"] == pytest.approx(0.1, abs=0.03)


def test_nothing_flagged() -> None:
    """A threshold above every score gives zeros, not an error."""
    found = measure(np.array([0.1, 0.2]), labels(0, 1), 0.9)
    assert found["precision"] == found["recall"] == found["alert_rate"] == 0.0


def test_curves_are_thinned_and_keep_their_ends() -> None:
    """However many rows there are, a curve has at most 200 points, its first and last among them."""
    rng = np.random.default_rng(5)
    label = (rng.random(20_000) < 0.2).astype(np.int8)
    tables = curves(rng.random(20_000), label)
    for name in ("roc", "precision_recall"):
        assert 100 < len(tables[name]) <= CURVE_POINTS == 200
    roc, precision_recall = tables["roc"], tables["precision_recall"]
    assert roc.iloc[[0, -1]].to_numpy().tolist() == [[0, 0], [1, 1]]
    assert precision_recall.iloc[0]["recall"] == 1
    assert precision_recall.iloc[0]["precision"] == pytest.approx(label.mean())
    assert precision_recall.iloc[-1].tolist() == [0, 1]
    assert roc["false_positive_rate"].is_monotonic_increasing
    assert roc["recall"].is_monotonic_increasing


def test_short_curve_stays_whole() -> None:
    """A curve with fewer points than a plot can show keeps them all, each once."""
    roc = curves(np.array([0.9, 0.8, 0.7, 0.1]), labels(1, 0, 1, 0))["roc"]
    assert roc.to_numpy().tolist() == [[0, 0], [0, 0.5], [0.5, 0.5], [0.5, 1], [1, 1]]


def test_reliability_of_calibrated_probabilities() -> None:
    """Where probabilities are true, each of the ten bins observes what it predicts."""
    rng = np.random.default_rng(6)
    probability = rng.random(100_000)
    reliability = curves(probability, (rng.random(100_000) < probability).astype(np.int8))["reliability"]
    assert len(reliability) == 10
    assert (reliability["observed"] - reliability["predicted"]).abs().max() < 0.02


def test_reliability_of_tied_probabilities() -> None:
    """A shallow model gives many rows one probability; every row is still in a bin."""
    probability = np.repeat([0.01, 0.02, 0.9], [500, 450, 50])
    reliability = curves(probability, labels(*([0] * 950 + [1] * 50)))["reliability"]
    assert len(reliability) >= 2
    assert reliability.iloc[-1].tolist() == pytest.approx([0.9, 1.0])


def test_importance_shares_sum_to_one(trained: Path, mini_scorer: Scorer) -> None:
    """Each feature has its share of the gain, largest first, and the shares are a whole."""
    names = feature_names(mini_scorer.contract)
    table = gain_importance(joblib.load(trained / "build" / "mini" / "pipeline.joblib"), names)
    assert sorted(table["feature"]) == sorted(names)
    assert table["gain"].sum() == pytest.approx(1.0)
    assert table["gain"].is_monotonic_decreasing
    assert (table["gain"] >= 0).all()
    assert set(table["feature"][:4]) & {"amount", "amount_per_visit", "momentum", "speed"}


def test_stage_writes_metrics_and_curves(trained: Path) -> None:
    """The metrics are those of the test window, to six significant digits, and every plot has its file."""
    folder = trained / "reports" / "mini"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["rows"] == len(pd.read_parquet(trained / "build" / "mini" / "rows" / "test.parquet"))
    assert metrics["roc_auc"] > 0.8
    assert all(value == float(f"{value:.6g}") for value in metrics.values())
    for name in ("roc", "precision_recall", "reliability", "importance"):
        assert len(pd.read_csv(folder / f"{name}.csv")) > 1
