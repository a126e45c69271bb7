"""Checks of a column: its typed values, and the reasons why values are refused."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from handler.scoring.fields import DeclaredField
from training.data.column_checks import check_field, check_id, check_label
from training.errors import DataError


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        (DeclaredField(type="number"), "fast", "is not a number"),
        (DeclaredField(type="money"), "$5", "is not an amount of money"),
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
        # Bytes and nested values do not become levels under the name that Python prints for them.
        (DeclaredField(type="category"), b"DE", "is not a text"),
        (DeclaredField(type="category"), ["DE"], "is not a text"),
        (DeclaredField(type="category"), {"a": 1}, "is not a text"),
        (DeclaredField(type="date"), "31.01.2024", "is not a date"),
        (DeclaredField(type="date"), "2023-02-29", "is not a date"),
        (DeclaredField(type="date"), "2024", "is not a date"),
        (DeclaredField(type="date"), 1_700_000_000, "is not a date"),
        (DeclaredField(type="date"), ["2024-01-31"], "is not a date"),
        (DeclaredField(type="date"), "1899-12-31T23:59:59Z", "is before 1900"),
        (DeclaredField(type="date"), dt.datetime(1, 1, 1), "is before 1900"),  # noqa: DTZ001 - as databases export it
        (DeclaredField(type="date", required=True), None, "is missing"),
    ],
)
def test_bad_value_has_its_reason(field: DeclaredField, value: object, problem: str) -> None:
    """A value that breaks the contract gets its reason, and the sound value beside it none."""
    sound = {"category": "DE", "date": "2024-01-31"}.get(field.type, 1)
    assert check_field(pd.Series([sound, value], dtype=object), field)[1].tolist() == ["", problem]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        (DeclaredField(type="number", min=0, max=1), [0, 1.0, "0.5", None, np.nan, ""]),
        (DeclaredField(type="number"), [None, None]),
        (DeclaredField(type="count"), [0, "7", 3.0, None]),
        (DeclaredField(type="category", max_length=2), ["DE", None, ""]),
        (DeclaredField(type="category"), [None, None]),
        (DeclaredField(type="flag"), [True, False, 0, 1, "1", None]),
        (DeclaredField(type="flag"), [None, None]),
        (DeclaredField(type="date"), ["1900-01-01", dt.date(2024, 2, 29), pd.Timestamp("2024-01-31"), None, ""]),
        (DeclaredField(type="date"), [None, None]),
    ],
)
def test_sound_value_has_no_problem(field: DeclaredField, values: list[object]) -> None:
    """Values at the limits, and missing ones that are not required, are sound."""
    typed, problems = check_field(pd.Series(values, dtype=object), field)
    assert problems.tolist() == [""] * len(values)
    assert typed.isna().tolist() == [value in {None, ""} or value != value for value in values]  # noqa: PLR0124 - NaN


def test_flag_spelled_as_pandas_writes_it() -> None:
    """A CSV's True and False, which is how pandas writes a flag, are flags."""
    typed, problems = check_field(pd.Series(["True", "False", None]), DeclaredField(type="flag"))
    assert problems.tolist() == ["", "", ""]
    assert typed.tolist()[:2] == [1.0, 0.0]


def test_whole_floats_name_categories_without_a_fraction() -> None:
    """Merchant codes that pandas holds as floats become 5411, as a request would carry them."""
    typed, _ = check_field(pd.Series([5411.0, np.nan, 742.0, 1e19]), DeclaredField(type="category"))
    assert typed.iloc[[0, 2, 3]].tolist() == ["5411", "742", "1" + "0" * 19]
    assert typed.isna().tolist() == [False, True, False, False]


@pytest.mark.parametrize("values", [[0, 1], [True, False], ["0", "1"], [0.0, 1.0]])
def test_label_is_zero_or_one(values: list[object]) -> None:
    """However 0 and 1 are spelled, the label is an int8."""
    label = check_label(pd.Series(values), "is_fraud")
    assert label.dtype == np.int8
    assert set(label) == {0, 1}


@pytest.mark.parametrize(("wrong", "shown"), [(2, "2"), (None, "nan"), ("fraud", "'fraud'"), (0.5, "0.5")])
def test_other_label_stops(wrong: object, shown: str) -> None:
    """A missing label, or one other than 0 and 1, stops with its column, its value and the number of such rows."""
    with pytest.raises(DataError, match="every label must be 0 or 1") as caught:
        check_label(pd.Series([0, 1, wrong, wrong], dtype=object), "is_fraud")
    assert "column is_fraud holds" in str(caught.value)
    assert "(2 rows)" in str(caught.value)
    assert shown.lower() in str(caught.value).lower().replace("none", "nan")


def test_ids() -> None:
    """An id becomes text, whatever its type; a repeated or too long id is refused, and a missing one stays missing."""
    ids, problems = check_id(pd.Series(["a", "b", "a", None, None, "x" * 128, "x" * 129]))
    assert problems.tolist() == ["", "", "was seen in an earlier row", "", "", "", "is longer than 128 characters"]
    assert ids.isna().tolist() == [False, False, False, True, True, False, False]
    assert check_id(pd.Series([17, 18]))[0].tolist() == ["17", "18"]
    assert check_id(pd.Series([1.0, np.nan]))[0].isna().tolist() == [False, True]


@pytest.mark.parametrize("kind", ["count", "number", "money", "flag"])
def test_blanks_are_a_missing_number(kind: str) -> None:
    """A cell that holds only blanks is missing, like an empty one, and is refused as missing in a required field."""
    values = pd.Series(["1", " ", "", "\t "], dtype="str")
    typed, problems = check_field(values, DeclaredField(type=kind))
    assert typed.isna().tolist() == [False, True, True, True]
    assert problems.tolist() == [""] * 4
    _, problems = check_field(values, DeclaredField(type=kind, required=True))
    assert problems.tolist() == ["", *["is missing"] * 3]


def test_a_date_is_compared_with_its_rows_time() -> None:
    """A date may be at most five minutes after its row's time, and is not refused if that time cannot be read."""
    time = pd.Series([1_735_689_600.0, 1_735_689_600.0, np.nan])
    values = pd.Series(["2025-01-01T00:05:00Z", "2025-01-01T00:05:01Z", "2099-01-01"])
    _, problems = check_field(values, DeclaredField(type="date"), time)
    assert problems.tolist() == ["", "is after the row's time", ""]
