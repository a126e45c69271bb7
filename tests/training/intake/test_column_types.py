"""Columns: the field that fits a column, or the reason why it is left out."""

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from handler.scoring.fields import DeclaredField
from training.intake.column_types import Column, infer_column

N = 400


def texts(*values: str | None) -> pd.Series:
    """The values, repeated to N rows, as a CSV's column."""
    return pd.Series([values[i % len(values)] for i in range(N)], dtype="str")


def of_csv(values: object, name: str = "column") -> Column:
    """The result for a CSV's column."""
    return infer_column(pd.Series(values, dtype="str"), name, is_text=True)


def typed(values: object, name: str = "column") -> Column:
    """The result for a Parquet file's column."""
    return infer_column(pd.Series(values), name, is_text=False)


def declared(column: Column) -> DeclaredField:
    """The field of a column, which must be kept."""
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
    """Non-negative whole numbers are counts, cents in a column named for money are money, others are numbers."""
    assert declared(typed(values, name)) == field


def test_strays_in_numbers_become_missing() -> None:
    """A text column that is numeric except for a few words is a number; the notice counts the lost values."""
    column = of_csv(["err", *(f"{value / 7:.3f}" for value in range(1, N))])
    assert declared(column).type == "number"
    assert column.typed.isna().sum() == 1
    assert column.notice == "1 value is not a number and becomes missing, such as 'err'"


def test_infinite_numbers_become_missing() -> None:
    """No request can carry an infinite number, so infinite values become missing."""
    column = typed([np.inf, *(np.arange(N) / 7)])
    assert column.typed.isna().tolist() == [True] + [False] * N
    assert "1 value is infinite or too large, such as inf, and becomes missing" in column.notice


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
    """Texts that repeat are a category, even NA (Namibia), zip codes, or a single value with gaps."""
    column = of_csv(texts(*values))
    assert declared(column).type == "category"
    assert set(column.typed.dropna()) == labels


def test_numeric_codes_in_text_stay_a_category() -> None:
    """In a typed file, a text stays text even if it looks like a number."""
    assert declared(typed(texts("5411", "5812"))).type == "category"


@pytest.mark.parametrize("values", [[True, False, None] * 20, ["true", "False", None] * 20, [True, False] * 20])
def test_truths_become_flags(values: list[Any]) -> None:
    """True and false are a flag, typed or as text."""
    column = typed(values)
    assert declared(column).type == "flag"
    assert column.typed.dropna().isin([True, False]).all()


