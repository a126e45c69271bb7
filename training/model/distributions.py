"""Reference distributions: what features and scores looked like in training."""

from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from handler.scoring.contract import Contract
from handler.scoring.features import Features, build_features
from training.evaluation.calibration import log_odds
from training.model.combinations import just_above
from training.run.matrix import FeatureMatrix, Matrix

PERCENTILES = np.arange(101)
# float32 holds seven significant digits; the reference needs no more.
SIGNIFICANT = 7


def describe(matrix: Matrix | FeatureMatrix, contract: Contract, vocabulary: dict[str, Any]) -> dict[str, Any]:
    """Per feature what training saw: share missing, and percentiles of a number or shares of a category's labels."""
    features = build_features(contract, vocabulary)
    reference: dict[str, Any] = {}
    for index, (name, labels) in enumerate(zip(features.names, features.labels, strict=True)):
        column = matrix[:, index]
        known = column[~np.isnan(column)]
        seen: dict[str, Any] = {"missing": round(1 - len(known) / len(column), SIGNIFICANT)}
        if labels is not None:
            counts = np.bincount(known.astype(int), minlength=len(labels)) / len(column)
            seen["shares"] = {
                label: round(float(share), SIGNIFICANT) for label, share in zip(labels, counts, strict=True)
            }
        elif len(known):
            percentiles = [Decimal(value) for value in np.percentile(known, PERCENTILES, method="lower").tolist()]
            # The ends outwards, so that no training row lies outside them.
            rounding = [ROUND_FLOOR, *[ROUND_HALF_EVEN] * (len(percentiles) - 2), ROUND_CEILING]
            seen["percentiles"] = [
                float(Context(prec=SIGNIFICANT, rounding=way).plus(value))
                for way, value in zip(rounding, percentiles, strict=True)
            ]
        else:
            seen["percentiles"] = []
        reference[name] = seen
    return reference


# Twenty equal shares of the training rows: fine enough for a shift by a tenth of the spread, coarse enough for a day.
QUANTILES = np.linspace(0, 1, 21)[1:-1]
# One request in a thousand on each side is rare.
RARE = (0.001, 0.999)
# Log-odds between which scores are binned: below and above is one bin each.
SCORE_EDGES = np.linspace(-9, 5, 57)


def binned(column: npt.NDArray[np.float32], labels: Sequence[str] | None) -> dict[str, Any]:
    """A feature's bins and how many rows of the column each holds, the first one those where it is missing.

    A number's bins end at its `edges`, and the last one has no end; a category has a bin for each of its `labels`.
    """
    known = column[~np.isnan(column)]
    n_missing = len(column) - len(known)
    if labels is not None:
        counts = np.bincount(known.astype(int), minlength=len(labels))
        return {"labels": list(labels), "counts": [n_missing, *counts.tolist()]}
    edges = just_above(np.unique(np.quantile(known, QUANTILES, method="lower"))) if len(known) else []
    counts = np.bincount(np.searchsorted(np.array(edges), known, side="left"), minlength=len(edges) + 1)
    rare: list[float] = []
    if len(known):
        low, high = np.quantile(known, RARE, method="lower").astype(np.float32)
        rare = [*(-one for one in just_above(np.array([-low]))), *just_above(np.array([high]))]
    return {"edges": edges, "rare": rare, "counts": [n_missing, *counts.tolist()]}


def score_baseline(
    probability: npt.NDArray[np.float64], label: npt.NDArray[np.int8], threshold: float
) -> dict[str, Any]:
    """Scores of untouched, labelled rows: their distribution, and what the threshold did on them."""
    flagged = probability >= threshold
    counts = np.bincount(np.searchsorted(SCORE_EDGES, log_odds(probability)), minlength=len(SCORE_EDGES) + 1)
    return {
        "edges": SCORE_EDGES.tolist(),
        "counts": counts.tolist(),
        "rows": len(label),
        "frauds": int(label.sum()),
        "flagged": int(flagged.sum()),
        "caught": int(label[flagged].sum()),
    }


def feature_baseline(matrix: Matrix | FeatureMatrix, features: Features) -> dict[str, dict[str, Any]]:
    """The bins of each feature's column, by its name."""
    columns = zip(features.names, features.labels, strict=True)
    return {name: binned(matrix[:, index], labels) for index, (name, labels) in enumerate(columns)}
