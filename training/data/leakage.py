"""Warnings about columns that leak the label, identify rows, or are constant, before a model learns from them."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from handler.scoring.fields import NUMERIC_TYPES, SECONDS_A_DAY, STRING_TYPES, UNLEARNED_TYPES, DeclaredField
from training.declaration import ScorerDeclaration
from training.errors import counted
from training.evaluation.metrics import rank, roc_auc
from training.run.matrix import Floats, Labels

# In our data and the benchmark sets, no column without leakage exceeds a ROC AUC of .97 by itself.
TOO_GOOD_AUC = 0.995
# With fewer rows, all values may differ by chance.
MIN_ROWS_OF_AN_ID = 1_000
DISTINCT_SHARE_OF_AN_ID = 0.99
# With fewer frauds, or fewer other rows, a column may rank them by chance.
MIN_PRESENT = 20
# A value with at most this many legitimate rows per fraud is more than a strong feature.
HARDLY_ANY = 0.02
# Minus the logarithm of one in a million: how improbable it must be that all rows of a value are frauds by chance.
CHANCE_LOG = 14
AFTERMATH = "fraud|chargeback|charge_back|flagged"
AFTER_THE_FACT = "if it is only known after the fact (a chargeback, a rule's decision, a closed account), leave it out"


def leakage_warnings(rows: pd.DataFrame, scorer: ScorerDeclaration) -> list[str]:
    """One sentence, with the remedy, for each field that is constant, an id, or leaks the label."""
    label = rows[scorer.label].to_numpy()
    dates = [name for name, field in scorer.fields.items() if field.type == "date"]
    # The model sees a date only as its age.
    ages = {name: ((rows[scorer.time] - rows[name]) / SECONDS_A_DAY).clip(lower=0) for name in dates}
    rows = rows.assign(**ages)
    return [
        f"{name} {problem}"
        for name, field in scorer.fields.items()
        if field.type not in UNLEARNED_TYPES
        for problem in _problems(name, rows[name], field, label, scorer.label)
    ]


def _problems(name: str, values: pd.Series, field: DeclaredField, label: Labels, label_name: str) -> Iterator[str]:
    present = values.dropna()
    if present.empty:
        yield "has no value at all in the training window; leave it out"
    elif len(present) == len(values) and (present == present.iloc[0]).all():
        value = present.iloc[:1].tolist()[0]
        shown = _shown_value(field)(value) if field.type == "date" else repr(value)
        yield f"is always {shown} in the training window, so a model learns nothing from it; leave it out"
    elif _is_id(present, field):
        yield (
            f"has {present.nunique():,} different values in {len(present):,} rows: it is an id, with which a model "
            "memorises rows; leave it out, or declare it as id"
        )
    yield from _giveaways(name, values, field, label, label_name)


def _giveaways(name: str, values: pd.Series, field: DeclaredField, label: Labels, label_name: str) -> Iterator[str]:
    """At most one sentence about why a column may not be known yet when a row is scored."""
    area = max(_areas(values, field, label))
    if area > TOO_GOOD_AUC:
        how_well = f"on its own it predicts {label_name} with a ROC AUC of {area:.4f}"
        yield f"GIVES THE LABEL AWAY: {how_well}; {AFTER_THE_FACT}"
    elif telling := _telling_value(values, field, label):
        yield f"MAY GIVE THE LABEL AWAY: {telling}; {AFTER_THE_FACT}"
    elif aftermath := re.search(AFTERMATH, name, re.IGNORECASE):
        yield f"MAY GIVE THE LABEL AWAY: its name says {aftermath[0].lower()}; {AFTER_THE_FACT}"


def _telling_value(values: pd.Series, field: DeclaredField, label: Labels) -> str:
    """A value (or a missing one) that many frauds and hardly any legitimate rows have, with both counts; else ""."""
    is_fraud = pd.Series(label == 1, index=values.index)
    frauds = values[is_fraud].value_counts()
    # Only the values that enough frauds have are counted among the legitimate rows, of which there are many more.
    frauds = frauds[frauds >= MIN_PRESENT]
    others = values[~is_fraud]
    legitimate = others[others.isin(frauds.index)].value_counts().reindex(frauds.index, fill_value=0)
    counts = [("missing", int(values[is_fraud].isna().sum()), int(values[~is_fraud].isna().sum()))]
    counts += zip(map(_shown_value(field), frauds.index), frauds.tolist(), legitimate.tolist(), strict=True)
    for shown, n_frauds, n_legitimate in sorted(counts, key=lambda count: -count[1]):
        is_chance = n_frauds * -np.log(label.mean()) < CHANCE_LOG
        if n_frauds >= MIN_PRESENT and n_legitimate <= HARDLY_ANY * n_frauds and not is_chance:
            return (
                f"it is {shown} in {n_frauds:,} of {int(is_fraud.sum()):,} frauds and in "
                f"{counted(n_legitimate, 'legitimate row') if n_legitimate else 'no legitimate row'}"
            )
    return ""


def _shown_value(field: DeclaredField) -> Callable[[Any], str]:
    """The function that formats a value of the field for a warning."""
    if field.type == "flag":
        return lambda value: str(bool(value)).lower()
    if field.type == "date":
        return lambda value: f"{value:,.10g} day{'' if value == 1 else 's'} old"
    return repr if field.type in STRING_TYPES else lambda value: f"{value:,.10g}"


def _is_id(present: pd.Series, field: DeclaredField) -> bool:
    is_whole = field.type == "category" or (field.type in NUMERIC_TYPES and bool((present % 1 == 0).all()))
    is_large = len(present) >= MIN_ROWS_OF_AN_ID
    return is_whole and is_large and present.nunique() >= DISTINCT_SHARE_OF_AN_ID * len(present)


def _areas(values: pd.Series, field: DeclaredField, label: Labels) -> Iterator[float]:
    """The ROC AUC of a column by itself, ranked up or down; one for each way to rank missing values."""
    if field.type in STRING_TYPES:
        counts = values.map(values.value_counts())
        groups = values.where(counts >= field.min_rows, "rare").where(values.notna(), "missing")
        yield _area(pd.Series(label, index=values.index).groupby(groups).transform("mean").to_numpy(), label)
        return
    numbers = values.to_numpy(dtype=np.float64)
    is_present = ~np.isnan(numbers)
    scores = [(numbers, label)]
    if not is_present.all():
        # Missing values rank above or below all others, because a value filled in after the fact is missing until then.
        scores = [(np.where(is_present, numbers, missing), label) for missing in (np.inf, -np.inf)]
        if min(label[is_present].sum(), (1 - label[is_present]).sum()) >= MIN_PRESENT:
            scores.append((numbers[is_present], label[is_present]))
    for score, of_rows in scores:
        area = _area(score, of_rows)
        yield max(area, 1 - area)


def _area(score: Floats, label: Labels) -> float:
    return roc_auc(*rank(score, label).counts())