@pytest.mark.parametrize(
    ("values", "name", "why"),
    [
        (["x"] * N, "c", "all rows have x"),
        (["1"] * N, "c", "all rows have 1"),
        (["true"] * N, "c", "all rows have true"),
        ([None] * N, "c", "it is empty"),
        ([f"TX-{i}" for i in range(N)], "c", "an id or free text"),
        ([f"{i:08x}-0000-4000-8000-000000000000" for i in range(N)] * 3, "c", "it is an id, as in"),
        ([str(7 * i % N) for i in range(N)], "c", "it is an id: 400 of 400 values differ"),
        ([str(i * i * 7919 % 99991) for i in range(N)], "account no", "it is an id"),
        ([str(i // 2 * 10) for i in range(N)], "c", "only rises or only falls from row to row"),
        ([f"m{i // 5}" for i in range(N)], "c", "are too rare: hardly any occurs 20 times in the training rows"),
        (["word " * 60, "words " * 60] * 99, "c", "free text of up to"),
        (["2024-01-01"] * 99, "c", "all rows have 2024-01-01"),
        (["2024-01-01", "2024-01-01 00:00"] * 99, "c", "its dates are all the same"),
        (["31/01/2024", "01/31/2024"] * 99, "c", "it holds dates, but it has 99 rows that can only have the day first"),
        (["1e300", "2e300"] * 99, "c", "198 values are infinite or too large, such as 1e+300"),
    ],
)
def test_columns_without_use_are_left_out(values: list[str | None], name: str, why: str) -> None:
    """Ids, constants and free text are left out, each with the reason."""
    column = of_csv(values, name)
    assert column.field is None
    assert why in column.notice


DATES = [pd.Timestamp("2024-01-31"), pd.Timestamp("2024-02-01 10:00")]


@pytest.mark.parametrize(
    ("values", "name", "notice"),
    [
        ([date.isoformat() for date in DATES], "c", ""),
        (DATES, "c", ""),
        ([date.to_pydatetime() for date in DATES], "c", ""),
        ([date.tz_localize("UTC").tz_convert("Europe/Berlin") for date in DATES], "c", ""),
        ([date.strftime("%d/%m/%Y %H:%M") for date in DATES], "c", "read with the day first, as in 31/01/2024 00:00"),
        ([str(date.timestamp()) for date in DATES], "created_at", ""),
        ([int(date.timestamp()) * 1000 for date in DATES], "created_at", "read as milliseconds since 1970"),
        (["20240131000000", "20240201100000"], "when", "read as dates, as in 20240131000000"),
    ],
)
def test_dates_become_dates(values: list[Any], name: str, notice: str) -> None:
    """A date is recognised however it is written."""
    rows = pd.Series([*values, None] * 66)
    column = of_csv(rows.tolist(), name) if isinstance(values[0], str) else infer_column(rows, name, is_text=False)
    assert declared(column).type == "date"
    assert column.typed.dropna().unique().tolist() == [date.tz_localize("UTC") for date in DATES]
    assert column.notice == notice


def test_what_is_no_date_becomes_missing() -> None:
    """The notice counts such values and shows one."""
    column = of_csv([*(f"2024-01-{day:02}" for day in range(1, 30)), "0000-00-00"] * 9)
    assert declared(column).type == "date"
    assert column.typed.isna().sum() == 9
    assert column.notice == "9 values are not dates and become missing, such as '0000-00-00'"


PEOPLE = [f"{number * 7_919 % 10_000_019:08}" for number in range(1, 101)]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([f"+99 555 {digits[:3]} {digits[3:]}" for digits in PEOPLE], "phone, card or account numbers, such as +99"),
        ([f"+995{digits}" for digits in PEOPLE], "hardly repeat, such as +995"),
        ([f"555 {digits[:3]} {digits[3:6]}" for digits in PEOPLE], "hardly repeat, such as 555"),
        ([f"4000 0000 {digits[:4]} {digits[4:]}" for digits in PEOPLE], "phone, card or account numbers"),
        ([f"40000000{digits}" for digits in PEOPLE], "whole numbers of 16 digits hardly repeat, such as 40000000"),
        ([f"-39065628021{digits}" for digits in PEOPLE], "whole numbers of 19 digits hardly repeat"),
        ([f"DE89 3704 {digits[:4]} {digits[4:]} 0130 00" for digits in PEOPLE], "it holds IBANs, such as DE89"),
        ([f"192.168.{number}.{number + 7}" for number in range(100)], "it holds IP or MAC addresses, such as 192.168."),
        ([f"user{digits}@mail.example" for digits in PEOPLE], "it holds e-mail addresses"),
        ([f"{number // 60:02}:{number % 60:02}" for number in range(100)], "times of day, such as"),
        ([f"10:{number // 60:02}:{number % 60:02}" for number in range(100)], "times of day, such as"),
    ],
)
def test_codes_of_people_are_left_out(values: list[str], why: str) -> None:
    """Phone, card and account numbers in any usual grouping are never kept as numbers; the reason shows one."""
    column = of_csv(values * 4, "contact")
    assert column.field is None
    assert why in column.notice
    assert "infinite" not in column.notice


@pytest.mark.parametrize(
    "name", ["MCC", "zip", "terminal_id", "Merchant", "customerId", "response code", "account number", "zipcodeOri"]
)
def test_whole_numbers_that_name_something_are_categories(name: str) -> None:
    """A larger code is not more of anything, so codes keep every digit as categories, and the notice says so."""
    column = of_csv(texts("5411", "5812", "742"), name)
    assert declared(column).type == "category"
    assert set(column.typed) == {"5411", "5812", "742"}
    assert "its whole numbers are codes, not amounts, such as 5411" in column.notice
    assert declared(typed([5411, 5812, 742] * 99, name)).type == "category"
    left_out = of_csv([str(number * 37) for number in range(N // 4)] * 4, name)
    assert left_out.field is None
    assert "its whole numbers are codes" in left_out.notice


@pytest.mark.parametrize(
    "name", ["is_new_device", "account_age_days", "cards_per_user", "account tenure", "user_logins", "id_02", "visits"]
)
def test_measures_of_somebody_stay_numbers(name: str) -> None:
    """A count in a column whose name also refers to a person stays a count."""
    assert declared(of_csv(texts("5", "7", "9"), name)).type == "count"


@pytest.mark.parametrize(
    ("values", "name", "unit"),
    [
        (["40 000 HUF", "1 200 HUF"], "Összeg", "HUF"),
        (["2.935,25 €", "12,50 €"], "Betrag", "EUR"),
        (["$-77.00", "$5.00"], "x", "USD"),
        (["1 200,00", "3,50"], "montant", None),
        (["1,200.00", "3.50"], "importe", None),
        (["5.00 kr", "6.50 kr"], "x", None),
        (["TRY 5.00", "TRY 6.50"], "x", "TRY"),
    ],
)
def test_amounts_with_a_currency_are_money(values: list[str], name: str, unit: str | None) -> None:
    """Words for amounts and currency signs of many countries mean money, with a unit if only one currency is named."""
    field = declared(of_csv(texts(*values), name))
    assert (field.type, field.unit) == ("money", unit)


def test_amounts_of_several_currencies_are_told() -> None:
    """Amounts in several currencies become plain numbers in one column, and a warning counts them."""
    column = of_csv(texts("5.00 EUR", "6.50 EUR", "7.00 USD", "8.00 EUR"), "amount_eur")
    assert declared(column).unit is None
    assert column.notice.startswith("WARNING: its amounts are in several currencies, EUR (300 rows), USD (100 rows)")


@pytest.mark.parametrize("column", ["payment_ref", "payment"])
def test_codes_with_letters_are_no_amounts(column: str) -> None:
    """A reference such as T1020000000 is not read as an oddly written amount, whatever its column is called."""
    notice = of_csv(pd.Series([f"T{number}" for number in range(1020000000, 1020000400)]), column).notice
    assert notice == "left out, 400 of 400 values differ: an id or free text"


@pytest.mark.parametrize(
    ("values", "notice"),
    [
        (["\\N", *"1234567890"], "'\\N' (37 times) means a missing number"),
        (["x", *map(str, range(20))], "'x' (20 times) means a missing number"),
        (["DE", "FR", "(null)"], "'(null)' (133 times) means a missing value"),
        (["DE", "FR", "?"], "'?' (133 times) is a category of its own"),
        (["12.50 Xy", "40 000 Xy"], "WARNING: 400 amounts such as '12.50 Xy' cannot be read as numbers"),
        (
            ["1", "2", "3", "many", "more", "most", *"4567"],
            "280 of 400 values are numbers, but others are not, such",
        ),
        (["1,23,456.78", "2,34,567.00"], "values such as '1,23,456.78' cannot be read as numbers"),
        (["00501", "10001"], "its numbers are codes, such as 00501"),
    ],
)
def test_what_is_not_read_is_told(values: list[str], notice: str) -> None:
    """Words for missing values, and values that keep a column from being numeric, are counted or shown."""
    assert notice in of_csv(texts(*values), "amount" if "Xy" in values[0] else "tries").notice


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([b"x", b"y"], "it holds binary data"),
        ([[1], [2]], "it holds lists"),
        ([{"a": 1}, {"a": 2}], "it holds nested records"),
        ([dt.time(1), dt.time(2)], "it holds times of day"),
        ([dt.date(2024, 1, 1)], "its dates are all the same"),
    ],
)
def test_objects_are_left_out(values: object, why: str) -> None:
    """What no request can carry is left out."""
    column = typed(values)
    assert column.field is None
    assert why in column.notice


def test_category_of_a_typed_file() -> None:
    """A categorical column of pandas is typed by its values."""
    assert declared(typed(texts("a", "b").astype("category"))).type == "category"
    assert declared(typed(pd.Series([1, 2] * 50).astype("category"))).type == "count"


@pytest.mark.parametrize("name", ["target", "place", "customerid", "deal_id", "CUSTOMER_ID", "counterparty"])
def test_ids_that_hardly_repeat_are_left_out(name: str) -> None:
    """Too many rare values leave no level to learn, and the notice says what could use the column."""
    many = typed(np.arange(30_000) * 7_919 % 1_009, name)
    assert many.field is None
    assert "such as 0, and only 10% of the rows have one of the 100 most frequent of its 1,009 values" in many.notice
    assert many.notice.endswith("history features (how often it was seen, how much it spent) could use it")
    assert "and hardly any of its 400 values occurs 20 times" in typed(np.arange(3_000) * 7 % 400, name).notice
    assert declared(typed(np.arange(3_000) * 7 % 40, name)).type == "category"
