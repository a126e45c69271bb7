"""Metrics at thresholds equal a calculation by hand; their intervals contain them and are reproducible."""

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.evaluation.cost import Money
from training.evaluation.measure import RANKING_METRICS, RANKING_SHARES, RATES, Evaluation, measure
from training.params import Costs

Measures = tuple[dict[str, float], dict[str, list[float]], pd.DataFrame]
EIGHTHS, QUARTERS = st.integers(0, 8).map(lambda n: n / 8), st.integers(0, 400).map(lambda n: n / 4)
Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int8]
COSTS = Costs(amount="amount", review=2.0)


def labels(*values: int) -> Labels:
    """Labels as the stages hold them."""
    return np.array(values, dtype=np.int8)


def measured(evaluation: Evaluation, weight: Floats | None = None) -> dict[str, float]:
    """The measures by name, for the first of several thresholds; each row counts once unless it is weighted."""
    values = evaluation.measured(np.ones(len(evaluation.label)) if weight is None else weight)
    return dict(zip([*RANKING_METRICS, *evaluation.columns], values.tolist(), strict=False))


def test_worked_case() -> None:
    """Every metric of six rows equals a calculation by hand."""
    probability, amount = np.array([0.9, 0.8, 0.7, 0.6, 0.2, 0.1]), np.array([50.0, 9, 30, 9, 9, 9])
    measures = measured(Evaluation(probability, labels(1, 0, 1, 0, 0, 0), [0.65], Money(amount, COSTS)))
    assert measures == pytest.approx(
        {
            "roc_auc": 7 / 8,  # of 2 x 4 pairs, one (0.7 against 0.8) is the wrong way round
            "average_precision": (1 / 1 + 2 / 3) / 2,
            "recall_at_1pct_fpr": 1 / 2,
            "brier_score": (0.01 + 0.64 + 0.09 + 0.36 + 0.04 + 0.01) / 6,
            "expected_calibration_error": (0.1 + 0.8 + 0.3 + 0.6 + 0.2 + 0.1) / 6,  # each row has a bin of its own
            "recall": 1.0,
            "precision": 2 / 3,
            "false_positive_rate": 1 / 4,
            "alert_rate": 3 / 6,
            "cost_of_1000": 1000 * (3 * 2.0) / 6,
        }
    )


@settings(max_examples=50)
@given(
    rows=st.lists(st.tuples(EIGHTHS, st.booleans(), QUARTERS), max_size=40),
    thresholds=st.lists(st.floats(-0.5, 1.5), min_size=1, max_size=3),
)
def test_rates_are_what_counting_gives(rows: list[tuple[float, bool, float]], thresholds: list[float]) -> None:
    """With every row counted once, the rates and cost of each threshold equal plain counting."""
    score, is_fraud, money = zip(*rows, (0.5, True, 8.0), (0.5, False, 4.0), strict=True)
    probability, label, amount = np.array(score), labels(*is_fraud), np.array(money)
    expected = []
    for threshold in thresholds:
        flagged = probability >= threshold
        expected += [
            flagged[label == 1].mean(),
            label[flagged].mean() if flagged.any() else 0.0,
            flagged[label == 0].mean(),
            flagged.mean(),
            1000 * (amount[(label == 1) & ~flagged].sum() + COSTS.review * flagged.sum()) / len(label),
        ]
    values = Evaluation(probability, label, thresholds, Money(amount, COSTS)).measured(np.ones(len(label)))
    assert values[len(RANKING_METRICS) :] == pytest.approx(np.array(expected))


@settings(max_examples=50)
@given(times=st.lists(st.integers(0, 3), min_size=12, max_size=12))
def test_weight_of_a_row_is_how_often_it_counts(times: list[int]) -> None:
    """A row with a whole weight, as the bootstrap draws it, counts like that many copies of the row."""
    weight = np.array([*times, 1.0, 1.0])
    rng = np.random.default_rng(3)
    probability, label, amount = rng.integers(0, 8, 14) / 8, labels(*[0, 1] * 7), rng.integers(1, 99, 14).astype(float)
    measures = measured(Evaluation(probability, label, [0.5], Money(amount, COSTS)), weight)
    probability, label, amount = (np.repeat(column, weight.astype(int)) for column in (probability, label, amount))
    expected = measured(Evaluation(probability, label, [0.5], Money(amount, COSTS)))
    # Left out because its bins are made of the rows before they are repeated.
    del measures["expected_calibration_error"], expected["expected_calibration_error"]
    assert measures == pytest.approx(expected)


