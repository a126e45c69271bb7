"""Warnings of columns that leak the label, identify rows, or are constant, before a model learns from them."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from handler.scoring.contract import NUMERIC_TYPES, STRING_TYPES, DeclaredField
from training.declaration import ScorerDeclaration
from training.evaluation.metrics import rank, roc_auc
from training.run.matrix import Floats, Labels

# In our data and the benchmark sets no column without leakage exceeds .97 by itself.
TOO_GOOD_AUC = 0.995
# In fewer rows all values may differ by chance.
MIN_ROWS_OF_AN_ID = 1_000
DISTINCT_SHARE_OF_AN_ID = 0.99
# With fewer frauds, or fewer other rows, a column may rank them by chance.
MIN_PRESENT = 20


def leakage_warnings(rows: pd.DataFrame, scorer: ScorerDeclaration) -> list[str]:
    """One sentence, with the remedy, for each field that is constant, an id, or leaks the label."""
    label = rows[scorer.label].to_numpy()
    return [
        f"{name} {problem}"
        for name, field in scorer.fields.items()
        for problem in _problems(rows[name], field, label, scorer.label)
    ]


def _problems(values: pd.Series, field: DeclaredField, label: Labels, label_name: str) -> Iterator[str]:
    present = values.dropna()
    if present.empty:
        yield "has no value at all in the training window; remove it from fields"
    elif len(present) == len(values) and (present == present.iloc[0]).all():
        value = present.iloc[:1].tolist()[0]
        yield f"is always {value!r} in the training window and can teach nothing; remove it from fields"
    elif _is_id(present, field):
        yield (
            f"differs in {present.nunique():,} of {len(present):,} rows: an id, from which a model learns rows by "
            "heart; remove it from fields, or declare it as id"
        )
    area = max(_areas(values, field, label))
    if area > TOO_GOOD_AUC:
        yield (
            f"GIVES THE LABEL AWAY: by itself it ranks {label_name} with a ROC AUC of {area:.4f}; if it is only known "
            "after the fact (a chargeback, a closed account), remove it from fields"
        )


def _is_id(present: pd.Series, field: DeclaredField) -> bool:
    is_whole = field.type == "category" or (field.type in NUMERIC_TYPES and bool((present % 1 == 0).all()))
    is_large = len(present) >= MIN_ROWS_OF_AN_ID
    return is_whole and is_large and present.nunique() >= DISTINCT_SHARE_OF_AN_ID * len(present)


def _areas(values: pd.Series, field: DeclaredField, label: Labels) -> Iterator[float]:
    """The ROC AUC of a column by itself, in both directions."""
    if field.type in STRING_TYPES:
        counts = values.map(values.value_counts())
        groups = values.where(counts >= field.min_rows, "rare").where(values.notna(), "missing")
        yield _area(pd.Series(label, index=values.index).groupby(groups).transform("mean").to_numpy(), label)
        return
    numbers = values.to_numpy(dtype=np.float64)
    is_present = ~np.isnan(numbers)
    for sign in (1.0, -1.0):
        # Missing values rank above or below all others: a value filled in after the fact is missing before it.
        for missing in (np.inf, -np.inf):
            yield _area(np.where(is_present, sign * numbers, missing), label)
        if min(label[is_present].sum(), (1 - label[is_present]).sum()) >= MIN_PRESENT:
            yield _area(sign * numbers[is_present], label[is_present])


def _area(score: Floats, label: Labels) -> float:
    return roc_auc(*rank(score, label).counts())
