"""The quality of decisions for each category that has enough rows."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from handler.scoring.features import Features
from training.evaluation.intervals import share_interval
from training.run.matrix import FeatureMatrix, Floats, Labels, Matrix

MIN_ROWS = 200
MIN_FRAUDS = 10
COLUMNS = [
    *("feature", "segment", "rows", "frauds", "fraud_rate", "predicted_rate", "alert_rate"),
    *("recall", "recall_low", "recall_high"),
    *("false_positive_rate", "false_positive_rate_low", "false_positive_rate_high"),
]


def segment_table(
    features: Features, rows: Matrix | FeatureMatrix, probability: Floats, label: Labels, threshold: float
) -> pd.DataFrame:
    """One row per category with at least MIN_ROWS rows, "(missing)" included; rates with 95 % intervals (Wilson 1927).

    Recall is empty where a segment has fewer than MIN_FRAUDS frauds.
    """
    is_flagged, is_fraud = probability >= threshold, label == 1
    segments = []
    for feature, name, member in _segments(features, rows):
        if (n := int(member.sum())) < MIN_ROWS:
            continue
        frauds, legitimate = member & is_fraud, member & ~is_fraud
        segments.append(
            {
                "feature": feature,
                "segment": name,
                "rows": n,
                "frauds": int(frauds.sum()),
                "fraud_rate": float(is_fraud[member].mean()),
                "predicted_rate": float(probability[member].mean()),
                "alert_rate": float(is_flagged[member].mean()),
                **_share("recall", is_flagged[frauds], known=int(frauds.sum()) >= MIN_FRAUDS),
                **_share("false_positive_rate", is_flagged[legitimate], known=bool(legitimate.any())),
            }
        )
    return pd.DataFrame(segments, columns=COLUMNS)


def _segments(features: Features, rows: Matrix | FeatureMatrix) -> Iterator[tuple[str, str, npt.NDArray[np.bool_]]]:
    """Each category of each feature: the feature's name, the category's, and a mask of its rows."""
    for index, (name, labels) in enumerate(zip(features.names, features.labels, strict=True)):
        if labels is None:
            continue
        column = rows[:, index]
        for code, category in enumerate(labels):
            yield name, category, column == code
        yield name, "(missing)", np.isnan(column)


def _share(name: str, outcomes: npt.NDArray[np.bool_], *, known: bool) -> dict[str, Any]:
    """A share of rows with its interval, both None where it is not known."""
    if not known:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    low, high = share_interval(int(outcomes.sum()), len(outcomes))
    return {name: float(outcomes.mean()), f"{name}_low": low, f"{name}_high": high}
