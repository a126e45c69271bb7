"""Ranking: weighted metrics equal scikit-learn's, and counts equal plain counting."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from training.evaluation.metrics import average_precision, rank, recall_at_fpr, roc_auc

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int8]
Rows = list[tuple[float, bool, float]]

# Few distinct scores, for ties; weights with exact sums, including zero as in a bootstrap resample.
TIED = st.integers(0, 8).map(lambda n: n / 8)
WEIGHTS = st.integers(0, 12).map(lambda n: n / 4)
WEIGHTED_ROWS = st.lists(st.tuples(TIED, st.booleans(), WEIGHTS), max_size=60).map(
    # One row of each class always has a weight, as in every bootstrap resample.
    lambda rows: [*rows, (0.5, True, 1.0), (0.5, False, 1.0)]
)


def columns_of(rows: Rows) -> tuple[Floats, Labels, Floats]:
    """Scores, labels and weights as arrays."""
    score, label, weight = zip(*rows, strict=True)
    return np.array(score), np.array(label, dtype=np.int8), np.array(weight)


@given(rows=WEIGHTED_ROWS, limit=st.sampled_from([0.0, 0.01, 0.1, 0.25, 0.5, 1.0]))
def test_metrics_are_scikit_learns(rows: Rows, limit: float) -> None:
    """ROC AUC, average precision and recall at a false positive rate agree for all ties and weights.

    That recall is the highest among scikit-learn's ROC points within the rate.
    """
    score, label, weight = columns_of(rows)
    counts, weights = rank(score, label).counts(weight), {"sample_weight": weight}
    assert roc_auc(*counts) == pytest.approx(roc_auc_score(label, score, **weights))
    assert average_precision(*counts) == pytest.approx(average_precision_score(label, score, **weights))
    rates, recalls, _ = roc_curve(label, score, **weights, drop_intermediate=False)
    assert recall_at_fpr(*counts, limit) == pytest.approx(recalls[rates <= limit + 1e-9].max())


@settings(max_examples=50)
@given(rows=WEIGHTED_ROWS)
def test_counts_are_what_counting_gives(rows: Rows) -> None:
    """Counts start with 0, then give the weight at or above each distinct score, from the highest score down."""
    score, label, weight = columns_of(rows)
    frauds, legitimate = rank(score, label).counts(weight)
    steps = [score >= value for value in np.unique(score)[::-1]]
    assert frauds.tolist() == [0.0, *(weight[step & (label == 1)].sum() for step in steps)]
    assert legitimate.tolist() == [0.0, *(weight[step & (label == 0)].sum() for step in steps)]


def test_counts_without_weights() -> None:
    """Without weights each row counts once."""
    ranking = rank(np.array([0.2, 0.9, 0.2, 0.5]), np.array([1, 1, 0, 0], dtype=np.int8))
    frauds, legitimate = ranking.counts()
    assert frauds.tolist() == [0, 1, 1, 2]
    assert legitimate.tolist() == [0, 0, 1, 2]


@settings(max_examples=50)
@given(rows=WEIGHTED_ROWS, threshold=st.one_of(TIED, st.floats(-1, 2)))
def test_position_of_a_threshold(rows: Rows, threshold: float) -> None:
    """A threshold's position has the counts of rows at or above it, even if no row has that score.

    The position of a row's score gives back that score.
    """
    score, label, weight = columns_of(rows)
    ranking = rank(score, label)
    frauds, legitimate = ranking.counts(weight)
    position = ranking.position_of(threshold)
    assert frauds[position] + legitimate[position] == weight[score >= threshold].sum()
    assert [ranking.threshold_at(ranking.position_of(value)) for value in score] == score.tolist()


def test_margins_rank_like_their_doubles() -> None:
    """Scores in float32, as XGBoost gives margins, rank as the same numbers in float64."""
    rng = np.random.default_rng(1)
    margin = rng.normal(size=500).astype(np.float32)
    label = (rng.random(500) < 0.1).astype(np.int8)
    single, double = rank(margin, label), rank(margin.astype(np.float64), label)
    assert single.score.dtype == np.float64
    assert (single.order == double.order).all()
    assert (single.ends == double.ends).all()


def test_constant_scores() -> None:
    """Equal scores for all rows are chance: an area of a half, the fraud rate as precision, no recall at 1 %."""
    counts = rank(np.full(10, 0.3), np.array([1, 1] + [0] * 8, dtype=np.int8)).counts()
    assert roc_auc(*counts) == 0.5
    assert average_precision(*counts) == 0.2
    assert recall_at_fpr(*counts) == 0.0


def test_recall_at_exactly_the_limit() -> None:
    """A false positive rate of exactly 1 % is within 1 %."""
    score = np.concatenate([[0.9, 0.8, 0.7], np.full(99, 0.1)])
    label = np.array([1, 0, 1] + [0] * 99, dtype=np.int8)
    assert recall_at_fpr(*rank(score, label).counts()) == 1.0
