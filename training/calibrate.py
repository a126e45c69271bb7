"""Calibrate: margins of untouched later rows -> Platt's two numbers, and the threshold that the policy asks for."""

import json
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from handler.scoring.scorer import log_odds_to_probability
from training.data.window import Window
from training.declaration import declared_scorer
from training.evaluation.threshold import operating_points, threshold_for
from training.run.command import StageError, run
from training.run.files import BUILD, write_text
from training.run.processes import workers_of
from training.run.progress import say
from training.train import margins_of

# The fit passes through BLAS, whose last bits differ between processors.
CALIBRATION_DIGITS = 8

Floats = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.int8]


class CalibrationError(StageError):
    """Raised when the model does not rank the calibration rows better than chance."""


def fit_platt(margin: Floats, label: Labels) -> tuple[float, float]:
    """Slope and intercept of the calibrated log-odds over the margin (Platt 1999, with his smoothed targets).

    Raises CalibrationError where the slope is not positive: such a model ranks frauds below legitimate rows.
    """
    if np.ptp(margin) == 0:
        raise CalibrationError(
            f"the model gives all {len(margin):,} calibration rows one margin; it ranks no better than chance"
        )
    n_frauds = int(label.sum())
    n_legitimate = len(label) - n_frauds
    target = np.where(label == 1, (n_frauds + 1) / (n_frauds + 2), 1 / (n_legitimate + 2))
    # A row with target t is a fraud of weight t and a legitimate row of weight 1 - t.
    both = np.concatenate([margin, margin]).astype(np.float64).reshape(-1, 1)
    labels = np.repeat([1, 0], len(margin))
    fit = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10, max_iter=1000)
    fit.fit(both, labels, sample_weight=np.concatenate([target, 1 - target]))
    slope, intercept = float(fit.coef_[0, 0]), float(fit.intercept_[0])
    if slope <= 0:
        raise CalibrationError(f"the slope of the calibration is {slope:.3g}; the model ranks no better than chance")
    return round(slope, CALIBRATION_DIGITS), round(intercept, CALIBRATION_DIGITS)


def calibrated(margin: Floats, calibration: dict[str, float]) -> npt.NDArray[np.float64]:
    """The calibrated probability of each margin, (n_rows,), by the function's own formula."""
    log_odds = calibration["slope"] * margin.astype(np.float64) + calibration["intercept"]
    return np.fromiter(map(log_odds_to_probability, log_odds.tolist()), dtype=np.float64, count=len(margin))


def main(name: str) -> None:
    """Calibrate one scorer: `python -m training.calibrate refund`."""
    scorer = declared_scorer(name)
    folder = BUILD / name
    pipeline = joblib.load(folder / "pipeline.joblib")
    window = Window(folder / "rows" / "calibrate.parquet")
    label = window.column(scorer.label)
    with workers_of(scorer.compute) as workers:
        margin = margins_of(pipeline, pipeline[0].encoded(window, workers))
    slope, intercept = fit_platt(margin, label)
    calibration = {"slope": slope, "intercept": intercept}
    probability = calibrated(margin, calibration)
    amount = window.column(scorer.costs.amount) if scorer.costs else None
    threshold = threshold_for(probability, label, scorer.decision, amount, scorer.costs)
    fitted = {
        "calibration": calibration,
        "decision": {"policy": scorer.decision.model_dump(exclude_none=True), "threshold": threshold},
        "operating_points": operating_points(probability, label, threshold),
    }
    text = json.dumps(fitted, indent=1) + "\n"
    write_text(folder / "calibration.json", text)
    say(text)


if __name__ == "__main__":
    run(main)
