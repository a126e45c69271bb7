"""Bins: they count every row, hold equal shares, and a rare value is one in a thousand."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.model.bins import QUANTILES, binned

columns = st.lists(st.floats(-1e6, 1e6, width=32) | st.just(float("nan")), max_size=60).map(
    lambda values: np.array(values, dtype=np.float32)
)


@given(columns)
def test_bins_hold_every_row(column: npt.NDArray[np.float32]) -> None:
    """The first bin counts missing values, each other one the values above the previous edge and up to its own."""
    bins = binned(column, None)
    bounds = [-np.inf, *bins["edges"], np.inf]
    exact = column.astype(np.float64)
    expected = [int(((exact > low) & (exact <= high)).sum()) for low, high in pairwise(bounds)]
    assert bins["counts"] == [np.isnan(column).sum(), *expected]


def test_bins_hold_equal_shares() -> None:
    """If all values differ, each bin holds a twentieth of the rows."""
    bins = binned(np.random.default_rng(0).permutation(1_000).astype(np.float32), None)
    assert len(bins["counts"]) == len(QUANTILES) + 2
    assert set(bins["counts"][1:]) == {50}


def test_value_of_many_rows_is_one_edge() -> None:
    """A value that fills many bins gives a single edge: edges strictly increase."""
    bins = binned(np.array([0.0] * 90 + [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], dtype=np.float32), None)
    assert bins["edges"] == sorted(set(bins["edges"]))
    assert bins["counts"][1] == 90


@pytest.mark.parametrize("values", [[np.nan] * 3, []])
def test_column_without_a_value_has_one_empty_bin(values: list[float]) -> None:
    """If a column has no value, it has no edge and no rare value."""
    bins = binned(np.array(values, dtype=np.float32), None)
    assert bins == {"edges": [], "rare": [], "counts": [len(values), 0]}


def test_rare_is_one_in_a_thousand() -> None:
    """About a thousandth of the rows is below the lower bound, and as many are above the upper one."""
    column = np.random.default_rng(0).normal(size=100_000).astype(np.float32)
    low, high = binned(column, None)["rare"]
    assert (column < low).sum() == pytest.approx(100, abs=1)
    assert (column > high).sum() == pytest.approx(100, abs=1)


def test_category_has_a_bin_for_each_label() -> None:
    """Levels are counted by their codes, even those without a row, after the count of missing values."""
    bins = binned(np.array([2, 2, np.nan, 0, 2], dtype=np.float32), ("other", "DE", "NA", "FR"))
    assert bins == {"labels": ["other", "DE", "NA", "FR"], "counts": [1, 1, 0, 3, 0]}
