"""Checks of a column: the typed values, and the reasons for which values are refused."""

import numpy as np
import pandas as pd
import pytest

from handler.scoring.contract import DeclaredField
from training.data.column_checks import check_field, check_id, check_label
from training.errors import DataError


def problems_of(values: list[object], field: DeclaredField) -> list[str]:
    """The problem of each value, "" where there is none."""
    return [str(problem) for problem in check_field(pd.Series(values, dtype=object), field)[1]]


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        (DeclaredField(type="number"), "fast", "is not a number"),
        (DeclaredField(type="money"), "$5", "is not a money"),
        (DeclaredField(type="number"), np.inf, "is infinite"),
        (DeclaredField(type="number"), "-inf", "is infinite"),
        (DeclaredField(type="number", min=0), -0.5, "is below 0"),
        (DeclaredField(type="money", max=500), 500.01, "is above 500"),
        (DeclaredField(type="number"), 2e15, "is above 1e+15"),
        (DeclaredField(type="count"), -1, "is below 0"),
        (DeclaredField(type="count"), 1.5, "is not a whole number"),
        (DeclaredField(type="flag"), 2, "is neither true nor false"),
        (DeclaredField(type="flag"), "maybe", "is not a flag"),
        (DeclaredField(type="category", max_length=2), "DEU", "is longer than 2 characters"),
        (DeclaredField(type="category", required=True), None, "is missing"),
        (DeclaredField(type="category", required=True), "", "is missing"),
        (DeclaredField(type="count", required=True), np.nan, "is missing"),
    ],
)
def test_bad_value_has_its_reason(field: DeclaredField, value: object, problem: str) -> None:
    """A value outside the contract is told by its reason."""
    assert problems_of([value], field) == [problem]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        (DeclaredField(type="number", min=0, max=1), [0, 1.0, "0.5", None, np.nan, ""]),
        (DeclaredField(type="count"), [0, "7", 3.0, None]),
        (DeclaredField(type="category", max_length=2), ["DE", None, ""]),
        (DeclaredField(type="flag"), [True, False, 0, 1, "1", None]),
    ],
)
def test_sound_value_has_no_problem(field: DeclaredField, values: list[object]) -> None:
    """Values at the limits, and missing ones that are not required, are sound."""
    assert problems_of(values, field) == [""] * len(values)


def test_flag_spelled_as_pandas_writes_it() -> None:
    """A CSV's True and False, which is how pandas writes a flag, are flags."""
    typed, problems = check_field(pd.Series(["True", "False", None]), DeclaredField(type="flag"))
    assert problems.tolist() == ["", "", ""]
    assert typed.tolist()[:2] == [1.0, 0.0]


def test_whole_floats_name_categories_without_a_fraction() -> None:
    """Merchant codes that pandas holds as floats become 5411, as a request would carry them."""
    typed, _ = check_field(pd.Series([5411.0, np.nan, 742.0]), DeclaredField(type="category"))
    assert typed.iloc[[0, 2]].tolist() == ["5411", "742"]
    assert typed.isna().tolist() == [False, True, False]


def test_column_that_is_missing_throughout() -> None:
    """A column without one value is sound where it is not required."""
    for kind in ("number", "category", "flag"):
        typed, problems = check_field(pd.Series([None, None], dtype=object), DeclaredField(type=kind))
        assert typed.isna().all()
        assert (problems == "").all()


@pytest.mark.parametrize("values", [[0, 1], [True, False], ["0", "1"], [0.0, 1.0]])
def test_label_is_zero_or_one(values: list[object]) -> None:
    """However 0 and 1 are spelled, the label is an int8."""
    label = check_label(pd.Series(values), "is_fraud")
    assert label.dtype == np.int8
    assert set(label) == {0, 1}


@pytest.mark.parametrize(("wrong", "shown"), [(2, "2"), (None, "nan"), ("fraud", "'fraud'"), (0.5, "0.5")])
def test_other_label_stops(wrong: object, shown: str) -> None:
    """A label that is missing or neither 0 nor 1 stops, named with its column, its value and how often it stands."""
    with pytest.raises(DataError, match="every label must be 0 or 1") as caught:
        check_label(pd.Series([0, 1, wrong, wrong], dtype=object), "is_fraud")
    assert "column is_fraud holds" in str(caught.value)
    assert "(2 rows)" in str(caught.value)
    assert shown.lower() in str(caught.value).lower().replace("none", "nan")


def test_second_row_of_an_id_is_the_problem() -> None:
    """Of two rows with one id the first is sound, and rows without an id do not repeat each other."""
    _, problems = check_id(pd.Series(["a", "b", "a", None, None]))
    assert problems.tolist() == ["", "", "was seen in an earlier row", "", ""]


def test_long_id_is_a_problem() -> None:
    """An id longer than a request may carry is a problem."""
    assert check_id(pd.Series(["x" * 128, "x" * 129]))[1].tolist() == ["", "is longer than 128 characters"]


def test_numeric_ids_are_texts() -> None:
    """An id is a text, as in a request, whatever the file holds."""
    assert check_id(pd.Series([17, 18]))[0].tolist() == ["17", "18"]


@pytest.mark.parametrize("values", [["a", None], [1.0, np.nan]])
def test_missing_id_stays_missing(values: list[object]) -> None:
    """A row without an id does not get the id "nan"."""
    assert check_id(pd.Series(values))[0].isna().tolist() == [False, True]


@pytest.mark.parametrize("value", [b"DE", ["DE"], {"a": 1}])
def test_what_no_request_can_carry_is_no_text(value: object) -> None:
    """Bytes and nested values are set aside, not learned under the name that Python prints for them."""
    _, problems = check_field(pd.Series(["DE", value], dtype=object), DeclaredField(type="category"))
    assert problems.tolist() == ["", "is not a text"]
