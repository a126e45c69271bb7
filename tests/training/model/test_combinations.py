"""Combinations: the tree joins dependent features, and about one training row in a thousand is unlikely."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from handler.scoring.combinations import Combinations
from training.model import combinations
from training.model.combinations import MOST_LABELS, N_BINS, learn_combinations
from training.run.matrix import FeatureMatrix

N_ROWS = 5_000
COUNTRIES = ("other", "DE", "FR", "NA")
LABELS = (None, COUNTRIES, None, ("no", "yes"), None)

Matrix = npt.NDArray[np.float32]
Learned = dict[str, Any]


def rows(seed: int = 2) -> Matrix:
    """Rows with two dependent pairs (0 and 2, 1 and 3) and an independent number; a tenth of two numbers is missing."""
    rng = np.random.default_rng(seed)
    amount = rng.lognormal(3, 1, N_ROWS)
    country = rng.choice(4, N_ROWS, p=[0.05, 0.5, 0.3, 0.15])
    is_new = np.where(rng.random(N_ROWS) < 0.9, country >= 2, country < 2)
    combined = np.stack(
        [amount, country, amount * rng.lognormal(0, 0.2, N_ROWS), is_new, rng.normal(size=N_ROWS)], axis=1
    ).astype(np.float32)
    combined[:, [0, 4]] = np.where(rng.random((N_ROWS, 2)) < 0.1, np.nan, combined[:, [0, 4]])
    return combined


def share_unlikely(learned: Learned, matrix: Matrix) -> float:
    """The share of rows for which the function would warn."""
    combinations = Combinations(learned)
    return sum(combinations.unlikely_pair(row) is not None for row in matrix.tolist()) / len(matrix)


def edges_of(parents: list[int]) -> set[frozenset[int]]:
    """The pairs of features that a tree joins."""
    return {frozenset((index, parent)) for index, parent in enumerate(parents) if parent >= 0}


@pytest.fixture(scope="module")
def learned() -> Learned:
    """The combinations learned from these rows."""
    return learn_combinations(rows(), LABELS)


def test_tree_joins_everything(learned: Learned) -> None:
    """Exactly one feature has no parent, all others lead up to it, and dependent features are joined."""
    parents = learned["parents"]
    assert {frozenset((0, 2)), frozenset((1, 3))} <= edges_of(parents)
    assert parents[0] == -1
    assert parents.count(-1) == 1
    for start in range(len(parents)):
        index, steps = start, 0
        while parents[index] >= 0:
            index, steps = parents[index], steps + 1
            assert steps < len(parents)
        assert index == 0


def test_tables_hold_probabilities(learned: Learned) -> None:
    """Each row of a table has log-probabilities that sum to 1, and there is a row for each bin of the parent.

    A number has a few bins of equal shares, and one more for missing values.
    """
    for table, parent in zip(learned["tables"], learned["parents"], strict=True):
        assert np.exp(table).sum(axis=1) == pytest.approx(1, abs=1e-3)
        assert len(table) == (len(learned["tables"][parent][0]) if parent >= 0 else 1)
        assert {len(row) for row in table} == {len(table[0])}
    assert len(learned["bins"][0]["edges"]) == N_BINS - 1
    assert np.exp(learned["tables"][0][0]) == pytest.approx([0.1] + [0.9 / N_BINS] * N_BINS, abs=0.015)


def test_few_rows_are_unlikely(learned: Learned) -> None:
    """Hardly more than one in a thousand training rows, and few later rows of the same source, are unlikely.

    If columns are shuffled separately, so that values are usual but their combinations are not, many rows are.
    """
    assert 0 < share_unlikely(learned, rows()) <= 0.002
    assert share_unlikely(learned, rows(seed=3)) <= 0.004
    assert share_unlikely(learned, np.random.default_rng(1).permuted(rows(), axis=0)) > 0.05


def test_most_frequent_labels_have_bins_of_their_own() -> None:
    """Of many levels, the most frequent ones have a bin each, and the others share one."""
    names = tuple(f"label {number}" for number in range(40))
    column = np.repeat(np.arange(40), np.arange(1, 41) * 5).astype(np.float32)
    learned = learn_combinations(np.stack([column, column], axis=1), (names, None))
    codes = learned["bins"][0]["codes"]
    assert codes == [MOST_LABELS] * (40 - MOST_LABELS) + list(range(MOST_LABELS))


@pytest.mark.parametrize(
    ("value", "labels"),
    [(5.0, None), (np.nan, None), (1.0, COUNTRIES), (np.nan, COUNTRIES)],
    ids=["constant number", "missing number", "constant label", "missing label"],
)
@pytest.mark.parametrize("place", [0, 2, 5])
def test_column_without_a_difference_works(place: int, value: float, labels: tuple[str, ...] | None) -> None:
    """A column that is constant or entirely missing, in any position, makes no row unlikely."""
    matrix = np.insert(rows(), place, value, axis=1)
    names = [*LABELS[:place], labels, *LABELS[place:]]
    learned = learn_combinations(matrix, names)
    assert 0 < share_unlikely(learned, matrix) <= 0.002
    assert all(np.isfinite(row).all() for table in learned["tables"] for row in table)


def test_single_feature_works() -> None:
    """A single feature gives a tree of one, and no pair to warn of."""
    matrix = rows()[:, :1]
    learned = learn_combinations(matrix, [None])
    assert learned["parents"] == [-1]
    assert share_unlikely(learned, matrix) == 0


def test_function_finds_the_bins_of_training(learned: Learned) -> None:
    """The function finds training rows unlikely or not depending on the limit, so it computes the same scores."""
    below = Combinations({**learned, "limit": learned["limit"] - 1e9})
    above = Combinations({**learned, "limit": 1e-9})
    assert not any(below.unlikely_pair(row) for row in rows().tolist())
    assert any(above.unlikely_pair(row) for row in rows().tolist())


@pytest.mark.parametrize("chunk_rows", [700, N_ROWS])
def test_chunks_give_the_result_of_the_rows(learned: Learned, chunk_rows: int) -> None:
    """Learning from a matrix in chunks gives the same as in memory."""
    assert learn_combinations(FeatureMatrix(rows(), chunk_rows), LABELS) == learned


def test_chunks_of_many_rows_give_the_result_of_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is also the same if dependence is learned from a sample of the rows."""
    monkeypatch.setattr(combinations, "ROWS", 1_000)
    assert learn_combinations(FeatureMatrix(rows(), 700), LABELS) == learn_combinations(rows(), LABELS)


def test_some_features_can_be_left_out(learned: Learned) -> None:
    """Features that are left out play no part, even if they are missing; the others are learned as if alone."""
    some = learn_combinations(rows(), LABELS, [0, 2, 4])
    alone = learn_combinations(rows()[:, [0, 2, 4]], [LABELS[place] for place in (0, 2, 4)])
    assert some == alone | {"places": [0, 2, 4]}
    row = rows()[0].tolist()
    blank = [value if place in {0, 2, 4} else float("nan") for place, value in enumerate(row)]
    assert Combinations(some).unlikely_pair(blank) == Combinations(some).unlikely_pair(row)
    certain = Combinations(some | {"limit": 1e9, "marginals": [[9.0] * 99] * 3})
    assert set(certain.unlikely_pair(row) or ()) <= {0, 2, 4}
    assert certain.unlikely_pair(row)
    assert Combinations(learn_combinations(rows(), LABELS, [])).unlikely_pair(row) is None
    assert learned.keys() == some.keys() - {"places"}
