"""Reference distributions: equal for chunks and whole tables; decisions are counted, and scores stand for shares."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from handler.scoring.features import build_features
from training.declaration import ScorerDeclaration
from training.model.distributions import SCORE_EDGES, feature_distributions, score_distribution, score_scale
from training.run.matrix import FeatureMatrix


def test_chunks_have_the_bins_of_the_rows(
    trained_pipeline: Any,  # noqa: ANN401 - no types
    trained_rows: Callable[[str], Any],
    mini_scorer: ScorerDeclaration,
) -> None:
    """A matrix that is read in chunks has the same bins, counts and rare values."""
    encoder = trained_pipeline[0]
    features = build_features(mini_scorer.contract, encoder.vocabulary_)
    matrix = encoder.transform(trained_rows("train"))
    assert feature_distributions(FeatureMatrix(matrix, 111), features) == feature_distributions(matrix, features)


def test_score_counts_every_row() -> None:
    """Counts are by intervals of the log-odds, and the most certain scores are in the outermost ones."""
    probability = np.array([0.0, 1e-9, 0.5, 0.5001, 0.9999999, 1.0])
    score = score_distribution(probability, np.zeros(6, dtype=np.int8), 0.5)
    middle = int(np.searchsorted(SCORE_EDGES, 0.0))
    assert len(score["counts"]) == len(SCORE_EDGES) + 1
    counts = {position: count for position, count in enumerate(score["counts"]) if count}
    assert counts == {0: 2, middle: 1, middle + 1: 1, len(SCORE_EDGES): 2}


def test_score_says_what_the_threshold_did() -> None:
    """A score equal to the threshold is flagged; flagged frauds count as caught."""
    probability, label = np.array([0.1, 0.5, 0.6, 0.9]), np.array([1, 0, 1, 1], dtype=np.int8)
    score = score_distribution(probability, label, 0.5)
    assert [score[name] for name in ("rows", "frauds", "flagged", "caught")] == [4, 3, 3, 2]


@pytest.mark.parametrize("n_legitimate", [1, 7, 1_000, 30_000])
def test_scores_stand_for_false_positive_rates(n_legitimate: int) -> None:
    """At most 2 % of the legitimate rows score 900 or more and 10 % score 600 or more, at most one row below that.

    All rows score at least 0, none 1000; in between the share falls evenly: 1 % at 950, 55 % at 300.
    """
    rng = np.random.default_rng(n_legitimate)
    legitimate = np.unique(np.round(rng.beta(0.5, 20, n_legitimate * 2), 12))[:n_legitimate]
    probability = np.concatenate([legitimate, rng.beta(2, 4, 40)])
    label = np.repeat([0, 1], [len(legitimate), 40]).astype(np.int8)
    scale = score_scale(probability, label)
    assert len(scale) == 1000
    assert scale == sorted(scale)
    scores = np.searchsorted(scale, legitimate, side="left")
    for score, share in ((1, 0.9985), (300, 0.55), (600, 0.1), (900, 0.02), (950, 0.01), (1000, 0.0)):
        n_expected = np.floor(share * len(legitimate) + 1e-9)
        assert n_expected - 1 <= (scores >= score).sum() <= n_expected


def test_tied_rows_have_one_score() -> None:
    """Rows with equal probabilities never get a score that only fewer rows should have."""
    probability, label = np.repeat([0.1, 0.5], [500, 500]), np.zeros(1_000, dtype=np.int8)
    scale = score_scale(probability, label)
    scores = np.searchsorted(scale, [0.1, 0.5, 0.9], side="left").tolist()
    # Half of the rows have 0.5 or more; that exceeds 10 %, so their score is below 600.
    assert scores[0] == 0
    assert 0 < scores[1] < 600
    assert scores[2] == 1000
