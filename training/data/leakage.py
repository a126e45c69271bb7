"""Suspicion: columns that keep the contract and still cannot be what they should, told before a model learns them."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from handler.scoring.contract import NUMERIC_TYPES, STRING_TYPES, DeclaredField
from training.declaration import ScorerDeclaration
from training.evaluation.metrics import rank, roc_auc
from training.run.matrix import Floats, Labels

# No honest column of ours, or of the benchmark sets, ranks fraud better than .97 by itself.
TOO_GOOD_AUC = 0.995
# Fewer rows than this may all differ by chance.
MIN_ROWS_OF_AN_ID = 1_000
DISTINCT_SHARE_OF_AN_ID = 0.99
# Known in fewer frauds than this, a value may rank them by chance.
MIN_KNOWN = 20


def leakage_warnings(rows: pd.DataFrame, scorer: ScorerDeclaration) -> list[str]:
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
        value = known.iloc[:1].tolist()[0]
        yield f"is always {value!r} in the training window and can teach nothing; remove it from fields"
    elif _is_id(known, field):
        yield (
            f"differs in {known.nunique():,} of {len(known):,} rows: an id, from which a model learns rows by heart; "
            "remove it from fields, or declare it as id"
        )
    area = max(_areas(values, field, label))
    if area > TOO_GOOD_AUC:
        yield (
            f"GIVES THE LABEL AWAY: by itself it ranks {label_name} with a ROC AUC of {area:.4f}; if it is only known "
            "after the fact (a chargeback, a closed account), remove it from fields"
        )


def _is_id(known: pd.Series, field: DeclaredField) -> bool:
    whole = field.type == "category" or (field.type in NUMERIC_TYPES and bool((known % 1 == 0).all()))
    return whole and len(known) >= MIN_ROWS_OF_AN_ID and known.nunique() >= DISTINCT_SHARE_OF_AN_ID * len(known)


def _areas(values: pd.Series, field: DeclaredField, label: Labels) -> Iterator[float]:
    """The ROC AUC of what a column alone says, upwards and downwards."""
    if field.type in STRING_TYPES:
        counts = values.map(values.value_counts())
        groups = values.where(counts >= field.min_rows, "rare").where(values.notna(), "missing")
        yield _area(pd.Series(label, index=values.index).groupby(groups).transform("mean").to_numpy(), label)
        return
    numbers = values.to_numpy(dtype=np.float64)
    is_known = ~np.isnan(numbers)
    for sign in (1.0, -1.0):
        # A missing value above or below all others: what is filled in after the fact is missing before it.
        for missing in (np.inf, -np.inf):
            yield _area(np.where(is_known, sign * numbers, missing), label)
        if min(label[is_known].sum(), (1 - label[is_known]).sum()) >= MIN_KNOWN:
            yield _area(sign * numbers[is_known], label[is_known])


def _area(score: Floats, label: Labels) -> float:
    return roc_auc(*rank(score, label).counts())
