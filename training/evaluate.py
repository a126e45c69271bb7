"""Evaluate: the latest window, which nothing before has seen -> the metrics, and the curves as DVC plots."""

import json
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from handler.features import feature_names
from training.calibrate import calibrated
from training.declaration import declared_scorer
from training.files import BUILD, DIGITS, REPORTS, write_json, write_text
from training.stage import run
from training.train import margins

LOW_FPR = 0.01
# More points than a plot can show; a million would only bloat the repository.
CURVE_POINTS = 200
RELIABILITY_BINS = 10

Probabilities = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int8]


def measure(probability: Probabilities, label: Labels, threshold: float) -> dict[str, Any]:
    """The headline metrics of calibrated probabilities; rates are in [0, 1]."""
    is_flagged = probability >= threshold
    is_fraud = label == 1
    caught = int((is_flagged & is_fraud).sum())
    false_positive_rate, recall, _ = roc_curve(label, probability, drop_intermediate=False)
    return {
        "rows": len(label),
        "frauds": int(is_fraud.sum()),
        "fraud_rate": float(is_fraud.mean()),
        "roc_auc": float(roc_auc_score(label, probability)),
        "average_precision": float(average_precision_score(label, probability)),
        "recall_at_1pct_fpr": float(recall[false_positive_rate <= LOW_FPR].max()),
        "brier_score": float(brier_score_loss(label, probability)),
        "precision": caught / max(int(is_flagged.sum()), 1),
        "recall": caught / int(is_fraud.sum()),
        "false_positive_rate": float(is_flagged[~is_fraud].mean()),
        "alert_rate": float(is_flagged.mean()),
    }


def curves(probability: Probabilities, label: Labels) -> dict[str, pd.DataFrame]:
    """The ROC, precision-recall and reliability curves, each thinned to what a plot can show."""
    false_positive_rate, recall, _ = roc_curve(label, probability)
    precision, pr_recall, _ = precision_recall_curve(label, probability)
    bins = pd.qcut(pd.Series(probability), RELIABILITY_BINS, duplicates="drop")
    reliability = pd.DataFrame({"predicted": probability, "observed": label}).groupby(bins, observed=True).mean()
    return {
        "roc": _thinned(pd.DataFrame({"false_positive_rate": false_positive_rate, "recall": recall})),
        "precision_recall": _thinned(pd.DataFrame({"recall": pr_recall, "precision": precision})),
        "reliability": reliability.reset_index(drop=True),
    }


def _thinned(curve: pd.DataFrame) -> pd.DataFrame:
    """At most CURVE_POINTS of a curve's points, evenly spaced, the ends among them."""
    return curve.iloc[np.unique(np.linspace(0, len(curve) - 1, CURVE_POINTS).round().astype(int))]


def gain_importance(pipeline: Any, names: list[str]) -> pd.DataFrame:  # noqa: ANN401 - imblearn has no types
    """Each feature's share of the total gain of the model's splits, largest first."""
    gains = pipeline[-1].get_booster().get_score(importance_type="total_gain")
    total = sum(gains.values())
    shares = [gains.get(f"f{index}", 0.0) / total for index in range(len(names))]
    table = pd.DataFrame({"feature": names, "gain": shares})
    return table.sort_values(["gain", "feature"], ascending=[False, True], ignore_index=True)


def main(name: str) -> None:
    """Evaluate one scorer: `python -m training.evaluate refund`."""
    scorer = declared_scorer(name)
    folder, report = BUILD / name, REPORTS / name
    fitted = json.loads((folder / "calibration.json").read_text())
    pipeline = joblib.load(folder / "pipeline.joblib")
    rows = pd.read_parquet(folder / "rows" / "test.parquet")
    label = rows[scorer.label].to_numpy()
    probability = calibrated(margins(pipeline, rows), fitted["calibration"])
    metrics = measure(probability, label, fitted["decision"]["threshold"])
    tables = curves(probability, label)
    tables["importance"] = gain_importance(pipeline, feature_names(scorer.contract))
    for table, content in tables.items():
        text = content.to_csv(index=False, float_format=f"%.{DIGITS}g", lineterminator="\n")
        write_text(report / f"{table}.csv", text)
    write_json(report / "metrics.json", metrics)
    print(json.dumps(metrics, indent=1))  # noqa: T201 - the stage's report


if __name__ == "__main__":
    run(main)
