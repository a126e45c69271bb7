"""Columns: the values of one column -> the field that suits it, or why it is left out."""

from dataclasses import dataclass
from math import ceil
from numbers import Number

import numpy as np
import pandas as pd

from handler.scoring.contract import LARGEST_NUMBER, DeclaredField
from training.data.column_checks import as_text
from training.data.times import LATEST_SECONDS
from training.intake.field_names import words_of
from training.intake.numbers import NUMERIC_SHARE, as_truth, is_mostly_read, n_words, read_numbers
from training.intake.time_column import FIRST_DATE, LAST_DATE

ID_SHARE = 0.9
# The smallest number of rows a category needs, and how many labels all categories may have together: each is a column
# of the linear candidate, whose work grows with the square of that.
MIN_ROWS = 20
LONGEST_CATEGORY = 256
# 2000-01-01: later whole numbers under the name of a time are moments.
EARLIEST_MOMENT = 946_684_800
# From here on a column that never falls is an order of rows, not a measure.
MANY = 100
# More texts like 00501 than this, and a column holds codes, not numbers.
MAX_LEADING_ZEROS = 0.01
CURRENCIES = ("usd", "eur", "gbp", "chf", "jpy", "inr", "cad", "aud")
MONEY = frozenset({*CURRENCIES, "amount", "amt", "balance", "charge", "cost", "fee", "income", "payment", "price"}) | {
    *("revenue", "salary", "spend", "spent", "total", "value"),
}
NOT_MONEY = frozenset({"age", "average_of", "bin", "code", "count", "days", "flag", "hour", "hours", "id", "items"}) | {
    *("minutes", "month", "months", "n", "num", "number", "pct", "percent", "qty", "quantity", "rank", "rate", "ratio"),
    *("score", "seconds", "share", "transactions", "year", "years"),
}
ID = frozenset({"guid", "hash", "id", "idx", "index", "key", "no", "nr", "number", "ref", "reference", "row", "uuid"})
MOMENT = frozenset({"at", "date", "datetime", "epoch", "time", "timestamp", "ts", "when"})
_DATES = "left out, it holds dates; a column with their age, in days before TIME, could be used"
_UUID = r"(?:0x)?[0-9a-f]{16,}|[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"


@dataclass(frozen=True)
class Column:
    """One column: its declaration, None where it is left out; its values as that types them; what there is to say."""

    field: DeclaredField | None
    typed: pd.Series
    notice: str = ""


