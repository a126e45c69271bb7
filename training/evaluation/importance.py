"""Feature importance: each feature's share of the gain, and the average precision lost by shuffling it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from training.evaluation.metrics import average_precision, rank
from training.run.matrix import FeatureMatrix, Floats, Labels, Matrix

REPEATS = 5
# Enough for an order of importance; each feature costs REPEATS passes over these rows.
MAX_ROWS = 20_000
MAX_VALUES = 1_000_000


def gain_shares(booster: Any, n_features: int) -> list[float]:  # noqa: ANN401 - xgboost ships no types
    """Each feature's share of the total gain of the model's splits."""
    gains = booster.get_score(importance_type="total_gain")
    total = sum(gains.values()) or 1.0
    return [gains.get(f"f{index}", 0.0) / total for index in range(n_features)]


def permutation_losses(
    model: Any,  # noqa: ANN401 - as above
    rows: Matrix | FeatureMatrix,
    label: Labels,
    *,
    seed: int,
    gains: Sequence[float] | None = None,
) -> list[list[float]]:
    """Per feature and repeat, the average precision lost when its values are shuffled among the rows (Breiman 2001).

    A derived feature is shuffled by itself; the fields it is computed from stay. Features that have no gain according
    to `gains` lose exactly 0 and are not shuffled. Not scikit-learn's function: it shuffles by another stream of random
    numbers, and these losses are part of the manifest that a bundle's version is computed from.
    """
    rng = np.random.default_rng(seed)
    max_rows = min(MAX_ROWS, MAX_VALUES // rows.shape[1])
    weight = np.ones(len(rows))
    if len(rows) > max_rows:
        # All frauds, which are few, and a sample of the legitimate rows, weighted to represent all of them.
        legitimate = np.flatnonzero(label == 0)
        drawn = rng.choice(legitimate, min(max_rows, len(legitimate)), replace=False)
        positions = np.sort(np.concatenate([np.flatnonzero(label == 1), drawn]))
        label = label[positions]
        weight = np.where(label == 1, 1.0, len(legitimate) / len(drawn))
    else:
        positions = np.arange(len(rows))
    sample = rows[positions]
    intact = _average_precision(model, sample, label, weight)
    orders = [[rng.permutation(len(sample)) for _ in range(REPEATS)] for _ in range(sample.shape[1])]

    def losses_of(index: int) -> list[float]:
        if gains is not None and not gains[index]:
            return [0.0] * REPEATS
        shuffled = sample.copy()
        feature_losses = []
        for order in orders[index]:
            shuffled[:, index] = sample[order, index]
            feature_losses.append(intact - _average_precision(model, shuffled, label, weight))
        return feature_losses

    losses: list[list[float]] = Parallel(n_jobs=-1, prefer="threads")(
        delayed(losses_of)(i) for i in range(sample.shape[1])
    )
    return losses


def _average_precision(model: Any, rows: Matrix, label: Labels, weight: Floats) -> float:  # noqa: ANN401 - as above
    return average_precision(*rank(model.predict(rows, output_margin=True), label).counts(weight))


def importance_table(
    model: Any,  # noqa: ANN401 - as above
    rows: Matrix | FeatureMatrix,
    label: Labels,
    names: Sequence[str],
    *,
    seed: int,
) -> pd.DataFrame:
    """Per feature, most important first: share of gain, mean and spread of the average precision lost by shuffling."""
    gains = gain_shares(model.get_booster(), len(names))
    losses = permutation_losses(model, rows, label, seed=seed, gains=gains)
    table = pd.DataFrame(
        {
            "feature": names,
            "gain": gains,
            "permutation": np.mean(losses, axis=1),
            "permutation_std": np.std(losses, axis=1, ddof=1),
        }
    )
    return table.sort_values(["gain", "feature"], ascending=[False, True], ignore_index=True)
