"""Calibration: Platt's numbers come back from simulated margins, and the stage writes the threshold of the policy."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from handler.scoring.calibration import log_odds_to_probability
from training.evaluation.calibration import CalibrationError, calibrated, fit_platt
from training.evaluation.threshold import operating_points

N_ROWS = 100_000

Rows = tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]]


def simulated(slope: float, intercept: float) -> Rows:
    """Margins, and labels whose log-odds are a line over them."""
    rng = np.random.default_rng(3)
    margin = rng.normal(-2, 2, N_ROWS).astype(np.float32)
    probability = 1 / (1 + np.exp(-(slope * margin + intercept)))
    return margin, (rng.random(N_ROWS) < probability).astype(np.int8)


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.6, -1.5), (1.7, -3.0)])
def test_platt_recovers_the_line(slope: float, intercept: float) -> None:
    """The fit finds the slope and intercept with which the labels were drawn."""
    line = fit_platt(*simulated(slope, intercept))
    assert line == pytest.approx((slope, intercept), abs=0.05)


def test_calibrated_probabilities() -> None:
    """Probabilities add up to the number of frauds, and a larger margin never has a smaller one.

    The two fitted numbers have at most eight digits after the point, the same on every processor.
    """
    margin, label = simulated(0.6, -1.5)
    slope, intercept = fit_platt(margin, label)
    assert (slope, intercept) == (round(slope, 8), round(intercept, 8))
    probability = calibrated(np.sort(margin), {"slope": slope, "intercept": intercept})
    assert probability.mean() == pytest.approx(label.mean(), rel=1e-3)
    assert (np.diff(probability) >= 0).all()
    assert ((probability > 0) & (probability < 1)).all()


def test_separable_margins_stay_finite() -> None:
    """Platt's smoothed targets keep the fit finite where a margin separates the classes perfectly."""
    margin = np.concatenate([np.full(50, 3.0), np.full(950, -3.0)]).astype(np.float32)
    slope, intercept = fit_platt(margin, (margin > 0).astype(np.int8))
    assert calibrated(np.array([3.0]), {"slope": slope, "intercept": intercept})[0] == pytest.approx(51 / 52, abs=1e-6)


def test_reversed_model_is_refused() -> None:
    """A model that ranks frauds below legitimate rows is refused."""
    margin, label = simulated(1.0, -1.0)
    with pytest.raises(CalibrationError, match=r"the slope of the calibration is -.*no better than chance"):
        fit_platt(-margin, label)


@pytest.mark.parametrize("margin", [0.0, 1.5, -3.3])
def test_constant_margins_are_refused(margin: float) -> None:
    """A model that gives every row the same margin ranks no better than chance."""
    label = np.array([1] * 20 + [0] * 980, dtype=np.int8)
    with pytest.raises(CalibrationError, match="no better than chance"):
        fit_platt(np.full(1_000, margin, dtype=np.float32), label)


def test_probability_is_the_functions_own() -> None:
    """The calibrated probability equals, to the last bit, what the function computes from a margin."""
    margin = np.array([-80.5, -2.25, 0.0, 0.1, 700.0], dtype=np.float32)
    probability = calibrated(margin, {"slope": 0.7, "intercept": -1.1})
    assert probability.tolist() == [log_odds_to_probability(0.7 * float(value) - 1.1) for value in margin]


def test_stage_keeps_the_declared_recall(trained: Path, calibrated_rows: Callable[[str], Any]) -> None:
    """On the calibration rows, the written threshold has at least the declared recall, and is not far above it.

    Beside it stand the thresholds of other aims.
    """
    fitted = json.loads((trained / "build" / "mini" / "calibration.json").read_text())
    rows, probability = calibrated_rows("calibrate")
    assert fitted["decision"]["policy"] == {"recall": 0.9}
    frauds, threshold = probability[rows["is_fraud"] == 1], fitted["decision"]["threshold"]
    assert 0.9 <= (frauds >= threshold).mean() < 0.9 + 2 / len(frauds)
    assert fitted["operating_points"] == operating_points(probability, rows["is_fraud"].to_numpy(), threshold)
    assert fitted["operating_points"]["declared"] == threshold == fitted["operating_points"]["recall 0.9"]
