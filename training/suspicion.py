"""Suspicion: columns that keep the contract and still cannot be what they should, told before a model learns them."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from handler.contract import NUMERIC_TYPES, STRING_TYPES, DeclaredField
from training.declaration import Scorer
from training.ranking import rank, roc_auc
from training.resampling import Floats, Labels

# No honest column of ours, or of the benchmark sets, ranks fraud better than .97 by itself.
TOO_GOOD_AUC = 0.995
# Fewer rows than this may all differ by chance.
MIN_ROWS_OF_AN_ID = 1_000
DISTINCT_SHARE_OF_AN_ID = 0.99


def suspicions(rows: pd.DataFrame, scorer: Scorer) -> list[str]:
    """One sentence, with the remedy, per column of the training window that is constant, an id, or knows the label."""
    label = rows[scorer.label].to_numpy()
    return [
        f"{name} {problem}"
        for name, field in scorer.fields.items()
        for problem in _problems(rows[name], field, label, scorer.label)
    ]


def _problems(values: pd.Series, field: DeclaredField, label: Labels, label_name: str) -> Iterator[str]:
    known = values.dropna()
    if known.empty:
        yield "has no value at all in the training window; remove it from fields"
    elif len(known) == len(values) and (known == known.iloc[0]).all():
        yield f"is always {known.iloc[0]!r} in the training window and can teach nothing; remove it from fields"
    elif _is_id(known, field):
        yield (
            f"differs in {known.nunique():,} of {len(known):,} rows: an id, from which a model learns rows by heart; "
            "remove it from fields, or declare it as id"
        )
    area = max(roc_auc(*rank(score, label).counts()) for score in _scores(values, field, label))
    if area > TOO_GOOD_AUC:
        yield (
            f"GIVES THE LABEL AWAY: by itself it ranks {label_name} with a ROC AUC of {area:.4f}; if it is only known "
            "after the fact (a chargeback, a closed account), remove it from fields"
        )


def _is_id(known: pd.Series, field: DeclaredField) -> bool:
    whole = field.type == "category" or (field.type in NUMERIC_TYPES and bool((known % 1 == 0).all()))
    return whole and len(known) >= MIN_ROWS_OF_AN_ID and known.nunique() >= DISTINCT_SHARE_OF_AN_ID * len(known)


def _scores(values: pd.Series, field: DeclaredField, label: Labels) -> Iterator[Floats]:
    """What a column alone says of each row, upwards and downwards; a missing value is above or below all others."""
    if field.type in STRING_TYPES:
        counts = values.map(values.value_counts())
        groups = values.where(counts >= field.min_rows, "rare").where(values.notna(), "missing")
        yield pd.Series(label, index=values.index).groupby(groups).transform("mean").to_numpy()
        return
    numbers = values.to_numpy(dtype=np.float64)
    for sign in (1.0, -1.0):
        for missing in (np.inf, -np.inf):
            yield np.where(np.isnan(numbers), missing, sign * numbers)
