"""Columns: the field that suits a column, and what is left out."""

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from handler.scoring.contract import DeclaredField
from training.intake.column_types import Column, infer_column

N = 400


def texts(*values: str | None) -> pd.Series:
    """The values, repeated to N rows, as a CSV's column."""
    return pd.Series([values[i % len(values)] for i in range(N)], dtype="str")


def of_csv(values: object, name: str = "column") -> Column:
    """What is made of a CSV's column."""
    return infer_column(pd.Series(values, dtype="str"), name, is_text=True)


def typed(values: object, name: str = "column") -> Column:
    """What is made of a Parquet file's column."""
    return infer_column(pd.Series(values), name, is_text=False)


def declared(column: Column) -> DeclaredField:
    """The field of a column that is kept."""
    assert column.field is not None, column.notice
    return column.field


@pytest.mark.parametrize(
    ("values", "name", "field"),
    [
        (np.arange(N) % 7 - 3.5, "speed", DeclaredField(type="number")),
        (np.arange(N) % 7 - 3, "delta", DeclaredField(type="number")),
        (np.arange(N) % 7, "visits", DeclaredField(type="count")),
        (np.arange(N) % 7 * 1.0, "visits", DeclaredField(type="count")),
        (np.arange(N) % 7 + 0.25, "TransactionAmt", DeclaredField(type="money", min=0)),
        ((np.arange(N) % 7 + 0.1).astype(np.float32), "amount", DeclaredField(type="money", min=0)),
        (np.arange(N) % 7 - 3.25, "Balance (EUR)", DeclaredField(type="money", unit="EUR")),
        (np.arange(N) % 7 + 0.00012, "value_btc", DeclaredField(type="number")),
        (np.arange(N) % 7, "total transactions", DeclaredField(type="count")),
        ([pd.Timedelta("1.5s"), pd.Timedelta("-1s")], "waited", DeclaredField(type="number")),
        ([Decimal("1.50"), Decimal("2.25")], "price", DeclaredField(type="money", min=0)),
    ],
)
def test_type_of_numbers(values: object, name: str, field: DeclaredField) -> None:
    """Whole numbers that are not negative are counts, cents under a money's name are money, the rest is numbers."""
    assert declared(typed(values, name)) == field


def test_strays_in_numbers_become_missing() -> None:
    """A text column that is numeric but for a few words is a number, and says how many were lost."""
    column = of_csv(["err", *(f"{value / 7:.3f}" for value in range(1, N))])
    assert declared(column).type == "number"
    assert column.typed.isna().sum() == 1
    assert column.notice == "1 values are not numbers and become missing"


def test_infinite_numbers_become_missing() -> None:
    """No request can carry an infinite number, so none reaches the data."""
    column = typed([np.inf, *(np.arange(N) / 7)])
    assert column.typed.isna().tolist() == [True] + [False] * N
    assert "1 values are infinite or beyond 1e+15" in column.notice


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (("NA", "DE", None), {"NA", "DE"}),
        (("00501", "10001"), {"00501", "10001"}),
        (("yes", "no"), {"yes", "no"}),
        (("promo", None), {"promo"}),
    ],
)
def test_texts_become_categories(values: tuple[str | None, ...], labels: set[str]) -> None:
    """Texts that repeat are a category, Namibia, zip codes and a single value with gaps among them."""
    column = of_csv(texts(*values))
    assert declared(column).type == "category"
    assert set(column.typed.dropna()) == labels


def test_numeric_codes_in_text_stay_a_category() -> None:
    """In a typed file a text is a text, though it looks like a number."""
    assert declared(typed(texts("5411", "5812"))).type == "category"


@pytest.mark.parametrize("values", [[True, False, None] * 20, ["true", "False", None] * 20, [True, False] * 20])
def test_truths_become_flags(values: list[Any]) -> None:
    """True and false are a flag, as such or as text."""
    column = typed(values)
    assert declared(column).type == "flag"
    assert column.typed.dropna().isin([True, False]).all()


@pytest.mark.parametrize(
    ("values", "name", "why"),
    [
        (["x"] * N, "c", "all rows have x"),
        (["1"] * N, "c", "all rows have 1.0"),
        (["true"] * N, "c", "all rows have True"),
        ([None] * N, "c", "it is empty"),
        ([f"TX-{i}" for i in range(N)], "c", "an id or free text"),
        ([f"{i:08x}-0000-4000-8000-000000000000" for i in range(N)] * 3, "c", "it is an id, as in"),
        ([str(7 * i % N) for i in range(N)], "c", "it is an id: 400 of 400 values differ"),
        ([str(i * i * 7919 % 99991) for i in range(N)], "account no", "it is an id"),
        ([str(i // 2 * 10) for i in range(N)], "c", "only rises or only falls from row to row"),
        ([f"m{i // 5}" for i in range(N)], "c", "too rare to learn from"),
        (["word " * 60, "words " * 60] * 99, "c", "free text of up to"),
        (["2024-01-01", "2024-02-01 10:00"] * 99, "c", "it holds dates"),
        (["1700000000", "1600000000.5"] * 99, "created_at", "it holds dates"),
        (["1e300", "2e300"] * 99, "c", "beyond 1e+15: ids, or amounts"),
    ],
)
def test_columns_without_use_are_left_out(values: list[str | None], name: str, why: str) -> None:
    """Ids, constants, dates and free text are left out, each with the reason."""
    column = of_csv(values, name)
    assert column.field is None
    assert why in column.notice


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([b"x", b"y"], "it holds bytes values"),
        ([[1], [2]], "it holds list values"),
        ([dt.date(2024, 1, 1)], "it holds dates"),
        (pd.to_datetime(["2024-01-01", "2024-01-02"]), "it holds dates"),
    ],
)
def test_objects_are_left_out(values: object, why: str) -> None:
    """What no request can carry is left out."""
    column = typed(values)
    assert column.field is None
    assert why in column.notice


def test_category_of_a_typed_file() -> None:
    """A column that pandas holds as a category is one by its values."""
    assert declared(typed(texts("a", "b").astype("category"))).type == "category"
    assert declared(typed(pd.Series([1, 2] * 50).astype("category"))).type == "count"
