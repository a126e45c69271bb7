"""Importance: shuffling a feature that the model does not use loses nothing, the only useful one the most."""

import numpy as np
import pandas as pd
import pytest
from xgboost import XGBClassifier

from training.evaluation.importance import MAX_ROWS, REPEATS, gain_shares, importance_table, permutation_losses
from training.evaluation.metrics import average_precision, rank
from training.run.matrix import FeatureMatrix, Labels, Matrix

NAMES = ("noise", "useful", "empty")


class FirstColumn:
    """A model whose margin is the first feature; it records the number of rows in each call."""

    def __init__(self) -> None:
        """Start without a prediction."""
        self.row_counts: set[int] = set()

    def predict(self, rows: Matrix, *, output_margin: bool) -> Matrix:
        """The first column of the rows."""
        assert output_margin
        self.row_counts.add(len(rows))
        return rows[:, 0]


@pytest.fixture(scope="module")
def rows() -> Matrix:
    """Six hundred rows of noise, a feature that separates the frauds, and one without any value."""
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(600, 3)).astype(np.float32)
    matrix[:, 2] = np.nan
    return matrix


@pytest.fixture(scope="module")
def label(rows: Matrix) -> Labels:
    """Frauds are the rows with a large useful feature, with one label in twenty flipped."""
    wrong = np.random.default_rng(2).random(len(rows)) < 0.05
    return ((rows[:, 1] > 1) ^ wrong).astype(np.int8)


@pytest.fixture(scope="module")
def model(rows: Matrix, label: Labels) -> XGBClassifier:
    """A small model of these rows."""
    return XGBClassifier(n_estimators=8, max_depth=2, n_jobs=1, base_score=0.5).fit(rows, label)


def test_useful_feature_loses_the_most(model: XGBClassifier, rows: Matrix, label: Labels) -> None:
    """Without the one feature that separates frauds, each repeat loses most of what the model gained.

    A feature that no tree uses loses nothing at all, and the matrix is not shuffled in place.
    """
    before = rows.copy()
    noise, useful, unused = permutation_losses(model, rows, label, seed=3)
    np.testing.assert_array_equal(rows, before)
    gained = average_precision(*rank(model.predict(rows, output_margin=True), label).counts()) - label.mean()
    assert min(useful) > 0.5 * gained > max(noise)
    assert unused == [0.0] * REPEATS


def test_loss_of_a_worked_case() -> None:
    """A loss is the average precision on the rows minus that on the rows with one column shuffled."""
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(50, 2)).astype(np.float32)
    label = (rows[:, 0] > 0.5).astype(np.int8)
    first, second = permutation_losses(FirstColumn(), rows, label, seed=5)
    order = np.random.default_rng(5).permutation(50)
    assert first[0] == 1 - average_precision(*rank(rows[order, 0], label).counts())
    assert len(set(first)) == REPEATS
    assert second == [0.0] * REPEATS


def test_losses_reproduce(model: XGBClassifier, rows: Matrix, label: Labels) -> None:
    """A seed gives the same losses each time, in whatever order threads run, and another seed gives others."""
    first, again, other = (permutation_losses(model, rows, label, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_many_rows_are_sampled() -> None:
    """If there are more rows than needed, all frauds and a sample of the other rows are used.

    The sample does not depend on the chunks.
    """
    rows = np.random.default_rng(6).normal(size=(2 * MAX_ROWS, 1)).astype(np.float32)
    model, label = FirstColumn(), (rows[:, 0] > 2).astype(np.int8)
    [losses] = permutation_losses(model, rows, label, seed=7)
    assert model.row_counts == {MAX_ROWS + int(label.sum())}
    assert losses == pytest.approx([1 - label.mean()] * REPEATS, abs=0.01)
    assert permutation_losses(FirstColumn(), FeatureMatrix(rows, 9_999), label, seed=7) == [losses]


def test_gain_shares_are_a_whole(model: XGBClassifier) -> None:
    """The shares of the gain add up to one: the useful feature has most of it, the unused one nothing."""
    shares = gain_shares(model.get_booster(), 3)
    assert sum(shares) == pytest.approx(1.0)
    assert shares[1] > 0.8
    assert shares[2] == 0.0


def test_model_without_a_split_has_no_gain(rows: Matrix, label: Labels) -> None:
    """A model that never splits gives every feature a share of 0, not an error."""
    constant = XGBClassifier(n_estimators=1, n_jobs=1, base_score=0.5, min_child_weight=1e6).fit(rows, label)
    assert gain_shares(constant.get_booster(), 3) == [0.0, 0.0, 0.0]


def test_table_begins_with_the_most_important(model: XGBClassifier, rows: Matrix, label: Labels) -> None:
    """Each feature has a line with its gain and the mean and spread of its losses, the largest gain first."""
    table = importance_table(model, rows, label, NAMES, seed=3)
    assert table["feature"].tolist() == ["useful", "noise", "empty"]
    lost = dict(zip(NAMES, permutation_losses(model, rows, label, seed=3), strict=True))
    gains = dict(zip(NAMES, gain_shares(model.get_booster(), 3), strict=True))
    expected = [(name, gains[name], np.mean(lost[name]), np.std(lost[name], ddof=1)) for name in table["feature"]]
    pd.testing.assert_frame_equal(
        table, pd.DataFrame(expected, columns=["feature", "gain", "permutation", "permutation_std"])
    )


def test_equal_features_stand_in_the_order_of_their_names(label: Labels) -> None:
    """Features with equal gains are sorted by name, which makes the report reproducible."""
    rows = np.zeros((len(label), 3), dtype=np.float32)
    constant = XGBClassifier(n_estimators=1, n_jobs=1, base_score=0.5).fit(rows, label)
    assert importance_table(constant, rows, label, ("b", "c", "a"), seed=3)["feature"].tolist() == ["a", "b", "c"]


def test_chunks_have_the_table_of_the_rows(model: XGBClassifier, rows: Matrix, label: Labels) -> None:
    """Rows that are read in chunks give the same table."""
    importances, expected = (
        importance_table(model, matrix, label, NAMES, seed=3) for matrix in (FeatureMatrix(rows, 70), rows)
    )
    pd.testing.assert_frame_equal(importances, expected, check_exact=True)
