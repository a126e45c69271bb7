"""Segments: one line for each level with enough rows; counts add up, and intervals contain their rates."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy.stats import binomtest

from handler.scoring.contract import Contract
from handler.scoring.features import Features, build_features
from handler.scoring.fields import DeclaredField
from training.evaluation.segments import MIN_FRAUDS, MIN_ROWS, Decisions, segment_table
from training.run.matrix import FeatureMatrix

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int8]
Matrix = npt.NDArray[np.float32]
Scored = tuple[Matrix, Floats, Labels]


@pytest.fixture(scope="module")
def features() -> Features:
    """A number, a category with two learned levels, and a flag."""
    types = {"amount": "money", "country": "category", "is_new": "flag"}
    fields = {name: DeclaredField.model_validate({"type": type_}) for name, type_ in types.items()}
    contract = Contract(route="/shop", answer="probability", id=None, fields=fields, features={})
    return build_features(contract, {"country": ["DE", "FR"]})


@pytest.fixture(scope="module")
def scored() -> Scored:
    """1,500 rows: 200 of other countries, 800 German, 199 French, 301 without one; 5 % frauds, which score higher."""
    rng = np.random.default_rng(1)
    country = np.repeat([0.0, 1.0, 2.0, np.nan], [200, 800, 199, 301])
    is_new = (rng.random(1_500) < 0.4).astype(float)
    rows = np.column_stack([rng.lognormal(3, 1, 1_500), country, is_new]).astype(np.float32)
    label = (rng.random(1_500) < 0.05).astype(np.int8)
    return rows, np.clip(rng.normal(0.2 + 0.3 * label, 0.2), 0, 1), label


@pytest.fixture(scope="module")
def table(features: Features, scored: Scored) -> pd.DataFrame:
    """The segments of these rows, flagged from a probability of 0.4."""
    return segment_table(features, scored[0], Decisions(*scored[1:], threshold=0.4))


def line_of(table: pd.DataFrame, feature: str, segment: str) -> dict[str, Any]:
    """The one line of a segment."""
    [line] = table[(table["feature"] == feature) & (table["segment"] == segment)].to_dict("records")
    return dict(line)


def test_segments_with_enough_rows_have_a_line(table: pd.DataFrame) -> None:
    """`other` and missing values are segments too; numbers, and a level with one row too few, have no line."""
    assert MIN_ROWS == 200
    assert list(zip(table["feature"], table["segment"], strict=True)) == [
        ("country", "other"),
        ("country", "DE"),
        ("country", "(missing)"),
        ("is_new", "no"),
        ("is_new", "yes"),
    ]
    assert table[table["feature"] == "country"]["rows"].tolist() == [200, 800, 301]


def test_counts_add_up(table: pd.DataFrame, scored: Scored) -> None:
    """If all levels of a feature have a line, the lines add up to all rows, frauds and alerts."""
    _, probability, label = scored
    flags = table[table["feature"] == "is_new"]
    assert flags["rows"].sum() == len(label)
    assert flags["frauds"].sum() == label.sum()
    assert (flags["rows"] * flags["alert_rate"]).sum() == pytest.approx((probability >= 0.4).sum())
    assert (flags["rows"] * flags["predicted_rate"]).sum() == pytest.approx(probability.sum())


def test_rates_are_what_counting_gives(table: pd.DataFrame, scored: Scored) -> None:
    """A segment's rates equal plain counting among its rows, and its recall has scipy's Wilson interval."""
    rows, probability, label = scored
    member = rows[:, 1] == 1
    flagged, is_fraud = probability[member] >= 0.4, label[member] == 1
    line = line_of(table, "country", "DE")
    assert line["frauds"] == is_fraud.sum() >= MIN_FRAUDS
    assert line["fraud_rate"] == is_fraud.mean()
    assert line["alert_rate"] == flagged.mean()
    assert line["recall"] == flagged[is_fraud].mean()
    assert line["false_positive_rate"] == flagged[~is_fraud].mean()
    assert line["predicted_rate"] == probability[member].mean()
    expected = binomtest(int(flagged[is_fraud].sum()), int(is_fraud.sum())).proportion_ci(method="wilson")
    assert (line["recall_low"], line["recall_high"]) == pytest.approx((expected.low, expected.high), rel=1e-12)
    # Every rate in the table lies within its interval.
    for name in ("recall", "false_positive_rate"):
        shown = table.dropna(subset=name)
        assert len(shown) > 0
        assert (shown[f"{name}_low"] <= shown[name]).all()
        assert (shown[name] <= shown[f"{name}_high"]).all()


def one_segment(features: Features, n_frauds: int, n_rows: int = 300) -> dict[str, Any]:
    """The line of a segment with these numbers of frauds and rows."""
    rows = np.tile(np.array([1.0, 1.0, 0.0], dtype=np.float32), (n_rows, 1))
    label = (np.arange(n_rows) < n_frauds).astype(np.int8)
    return line_of(
        segment_table(features, rows, Decisions(np.full(n_rows, 0.5), label, threshold=0.5)), "country", "DE"
    )


def test_recall_of_few_frauds_is_blank(features: Features) -> None:
    """Recall is blank below ten frauds, as is its interval; without legitimate rows there is no false positive rate."""
    few, enough = one_segment(features, MIN_FRAUDS - 1), one_segment(features, MIN_FRAUDS)
    assert all(pd.isna(few[name]) for name in ("recall", "recall_low", "recall_high"))
    assert few["frauds"] == 9
    assert few["false_positive_rate"] == enough["recall"] == 1.0
    frauds_alone = one_segment(features, n_frauds=300)
    assert frauds_alone["recall"] == 1.0
    assert pd.isna(frauds_alone["false_positive_rate"])


def test_few_rows_have_no_segments(features: Features, scored: Scored, table: pd.DataFrame) -> None:
    """If no segment has enough rows, the table is empty but has the same columns."""
    rows, probability, label = (column[:100] for column in scored)
    empty = segment_table(features, rows, Decisions(probability, label, threshold=0.4))
    assert len(empty) == 0
    assert list(empty.columns) == list(table.columns)


def test_chunks_have_the_segments_of_the_rows(features: Features, scored: Scored, table: pd.DataFrame) -> None:
    """Rows that are read in chunks give the same table."""
    rows, probability, label = scored
    chunked = segment_table(features, FeatureMatrix(rows, 170), Decisions(probability, label, threshold=0.4))
    pd.testing.assert_frame_equal(chunked, table, check_exact=True)
