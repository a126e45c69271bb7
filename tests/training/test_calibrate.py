"""Calibration: Platt's numbers come back from simulated margins, and the threshold keeps the declared recall."""

import json
from pathlib import Path

import joblib
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from training.calibrate import CalibrationError, calibrated, fit_platt, threshold_for
from training.declaration import Decision
from training.train import margins

N_ROWS = 200_000

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
    found = fit_platt(*simulated(slope, intercept))
    assert found == pytest.approx((slope, intercept), abs=0.05)


def test_calibrated_mean_is_the_fraud_rate() -> None:
    """The calibrated probabilities add up to the number of frauds."""
    margin, label = simulated(0.6, -1.5)
    slope, intercept = fit_platt(margin, label)
    probability = calibrated(margin, {"slope": slope, "intercept": intercept})
    assert probability.mean() == pytest.approx(label.mean(), rel=1e-3)


def test_calibration_keeps_the_ranking() -> None:
    """A larger margin never has a smaller probability."""
    margin, label = simulated(0.6, -1.5)
    slope, intercept = fit_platt(margin, label)
    probability = calibrated(np.sort(margin), {"slope": slope, "intercept": intercept})
    assert (np.diff(probability) >= 0).all()
    assert ((probability > 0) & (probability < 1)).all()


def test_calibration_is_rounded() -> None:
    """The two numbers have at most eight digits after the point, the same on every processor."""
    for number in fit_platt(*simulated(0.6, -1.5)):
        assert number == round(number, 8)


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
def test_model_that_says_one_thing_is_refused(margin: float) -> None:
    """A model that gives every row the same margin ranks no better than chance."""
    label = np.array([1] * 20 + [0] * 980, dtype=np.int8)
    with pytest.raises(CalibrationError, match="no better than chance"):
        fit_platt(np.full(1_000, margin, dtype=np.float32), label)


# Scores with few digits, so that rows tie, among scores with all of theirs; tiny ones are of the order of fraud rates.
SCORES = st.one_of(st.integers(1, 40).map(lambda n: n / 40), st.floats(1e-9, 1.0))


@given(rows=st.lists(st.tuples(SCORES, st.booleans()), min_size=1, max_size=60), recall=st.floats(0.01, 1.0))
@example(rows=[(float(np.nextafter(0.68968216, 0)), True)], recall=0.9)
@example(rows=[(0.29, True), (0.29, False), (0.3, True)], recall=0.9)
def test_threshold_is_the_largest_that_keeps_the_recall(rows: list[tuple[float, bool]], recall: float) -> None:
    """Flagging at the threshold has the declared recall; flagging from the next larger score on misses it."""
    scores, frauds = (np.array(column) for column in zip(*rows, (1.0, True), strict=True))
    threshold = threshold_for(scores, frauds.astype(np.int8), Decision(recall=recall))
    assert (scores[frauds] >= threshold).mean() >= recall - 1e-9
    # The threshold is rounded down to eight digits, so scores within that distance count as the threshold itself.
    larger = scores[scores > threshold * (1 + 1e-7)]
    assert larger.size == 0 or (scores[frauds] >= larger.min()).mean() < recall + 1e-9


def test_threshold_of_a_worked_case() -> None:
    """Of ten frauds, 90 % recall needs nine, so the threshold is the ninth largest score of a fraud."""
    frauds = np.arange(1, 11) / 16
    scores = np.concatenate([frauds, np.full(100, 0.01)])
    label = np.array([1] * 10 + [0] * 100, dtype=np.int8)
    assert threshold_for(scores, label, Decision(recall=0.9)) == 2 / 16
    assert threshold_for(scores, label, Decision(recall=0.91)) == 1 / 16
    assert threshold_for(scores, label, Decision(recall=0.1)) == 10 / 16


def test_threshold_is_independent_of_legitimate_rows() -> None:
    """Recall is about frauds alone; however many legitimate rows score high, the threshold stays."""
    scores = np.array([0.2, 0.5, 0.9])
    alone = threshold_for(scores, np.ones(3, dtype=np.int8), Decision(recall=0.9))
    more = np.concatenate([scores, np.full(1_000, 0.95)])
    label = np.array([1] * 3 + [0] * 1_000, dtype=np.int8)
    assert threshold_for(more, label, Decision(recall=0.9)) == alone


def test_stage_keeps_the_declared_recall(trained: Path) -> None:
    """On the calibration rows, the written threshold has at least the declared recall, and is not far above it."""
    folder = trained / "build" / "mini"
    fitted = json.loads((folder / "calibration.json").read_text())
    assert fitted["decision"]["policy"] == {"recall": 0.9}
    rows = pd.read_parquet(folder / "rows" / "calibrate.parquet")
    probability = calibrated(margins(joblib.load(folder / "pipeline.joblib"), rows), fitted["calibration"])
    frauds = probability[rows["is_fraud"] == 1]
    recall = (frauds >= fitted["decision"]["threshold"]).mean()
    assert 0.9 <= recall < 0.9 + 2 / len(frauds)
