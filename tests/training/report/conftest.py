"""Reports on the mini scorer, written by hand, so that a test can predict every number."""

from typing import Any

import pytest

from training.declaration import ScorerDeclaration
from training.report.card_reports import Reports

METRICS = {
    "rows": 1000,
    "frauds": 50,
    "fraud_rate": 0.05,
    "roc_auc": 0.9,
    "average_precision": 0.4,
    "recall_at_1pct_fpr": 0.3,
    "brier_score": 0.04,
    "expected_calibration_error": 0.002,
    "recall": 0.8,
    "precision": 0.1,
    "false_positive_rate": 0.07,
    "alert_rate": 0.08,
    "cost_of_1000": 1234.5,
    "expected_calibration_error_uncalibrated": 0.02,
}
FEATURES = ("amount", "speed", "visits", "country", "is_new", "item_kind", "amount_per_visit", "momentum")
FOLDS = {"mean": 0.4, "std": 0.1, "folds": [0.3, 0.5]}


def threshold_row(aim: str, threshold: float, recall: float, precision: float) -> dict[str, Any]:
    """One operating point of the report; the intervals reach .05 to each side."""
    row: dict[str, Any] = {"threshold": threshold}
    rates = {name: METRICS[name] for name in ("false_positive_rate", "alert_rate", "cost_of_1000")}
    for name, value in {"recall": recall, "precision": precision, **rates}.items():
        row |= {name: value, f"{name}_low": value - 0.05, f"{name}_high": value + 0.05}
    parts = {"missed": 1000.0, "not_recovered": 4.5, "reviews": 200.0, "insults": 30.0}
    return row | parts | {"reviews_a_day": 97.3, "aim": aim}


def segment_row(segment: str, recall: float) -> dict[str, Any]:
    """One category of the report; the intervals reach .05 to each side."""
    row: dict[str, Any] = {"feature": "country", "segment": segment, "rows": 500.0, "frauds": 20.0}
    row |= {"fraud_rate": 0.04, "predicted_rate": 0.03, "alert_rate": 0.08}
    for name, value in (("recall", recall), ("false_positive_rate", METRICS["false_positive_rate"])):
        row |= {name: value, f"{name}_low": value - 0.05, f"{name}_high": value + 0.05}
    return row


def bin_row(predicted: float, observed: float) -> dict[str, float]:
    """One bin of a reliability report."""
    return {"predicted": predicted, "observed": observed, "rows": 500.0, "low": observed / 2, "high": observed * 2}


@pytest.fixture(scope="session")
def reports(mini_scorer: ScorerDeclaration) -> Reports:
    """Reports on the mini scorer as its stages would write them; the promised recall of 90 % is missed."""
    window = {
        "from": "2025-01-01T00:00:00",
        "to": "2025-02-01T12:30:00",
        "rows": 1000,
        "frauds": 50,
        "fraud_rate": 0.05,
    }
    variant = {"value": 0.4, "difference": 0.0, "interval": [0.0, 0.0]}
    return Reports(
        name="mini",
        scorer=mini_scorer,
        manifest={
            "version": "abc123abc123",
            "contract": mini_scorer.contract.model_dump(mode="json"),
            "calibration": {"slope": 0.8, "intercept": -1.0},
            "decision": {"policy": {"recall": 0.9}, "threshold": 0.012345678},
            "metrics": METRICS,
            "libraries": {"scikit-learn": "1.9.0"},
            "windows": dict.fromkeys(("train", "calibrate", "test"), window),
        },
        rows={
            "rows": 2000,
            "quarantined": {"rows": 0, "reasons": {}},
            "windows": dict.fromkeys(("train", "test"), window),
            "warnings": [],
        },
        training={
            "rows_learned_from": 1200,
            "model": {"rounds": 20, "max_depth": 3, "learning_rate": 0.3, "subsample": 0.7, "threads": 2},
            "resampling": mini_scorer.resampling.model_dump(),
            "texts": {"item": {"answered": 0.8, "accuracy_answered": 0.95}},
        },
        metrics=METRICS,
        intervals={name: [value * 0.95, value * 1.05] for name, value in METRICS.items()},
        thresholds=[threshold_row("recall 0.5", 0.3, 0.4, 0.8), threshold_row("declared", 0.0123457, 0.9, 0.2)],
        segments=[segment_row("DE", 0.8), segment_row("NA", 0.2)],
        importance=[
            {"feature": name, "gain": 0.5 / number, "permutation": 0.02 * number, "permutation_std": 0.001}
            for number, name in enumerate(FEATURES, start=1)
        ],
        reliability=[bin_row(0.01, 0.0), bin_row(0.1, 0.08)],
        reliability_uncalibrated=[bin_row(0.02, 0.02), bin_row(0.2, 0.08)],
        precision_recall=[{"recall": 1.0, "precision": 0.05}, {"recall": 0.0, "precision": 1.0}],
        costs=[
            {"alert_rate": rate, "missed": 90.0 - rate, "not_recovered": rate, "reviews": 9 * rate, "insults": 2.0}
            for rate in (0.01, 0.1, 1.0)
        ],
        selection={
            "verdict": "xgboost is ahead by 0.1 +- 0.2",
            "candidates": {name: {"average_precision": FOLDS} for name in ("xgboost", "random_forest")},
        },
        resampling={
            "is_automatic": False,
            "chosen": "smote 0.3",
            "verdict": "none is no better",
            "variants": {name: {"average_precision": variant} for name in ("none", "smote 0.3")},
        },
        tuning={
            "verdict": "none of 2 trials is better",
            "searched": ["subsample"],
            "trials": [
                {"average_precision": 0.4},
                {"average_precision": 0.35},
                {"average_precision": 0.45},
            ],
        },
    )
