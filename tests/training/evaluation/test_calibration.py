"""Calibration: equal probabilities share a bin, errors have known values, and log-odds are finite."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss

from tests.training.evaluation.test_metrics import WEIGHTED_ROWS, Rows, columns_of
from training.evaluation.calibration import (
    CALIBRATION_BINS,
    brier_score,
    calibration_bins,
    expected_calibration_error,
    log_odds,
)

Floats = npt.NDArray[np.float64]

PROBABILITIES = st.lists(
    st.one_of(st.integers(0, 8).map(lambda n: n / 8), st.floats(0, 1)), min_size=1, max_size=80
).map(np.array)


@settings(max_examples=50)
@given(probability=PROBABILITIES)
def test_bins_follow_the_probability(probability: Floats) -> None:
    """Rows of one probability share a bin, and a higher probability is never in a lower bin."""
    bins = calibration_bins(probability)
    order = np.argsort(probability)
    steps, rises = np.diff(bins[order]), np.diff(probability[order])
    assert (steps >= 0).all()
    assert (steps[rises == 0] == 0).all()
    assert 0 <= bins.min() <= bins.max() < CALIBRATION_BINS


@pytest.mark.parametrize(("n_rows", "n_bins"), [(150, 15), (1_000, 10), (7, 3)])
def test_bins_hold_equally_many_rows(n_rows: int, n_bins: int) -> None:
    """If no probabilities tie, the sizes of bins differ by at most one row."""
    probability = np.random.default_rng(2).permutation(n_rows) ** 3 / n_rows**3
    sizes = np.bincount(calibration_bins(probability, n_bins))
    assert len(sizes) == n_bins
    assert np.ptp(sizes) <= 1


@settings(max_examples=50)
@given(shift=st.just(0.0) | st.floats(0, 0.5))
def test_calibration_error_is_a_known_shift(shift: float) -> None:
    """If all probabilities are too high by the same amount, that amount is the calibration error."""
    shares = (0.02, 0.1, 0.5)
    label = np.concatenate([np.arange(100) < share * 100 for share in shares]).astype(np.int8)
    probability = np.repeat(shares, 100)
    shifted = probability + shift
    assert expected_calibration_error(shifted, label, calibration_bins(shifted)) == pytest.approx(shift, abs=1e-12)


def test_errors_of_opposite_sign_do_not_cancel() -> None:
    """A group predicted 0.1 too high and one 0.1 too low make an error of 0.1, not of 0."""
    label = np.tile(np.arange(10) < 5, 2).astype(np.int8)
    probability = np.repeat([0.4, 0.6], 10)
    error = expected_calibration_error(probability, label, calibration_bins(probability))
    assert error == pytest.approx(0.1)


@given(rows=WEIGHTED_ROWS)
def test_brier_score_is_scikit_learns(rows: Rows) -> None:
    """The Brier score is scikit-learn's, with weights and without."""
    probability, label, weight = columns_of(rows)
    assert brier_score(probability, label) == pytest.approx(brier_score_loss(label, probability))
    weighted = brier_score_loss(label, probability, sample_weight=weight)
    assert brier_score(probability, label, weight) == pytest.approx(weighted)


@settings(max_examples=50)
@given(rows=WEIGHTED_ROWS)
def test_weight_of_a_row_is_how_often_it_counts(rows: Rows) -> None:
    """A row with a whole weight counts like that many copies of it in the same bin."""
    probability, label, weight = columns_of(rows)
    times, bins = (weight * 4).astype(int), calibration_bins(probability)
    weighted = expected_calibration_error(probability, label, bins, weight * 4)
    repeated = expected_calibration_error(*(np.repeat(column, times) for column in (probability, label, bins)))
    assert weighted == pytest.approx(repeated)


@given(st.floats(0, 1))
def test_log_odds_are_finite(probability: float) -> None:
    """Log-odds are finite for every probability and can be converted back."""
    odds = log_odds(np.array([probability]))
    assert np.isfinite(odds).all()
    assert 1 / (1 + np.exp(-odds[0])) == pytest.approx(probability, abs=1e-9)
