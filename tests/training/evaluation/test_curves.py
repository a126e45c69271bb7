"""Curves are thinned but keep their ends, and reliability tables count every row."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.evaluation.test_measure import labels
from training.evaluation.calibration import CALIBRATION_BINS
from training.evaluation.curves import CURVE_POINTS, curves, reliability


def test_curves_are_thinned_and_keep_their_ends() -> None:
    """However many rows there are, a curve has at most 200 points, its first and last among them."""
    rng = np.random.default_rng(5)
    label = (rng.random(20_000) < 0.2).astype(np.int8)
    tables = curves(rng.random(20_000), label)
    for name in ("roc", "precision_recall"):
        assert 100 < len(tables[name]) <= CURVE_POINTS == 200
    roc, precision_recall = tables["roc"], tables["precision_recall"]
    assert roc.iloc[[0, -1]].to_numpy().tolist() == [[0, 0], [1, 1]]
    assert precision_recall.iloc[0]["recall"] == 1
    assert precision_recall.iloc[0]["precision"] == pytest.approx(label.mean())
    assert precision_recall.iloc[-1].tolist() == [0, 1]
    assert roc["false_positive_rate"].is_monotonic_increasing
    assert roc["recall"].is_monotonic_increasing
    # A curve with fewer points than a plot can show keeps them all, each once.
    roc = curves(np.array([0.9, 0.8, 0.7, 0.1]), labels(1, 0, 1, 0))["roc"]
    assert roc.to_numpy().tolist() == [[0, 0], [0, 0.5], [0.5, 0.5], [0.5, 1], [1, 1]]


def test_reliability_of_calibrated_probabilities() -> None:
    """If probabilities are true, each bin's observed share is what it predicts."""
    rng = np.random.default_rng(6)
    probability = rng.random(100_000)
    table = reliability(probability, (rng.random(100_000) < probability).astype(np.int8))
    assert len(table) == CALIBRATION_BINS
    assert (table["observed"] - table["predicted"]).abs().max() < 0.02
    assert table["predicted"].is_monotonic_increasing


def test_reliability_of_tied_probabilities() -> None:
    """Rows that share a probability, as many do in a shallow model, form one line of the table."""
    probability = np.repeat([0.01, 0.02, 0.9], [500, 400, 100])
    table = reliability(probability, labels(*([0] * 900 + [1] * 100)))
    assert table["rows"].tolist() == [500, 400, 100]
    assert table["predicted"].tolist() == pytest.approx([0.01, 0.02, 0.9])
    assert table["observed"].tolist() == [0.0, 0.0, 1.0]


@settings(max_examples=20)
@given(rows=st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40))
def test_reliability_holds_every_row(rows: list[tuple[float, bool]]) -> None:
    """The bins together hold all rows and frauds, and each interval contains the observed share."""
    probability, is_fraud = zip(*rows, strict=True)
    table = reliability(np.array(probability), labels(*is_fraud))
    assert table["rows"].sum() == len(rows)
    assert (table["rows"] * table["observed"]).sum() == pytest.approx(sum(is_fraud))
    assert (table["low"] <= table["observed"] + 1e-12).all()
    assert (table["observed"] <= table["high"] + 1e-12).all()
