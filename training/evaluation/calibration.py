"""Calibration: Platt scaling of margins to probabilities (Platt 1999), and how far these are from the labels."""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from handler.scoring.calibration import log_odds_to_probability
from training.errors import StageError
from training.run.matrix import Floats, Labels

# The fit passes through BLAS, whose last bits differ between processors.
CALIBRATION_DIGITS = 8
REMEDY = "check that the label means fraud and that the fields are known when a request is scored, or bring more frauds"
CALIBRATION_BINS = 15


class CalibrationError(StageError):
    """Raised when the model does not rank the calibration rows better than chance."""


def fit_platt(margin: npt.NDArray[np.floating[Any]], label: Labels) -> tuple[float, float]:
    """Slope and intercept of the calibrated log-odds over the margin (Platt 1999, with his smoothed targets).

    Raises CalibrationError if all margins are equal, or if the slope is not positive: such a model does not rank frauds
    above legitimate rows.
    """
    if np.ptp(margin) == 0:
        raise CalibrationError(
            f"the model gives all {len(margin):,} calibration rows the same margin; it ranks no better than chance: "
            f"{REMEDY}"
        )
    n_frauds = int(label.sum())
    n_legitimate = len(label) - n_frauds
    target = np.where(label == 1, (n_frauds + 1) / (n_frauds + 2), 1 / (n_legitimate + 2))
    # A row with target t is a fraud of weight t and a legitimate row of weight 1 - t.
    margins = np.concatenate([margin, margin]).astype(np.float64).reshape(-1, 1)
    labels = np.repeat([1, 0], len(margin))
    fit = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10, max_iter=1000)
    fit.fit(margins, labels, sample_weight=np.concatenate([target, 1 - target]))
    slope, intercept = float(fit.coef_[0, 0]), float(fit.intercept_[0])
    if slope <= 0:
        raise CalibrationError(
            f"the slope of the calibration is {slope:.3g}; the model ranks no better than chance: {REMEDY}"
        )
    return round(slope, CALIBRATION_DIGITS), round(intercept, CALIBRATION_DIGITS)


def calibrated(margin: npt.NDArray[np.floating[Any]], calibration: dict[str, float]) -> Floats:
    """The calibrated probability of each margin, (n_rows,), by the function's own formula."""
    log_odds = calibration["slope"] * margin.astype(np.float64) + calibration["intercept"]
    return np.fromiter(map(log_odds_to_probability, log_odds.tolist()), dtype=np.float64, count=len(margin))


def log_odds(probability: Floats) -> Floats:
    """The log-odds of probabilities, finite for 0 and 1 too."""
    clipped = probability.clip(1e-12, 1 - 1e-12)
    return np.log(clipped) - np.log1p(-clipped)


def brier_score(probability: Floats, label: Labels, weight: Floats | None = None) -> float:
    """The mean squared difference between probability and label."""
    return float(np.average((probability - label) ** 2, weights=weight))


def calibration_bins(probability: Floats, n_bins: int = CALIBRATION_BINS) -> npt.NDArray[np.intp]:
    """The bin of each row, in bins of equally many rows; rows with equal probabilities share a bin."""
    edges = np.unique(np.quantile(probability, np.linspace(0, 1, n_bins + 1)[1:-1]))
    return np.searchsorted(edges, probability, side="right")


def expected_calibration_error(
    probability: Floats, label: Labels, bins: npt.NDArray[np.intp], weight: Floats | None = None
) -> float:
    """The mean distance between predicted and observed rate over bins of equally many rows (Naeini 2015).

    If fraud is rare, equally wide bins would put nearly all rows into the first and hide the errors above it.
    """
    weight = np.ones(len(label)) if weight is None else weight
    return float(np.abs(np.bincount(bins, weight * (probability - label))).sum() / weight.sum())