def infer_column(values: pd.Series, column: str, *, is_text: bool) -> Column:
    """The field that suits a column's values, or why it is left out."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    if pd.api.types.is_bool_dtype(values.dtype):
        return _flag(values.astype("boolean"))
    if pd.api.types.is_numeric_dtype(values.dtype):
        return _number(read_numbers(values), column)
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return Column(None, values, _DATES)
    if pd.api.types.is_timedelta64_dtype(values.dtype):
        return _number(values.dt.total_seconds(), column)
    return _texts_or_objects(values, column, is_text=is_text)


def _texts_or_objects(values: pd.Series, column: str, *, is_text: bool) -> Column:
    """A column that pandas does not type: texts, or objects of any kind, such as decimals, dates and lists."""
    kinds = {type(value) for value in values.dropna()} if values.dtype == object else {str}
    if kinds == {bool}:
        return _flag(values.astype("boolean"))
    if kinds and all(issubclass(kind, Number) for kind in kinds):
        return _number(pd.to_numeric(values).astype(np.float64), column)
    if odd := sorted(kind.__name__ for kind in kinds if not issubclass(kind, str | Number)):
        return Column(
            None, values, _DATES if set(odd) <= {"date", "datetime"} else f"left out, it holds {odd[0]} values"
        )
    texts = (as_text(values) if values.dtype == object else values).astype("str")
    texts = texts.mask(texts == "")
    return _text(texts, column, is_text=is_text)


def _flag(truth: pd.Series) -> Column:
    return Column(None, truth, _constant(truth)) if _constant(truth) else Column(DeclaredField(type="flag"), truth)


def _constant(typed: pd.Series) -> str:
    """Why a column says nothing, "" where it does; one value that may be missing tells as much as a flag."""
    if typed.isna().all():
        return "left out, it is empty"
    return f"left out, all rows have {typed.iloc[0]}" if (typed == typed.iloc[0]).fillna(value=False).all() else ""


def _text(texts: pd.Series, column: str, *, is_text: bool) -> Column:
    """What a column of texts is: flags, numbers as text, or categories, unless it is to be left out."""
    known = texts.dropna()
    is_code = known.str.fullmatch(r"0\d+").mean() > MAX_LEADING_ZEROS
    if not is_code and (is_text or known.nunique() > ID_SHARE * len(known)):
        numbers = read_numbers(texts)
        if is_mostly_read(numbers, texts):
            found = _number(numbers, column)
            n_stray = n_words(texts[numbers.isna()])
            said = [found.notice, f"{n_stray:,} values are no numbers and become missing" if n_stray else ""]
            return Column(found.field, found.typed, "; ".join(filter(None, said)))
    counts = known.value_counts()
    if set(counts.index.str.strip().str.lower()) <= {"true", "false"}:
        return _flag(as_truth(texts))
    if reason := _constant(texts) or _no_category(known, counts):
        return Column(None, texts, reason)
    longest = int(counts.index.str.len().max())
    return Column(DeclaredField(type="category", max_length=max(64, min(2 * longest, LONGEST_CATEGORY))), texts)


def _no_category(known: pd.Series, counts: pd.Series) -> str:
    """Why texts are no category, "" where they are; `counts` says how often each occurs."""
    distinct = counts.index
    if distinct.str.fullmatch(_UUID, case=False).mean() > NUMERIC_SHARE:
        return f"left out, it is an id, as in {distinct[0]}"
    if _holds_dates(distinct):
        return _DATES
    if len(counts) > ID_SHARE * len(known):
        return f"left out, {len(counts):,} of {len(known):,} values differ: an id or free text"
    if counts[counts >= MIN_ROWS].sum() < (1 - NUMERIC_SHARE) * len(known):
        return f"left out, hardly any of its {len(counts):,} values is seen {MIN_ROWS} times: too rare to learn"
    longest = int(distinct.str.len().max())
    return f"left out, it is free text of up to {longest:,} characters" if longest > LONGEST_CATEGORY else ""


def _holds_dates(distinct: pd.Index) -> bool:
    """Whether texts are dates with or without a time; a sample tells."""
    sample = distinct[:: ceil(len(distinct) / 200)].to_series()
    if not sample.str.contains(r"\d{1,4}[-/. ]\w{1,9}[-/. ,]+\d{1,4}").mean() > NUMERIC_SHARE:
        return False
    return float(pd.to_datetime(sample, format="mixed", errors="coerce", utc=True).notna().mean()) > NUMERIC_SHARE


def _number(typed: pd.Series, column: str) -> Column:
    """What a column of numbers (float64, NaN = missing) is: a count, money or a number, unless it is to be left out."""
    is_beyond, said = typed.abs() > LARGEST_NUMBER, ""
    if is_beyond.any():
        typed = typed.mask(is_beyond)
        said = f"{int(is_beyond.sum()):,} values are infinite or beyond {LARGEST_NUMBER:g}"
        if is_beyond.mean() > 1 - NUMERIC_SHARE:
            return Column(None, typed, f"left out, {said}: ids, or amounts in too small a unit")
        said += " and become missing"
    words = words_of(column)
    is_money = bool(words & MONEY) and not words & NOT_MONEY
    if reason := _constant(typed) or ("" if is_money else _no_measure(typed.dropna(), words)):
        return Column(None, typed, reason)
    known = typed.dropna()
    lowest = known.min()
    # Rounding to cents would take the sense from amounts with more decimals, such as those in bitcoin. The tolerance
    # is that of float32.
    if is_money and ((known * 100 % 1 - 0.5).abs() > 0.5 - 1e-5 * known.abs() - 1e-9).mean() > NUMERIC_SHARE:
        unit = next((currency.upper() for currency in CURRENCIES if currency in words), None)
        return Column(DeclaredField(type="money", unit=unit, min=0.0 if lowest >= 0 else None), typed, said)
    is_count = lowest >= 0 and bool((known % 1 == 0).all())
    return Column(DeclaredField(type="count" if is_count else "number"), typed, said)


def _no_measure(known: pd.Series, words: set[str]) -> str:
    """Why numbers measure nothing (an id, a moment, the place of a row), "" where they may."""
    low, high = known.min(), known.max()
    ranges = [
        (FIRST_DATE, LAST_DATE),
        *((EARLIEST_MOMENT * unit, LATEST_SECONDS * unit) for unit in (1, 1e3, 1e6, 1e9)),
    ]
    if words & MOMENT and any(first <= low <= high <= last for first, last in ranges):
        return _DATES
    if not (known % 1 == 0).all():
        return ""
    n_distinct = known.nunique()
    if n_distinct > ID_SHARE * len(known) and (words & ID or high - low < 2 * len(known)):
        return f"left out, it is an id: {n_distinct:,} of {len(known):,} values differ, as in {known.iloc[0]:.0f}"
    if n_distinct >= MANY and (known.is_monotonic_increasing or known.is_monotonic_decreasing):
        return "left out, it only goes one way from row to row: the place of a row, not a measure (is it the TIME?)"
    return ""
