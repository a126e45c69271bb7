"""Importance: how much each feature is used by the model, and how much is lost without it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from training.evaluation.metrics import average_precision, rank
from training.run.matrix import FeatureMatrix, Floats, Labels, Matrix

REPEATS = 5
# Enough for an order of importance; more only takes longer, and every feature is scored anew.
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

    A derived feature is shuffled by itself; the fields it is computed from stay. Features without gain, where `gains`
    says so, lose exactly 0 and need no shuffling.
    """
    rng = np.random.default_rng(seed)
    most = min(MAX_ROWS, MAX_VALUES // rows.shape[1])
    weight = np.ones(len(rows))
    if len(rows) > most:
        # All frauds, which are few, and a sample of the legitimate rows that stands for all of them.
        legitimate = np.flatnonzero(label == 0)
        drawn = rng.choice(legitimate, min(most, len(legitimate)), replace=False)
        kept = np.sort(np.concatenate([np.flatnonzero(label == 1), drawn]))
        label = label[kept]
        weight = np.where(label == 1, 1.0, len(legitimate) / len(drawn))
    else:
        kept = np.arange(len(rows))
    looked_at = rows[kept]
    whole = _average_precision(model, looked_at, label, weight)
    orders = [[rng.permutation(len(looked_at)) for _ in range(REPEATS)] for _ in range(looked_at.shape[1])]

    def losses(index: int) -> list[float]:
        if gains is not None and not gains[index]:
            return [0.0] * REPEATS
        shuffled = looked_at.copy()
        found = []
        for order in orders[index]:
            shuffled[:, index] = looked_at[order, index]
            found.append(whole - _average_precision(model, shuffled, label, weight))
        return found

    lost: list[list[float]] = Parallel(n_jobs=-1, prefer="threads")(
        delayed(losses)(i) for i in range(looked_at.shape[1])
    )
    return lost


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
    """Per feature, most important first: share of gain, average precision lost without it, and that one's spread."""
    gains = gain_shares(model.get_booster(), len(names))
    lost = permutation_losses(model, rows, label, seed=seed, gains=gains)
    table = pd.DataFrame(
        {
            "feature": names,
            "gain": gains,
            "permutation": np.mean(lost, axis=1),
            "permutation_std": np.std(lost, axis=1, ddof=1),
        }
    )
    return table.sort_values(["gain", "feature"], ascending=[False, True], ignore_index=True)
