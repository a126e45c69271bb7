"""The reference distributions of features and scores in training."""

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, ROUND_UP, Context, Decimal
from typing import Any

import numpy as np

from handler.scoring.contract import Contract
from handler.scoring.features import Features, build_features, feature_names
from training.evaluation.calibration import log_odds
from training.model.bins import binned
from training.model.combinations import learn_combinations
from training.model.encoder import FeatureEncoder
from training.run.matrix import FeatureMatrix, Floats, Labels, Matrix

PERCENTILES = np.arange(101)
# Scores, and the share of the legitimate rows that have this score or a higher one.
SCORE_ANCHORS = ((0, 1.0), (600, 0.1), (900, 0.02), (1000, 0.0))
SCALE_DIGITS = 8
# float32 holds seven significant digits; the reference needs no more.
SIGNIFICANT = 7


def describe(matrix: Matrix | FeatureMatrix, contract: Contract, vocabulary: dict[str, Any]) -> dict[str, Any]:
    """For each feature the share of missing values, and a number's percentiles or the shares of a category's levels."""
    features = build_features(contract, vocabulary)
    reference: dict[str, Any] = {}
    for index, (name, labels) in enumerate(zip(features.names, features.labels, strict=True)):
        column = matrix[:, index]
        present = column[~np.isnan(column)]
        seen: dict[str, Any] = {"missing": round(1 - len(present) / len(column), SIGNIFICANT)}
        if labels is not None:
            counts = np.bincount(present.astype(int), minlength=len(labels)) / len(column)
            seen["shares"] = {
                label: round(float(share), SIGNIFICANT) for label, share in zip(labels, counts, strict=True)
            }
        elif len(present):
            percentiles = [Decimal(value) for value in np.percentile(present, PERCENTILES, method="lower").tolist()]
            # The ends are rounded outwards, so that no training row lies outside them.
            rounding = [ROUND_FLOOR, *[ROUND_HALF_EVEN] * (len(percentiles) - 2), ROUND_CEILING]
            seen["percentiles"] = [
                float(Context(prec=SIGNIFICANT, rounding=way).plus(value))
                for way, value in zip(rounding, percentiles, strict=True)
            ]
        else:
            seen["percentiles"] = []
        reference[name] = seen
    return reference


# The edges of the score bins, in log-odds; there is one more bin below them and one above.
SCORE_EDGES = np.linspace(-9, 5, 57)


def score_scale(probability: Floats, label: Labels) -> list[float]:
    """The probability that a request must exceed for each score from 1 to 1000, from the rows that calibrate.

    A score stands for the share of the legitimate rows that have this score or a higher one: 100 % at 0, 10 % at 600,
    2 % at 900 and 0 % at 1000, linear in between; 600 and 900 are as in rules written for Amazon Fraud Detector. A
    score therefore means as many false alarms with the next model as with this one.
    """
    legitimate = np.sort(probability[label == 0])[::-1]
    scores, shares = zip(*SCORE_ANCHORS, strict=True)
    allowed = np.interp(np.arange(1, scores[-1] + 1), scores, shares) * len(legitimate)
    exceeded = legitimate[np.floor(allowed + 1e-9).astype(np.intp)]
    # Rounded up, so that the row itself does not exceed it on a processor whose exp() differs in the last bits.
    context = Context(prec=SCALE_DIGITS, rounding=ROUND_UP)
    return [float(context.create_decimal_from_float(value)) for value in exceeded.tolist()]


def score_distribution(
    probability: Floats, label: Labels, threshold: float, block: float | None = None
) -> dict[str, Any]:
    """The score distribution of labelled rows that no model was fitted on, and what the threshold flags among them.

    With `block`, the probability from which on requests are blocked, also how many of the rows it would have blocked.
    """
    flagged = probability >= threshold
    counts = np.bincount(np.searchsorted(SCORE_EDGES, log_odds(probability)), minlength=len(SCORE_EDGES) + 1)
    return {
        "edges": SCORE_EDGES.tolist(),
        "counts": counts.tolist(),
        "rows": len(label),
        "frauds": int(label.sum()),
        "flagged": int(flagged.sum()),
        "caught": int(label[flagged].sum()),
    } | ({} if block is None else _of_blocks(probability, label, threshold, block))


def _of_blocks(probability: Floats, label: Labels, threshold: float, block: float) -> dict[str, Any]:
    """How many rows are blocked, and the `score_distribution` counts of the others, whose labels alone become known."""
    blocked = probability >= block
    flagged, others = (probability >= threshold) & ~blocked, label[~blocked]
    unblocked = {"rows": len(others), "frauds": int(others.sum()), "caught": int(label[flagged].sum())}
    return {"blocked": int(blocked.sum()), "unblocked": unblocked}


def feature_distributions(matrix: Matrix | FeatureMatrix, features: Features) -> dict[str, dict[str, Any]]:
    """The bins of each feature's column, by its name."""
    columns = zip(features.names, features.labels, strict=True)
    return {name: binned(matrix[:, index], labels) for index, (name, labels) in enumerate(columns)}


def baseline_of(encoder: FeatureEncoder, matrix: FeatureMatrix, score: dict[str, Any]) -> dict[str, Any]:
    """The content of baseline.json for an encoder's training rows; `score` is their `score_distribution`."""
    features = build_features(encoder.contract, encoder.vocabulary_)
    return {
        "features": feature_distributions(matrix, features),
        "score": score,
        "combinations": learn_combinations(matrix, features.labels, sent_features(encoder.contract)),
    }


def sent_features(contract: Contract) -> list[int] | None:
    """The positions of the features that depend only on what callers send; None if all features do.

    A history that is not read, or that does not know an entity, leaves many features missing at once, which says
    nothing about a caller.
    """
    computed = set(contract.columns) - set(contract.fields)
    computed |= {name for name, feature in contract.features.items() if computed & set(feature.operands)}
    return [place for place, name in enumerate(feature_names(contract)) if name not in computed] if computed else None
