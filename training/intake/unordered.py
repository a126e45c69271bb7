"""Detects columns of whole numbers that are ids rather than measures, by how they relate to the other columns.

Neighbouring values of a measure resemble each other: rows with an amount of 1,999 are like those with 2,000. Each value
of an id, in contrast, has rows of its own kind, which say nothing about those of the next value.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import f, kruskal

from training.run.matrix import Floats, Positions

# More rows tell no more, and take longer.
MOST_ROWS, MOST_COLUMNS = 200_000, 20
# With fewer values, or fewer rows for each, order and chance look alike.
MIN_VALUES, MIN_ROWS_EACH = 100, 5
N_GROUPS = 10
# A measure must not be taken for an id: it must be almost certain that values matter, and a hint of order is enough to
# rule an id out.
P_VALUE_MATTERS, P_ORDER = 1e-6, 0.01


def unordered_columns(names: Sequence[str], columns: Mapping[str, pd.Series]) -> list[str]:
    """The columns of whole numbers whose values matter for another column, while their order matters for none."""
    suspects = [name for name in names if _may_be_id(columns[name])]
    if not suspects:
        return []
    every = max(len(columns[suspects[0]]) // MOST_ROWS, 1)
    compared = [*columns][:MOST_COLUMNS]
    # Ranks, because a few huge amounts would hide all others.
    ranks = {name: columns[name].iloc[::every].rank(na_option="top").to_numpy(np.float64) for name in compared}
    return [
        name
        for name in suspects
        if _is_unordered(
            columns[name].iloc[::every].fillna(-1).to_numpy(np.float64),
            [values for other, values in ranks.items() if other != name],
        )
    ]


def _may_be_id(values: pd.Series) -> bool:
    """Whether a column has many different whole numbers that repeat."""
    present = values.dropna()
    return bool((present % 1 == 0).all() and MIN_VALUES <= present.nunique() <= len(present) / MIN_ROWS_EACH)


def _is_unordered(values: Floats, others: Sequence[Floats]) -> bool:
    """Whether a column's values matter for another one, but their order for none, nor for counts or spacing."""
    distinct, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    if len(distinct) < MIN_VALUES or _is_ordered(counts) or _is_ordered(np.diff(distinct)):
        return False
    matters = False
    for other in others:
        means, p_value = _by_value(codes, counts, other)
        if _is_ordered(means):
            return False
        matters = matters or p_value < P_VALUE_MATTERS
    return matters


def _by_value(codes: Positions, counts: Positions, other: Floats) -> tuple[Floats, float]:
    """The mean of another column at each value, and the p-value of equal means (analysis of variance)."""
    centred = other - other.mean()
    means: Floats = np.bincount(codes, centred) / counts
    between = float(counts @ means**2)
    within = float(centred @ centred) - between
    freedom = len(counts) - 1, max(len(codes) - len(counts), 1)
    if between + within == 0:
        return means, 1.0
    # If the values determine the other column, no variance is left within them to compare with.
    ratio = between / max(within, 1e-9 * between) * freedom[1] / freedom[0]
    return means, float(f.sf(ratio, *freedom))


def _is_ordered(by_value: npt.NDArray[Any]) -> bool:
    """Whether numbers given per value, in ascending order, differ between low and high values (Kruskal 1952)."""
    return bool(np.ptp(by_value) > 0 and kruskal(*np.array_split(by_value, N_GROUPS)).pvalue < P_ORDER)