@pytest.mark.parametrize("scale", [0.25, 0.1, 100.0])
def test_weights_are_relative(scale: float) -> None:
    """Multiplying all weights by one factor changes nothing."""
    probability, label, amount = np.array([0.9, 0.8, 0.3, 0.1]), labels(1, 0, 1, 0), np.array([70.0, 5, 40, 5])
    evaluation = Evaluation(probability, label, [0.5], Money(amount, COSTS))
    weight = np.array([1.0, 2.0, 1.0, 3.0])
    assert measured(evaluation, weight * scale) == pytest.approx(measured(evaluation, weight))


def test_perfect_model() -> None:
    """A model that knows the label has perfect metrics."""
    label = labels(*([1] * 10 + [0] * 990))
    measures = measured(Evaluation(label.astype(float), label, [0.5]))
    for name in ("roc_auc", "average_precision", "recall_at_1pct_fpr", "precision", "recall"):
        assert measures[name] == 1.0
    assert measures["brier_score"] == measures["expected_calibration_error"] == measures["false_positive_rate"] == 0.0
    assert measures["alert_rate"] == 0.01


def test_cost_is_measured_where_it_is_declared() -> None:
    """Without costs, only the rates are measured; a score equal to the threshold is flagged."""
    probability, label = np.array([0.5, 0.1]), labels(1, 0)
    assert Evaluation(probability, label, [0.5]).columns == RATES
    assert measured(Evaluation(probability, label, [0.5]))["alert_rate"] == 0.5
    assert len(Evaluation(probability, label, [0.5, 0.2]).measured(np.ones(2))) == len(RANKING_METRICS) + 2 * len(RATES)
    assert Evaluation(probability, label, [0.5], Money(np.ones(2), COSTS)).columns == (*RATES, "cost_of_1000")


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    """400 rows with calibrated probabilities, three thresholds and costs."""
    rng = np.random.default_rng(5)
    probability = rng.beta(1, 4, 400)
    label = (rng.random(400) < probability).astype(np.int8)
    return Evaluation(probability, label, [0.3, 0.5, 0.1], Money(rng.lognormal(3, 1, 400), COSTS))


@pytest.fixture(scope="module")
def measures(evaluation: Evaluation) -> Measures:
    """Their metrics, intervals and threshold table."""
    return measure(evaluation, seed=1)


def test_table_has_a_line_for_each_threshold(evaluation: Evaluation, measures: Measures) -> None:
    """Lines come in the given order, with measures and intervals; the headline figures are the first line's."""
    metrics, intervals, table = measures
    assert metrics == measured(evaluation)
    assert list(intervals) == list(metrics)
    assert table["threshold"].tolist() == evaluation.thresholds
    second = measured(Evaluation(evaluation.probability, evaluation.label, [0.5], evaluation.money))
    for name in evaluation.columns:
        assert table[name][:2].tolist() == [metrics[name], second[name]]
        assert (table[f"{name}_low"] <= table[name]).all()
        assert (table[name] <= table[f"{name}_high"]).all()
        assert intervals[name] == [table[f"{name}_low"][0], table[f"{name}_high"][0]]


def test_measure_reproduces(evaluation: Evaluation, measures: Measures) -> None:
    """The same rows and seed give the same intervals to the last bit."""
    _, intervals, table = measure(evaluation, seed=1)
    assert intervals == measures[1]
    pd.testing.assert_frame_equal(table, measures[2], check_exact=True)


@pytest.mark.parametrize("is_perfect", [True, False])
@pytest.mark.parametrize("n_frauds", [2, 8, 40, 900])
def test_no_share_has_an_interval_without_width(n_frauds: int, *, is_perfect: bool) -> None:
    """Every share has an interval with a width, even if the model ranks all frauds above or below all other rows."""
    label = np.repeat([1, 0], [n_frauds, 1_000 - n_frauds]).astype(np.int8)
    noise = np.random.default_rng(1).random(1_000) / 4
    probability = noise + 0.5 * (label if is_perfect else 1 - label)
    _, intervals, table = measure(Evaluation(probability, label, [0.4, 2.0]), seed=1)
    shares = [intervals[name] for name in RANKING_SHARES]
    shares += [[line[f"{name}_low"], line[f"{name}_high"]] for _, line in table.iterrows() for name in RATES]
    assert all(0 <= low < high <= 1 for low, high in shares)


def test_calibration_error_lies_inside_its_interval() -> None:
    """The calibration error of a well-calibrated model lies within the interval that is reported with it."""
    rng = np.random.default_rng(1)
    probability = rng.beta(1, 20, 1_000)
    label = (rng.random(1_000) < probability).astype(np.int8)
    metrics, intervals, _ = measure(Evaluation(probability, label, [0.1]), seed=1)
    low, high = intervals["expected_calibration_error"]
    assert low <= metrics["expected_calibration_error"] <= high
