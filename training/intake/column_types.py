"""The field that suits the values of one column, or the reason why the column is left out."""

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
# The default of a category field's min_rows.
MIN_ROWS = 20
LONGEST_CATEGORY = 256
# 2000-01-01: later whole numbers in a column with a name of TIME_WORDS are timestamps.
EARLIEST_TIMESTAMP = 946_684_800
# A monotone column with at least as many distinct values is an order of rows, not a measure.
MIN_ORDERED = 100
# With a larger share of texts like 00501 a column holds codes, not numbers.
MAX_LEADING_ZEROS = 0.01
CURRENCIES = ("usd", "eur", "gbp", "chf", "jpy", "inr", "cad", "aud")
MONEY_WORDS = frozenset({*CURRENCIES, "amount", "amt", "balance", "charge", "cost", "fee", "income", "payment"}).union(
    ("price", "revenue", "salary", "spend", "spent", "total", "value")
)
NOT_MONEY_WORDS = frozenset({"age", "average_of", "bin", "code", "count", "days", "flag", "hour", "hours", "id"}).union(
    ("items", "minutes", "month", "months", "n", "num", "number", "pct", "percent", "qty", "quantity", "rank", "rate"),
    ("ratio", "score", "seconds", "share", "transactions", "year", "years"),
)
ID_WORDS = frozenset(
    ("guid", "hash", "id", "idx", "index", "key", "no", "nr", "number", "ref", "reference", "row", "uuid")
)
TIME_WORDS = frozenset({"at", "date", "datetime", "epoch", "time", "timestamp", "ts", "when"})
_DATES = "left out, it holds dates; a column with their age, in days before TIME, could be used"
_UUID = r"(?:0x)?[0-9a-f]{16,}|[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"


@dataclass(frozen=True)
class Column:
    """One column: its declared field, None where it is left out; its values in that type; a notice for the user."""

    field: DeclaredField | None
    typed: pd.Series
    notice: str = ""


def infer_column(values: pd.Series, column: str, *, is_text: bool) -> Column:
    """The field that suits a column's values, or the reason why it is left out."""
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
    """Why a column carries no information, "" where it does; a single value with gaps carries that of a flag."""
    if typed.isna().all():
        return "left out, it is empty"
    return f"left out, all rows have {typed.iloc[0]}" if (typed == typed.iloc[0]).fillna(value=False).all() else ""


def _text(texts: pd.Series, column: str, *, is_text: bool) -> Column:
    """A column of texts as flags, numbers or categories, or the reason why it is left out."""
    present = texts.dropna()
    is_code = present.str.fullmatch(r"0\d+").mean() > MAX_LEADING_ZEROS
    if not is_code and (is_text or present.nunique() > ID_SHARE * len(present)):
        numbers = read_numbers(texts)
        if is_mostly_read(numbers, texts):
            numeric = _number(numbers, column)
            n_stray = n_words(texts[numbers.isna()])
            notices = [numeric.notice, f"{n_stray:,} values are not numbers and become missing" if n_stray else ""]
            return Column(numeric.field, numeric.typed, "; ".join(filter(None, notices)))
    counts = present.value_counts()
    if set(counts.index.str.strip().str.lower()) <= {"true", "false"}:
        return _flag(as_truth(texts))
    if reason := _constant(texts) or _no_category(present, counts):
        return Column(None, texts, reason)
    longest = int(counts.index.str.len().max())
    return Column(DeclaredField(type="category", max_length=max(64, min(2 * longest, LONGEST_CATEGORY))), texts)


def _no_category(present: pd.Series, counts: pd.Series) -> str:
    """Why texts are not a category, "" where they are; `counts` says how often each occurs."""
    distinct = counts.index
    if distinct.str.fullmatch(_UUID, case=False).mean() > NUMERIC_SHARE:
        return f"left out, it is an id, as in {distinct[0]}"
    if _are_dates(distinct):
        return _DATES
    if len(counts) > ID_SHARE * len(present):
        return f"left out, {len(counts):,} of {len(present):,} values differ: an id or free text"
    if counts[counts >= MIN_ROWS].sum() < (1 - NUMERIC_SHARE) * len(present):
        return f"left out, hardly any of its {len(counts):,} values occurs {MIN_ROWS} times: too rare to learn from"
    longest = int(distinct.str.len().max())
    return f"left out, it is free text of up to {longest:,} characters" if longest > LONGEST_CATEGORY else ""


def _are_dates(distinct: pd.Index) -> bool:
    """Whether texts are dates with or without a time, judged by a sample."""
    sample = distinct[:: ceil(len(distinct) / 200)].to_series()
    if not sample.str.contains(r"\d{1,4}[-/. ]\w{1,9}[-/. ,]+\d{1,4}").mean() > NUMERIC_SHARE:
        return False
    return float(pd.to_datetime(sample, format="mixed", errors="coerce", utc=True).notna().mean()) > NUMERIC_SHARE


def _number(typed: pd.Series, column: str) -> Column:
    """A column of numbers (float64, NaN = missing) as a count, money or number, or the reason why it is left out."""
    is_beyond, notice = typed.abs() > LARGEST_NUMBER, ""
    if is_beyond.any():
        typed = typed.mask(is_beyond)
        notice = f"{int(is_beyond.sum()):,} values are infinite or beyond {LARGEST_NUMBER:g}"
        if is_beyond.mean() > 1 - NUMERIC_SHARE:
            return Column(None, typed, f"left out, {notice}: ids, or amounts in too small a unit")
        notice += " and become missing"
    words = words_of(column)
    is_money = bool(words & MONEY_WORDS) and not words & NOT_MONEY_WORDS
    if reason := _constant(typed) or ("" if is_money else _no_measure(typed.dropna(), words)):
        return Column(None, typed, reason)
    present = typed.dropna()
    lowest = present.min()
    # Money is rounded to cents, which would distort amounts with more decimals, such as those in bitcoin. The
    # tolerance is that of float32.
    if is_money and ((present * 100 % 1 - 0.5).abs() > 0.5 - 1e-5 * present.abs() - 1e-9).mean() > NUMERIC_SHARE:
        unit = next((currency.upper() for currency in CURRENCIES if currency in words), None)
        return Column(DeclaredField(type="money", unit=unit, min=0.0 if lowest >= 0 else None), typed, notice)
    is_count = lowest >= 0 and bool((present % 1 == 0).all())
    return Column(DeclaredField(type="count" if is_count else "number"), typed, notice)


def _no_measure(present: pd.Series, words: set[str]) -> str:
    """Why numbers are not a measure (an id, a timestamp, the number of a row), "" where they may be."""
    low, high = present.min(), present.max()
    ranges = [
        (FIRST_DATE, LAST_DATE),
        *((EARLIEST_TIMESTAMP * unit, LATEST_SECONDS * unit) for unit in (1, 1e3, 1e6, 1e9)),
    ]
    if words & TIME_WORDS and any(first <= low <= high <= last for first, last in ranges):
        return _DATES
    if not (present % 1 == 0).all():
        return ""
    n_distinct = present.nunique()
    if n_distinct > ID_SHARE * len(present) and (words & ID_WORDS or high - low < 2 * len(present)):
        return f"left out, it is an id: {n_distinct:,} of {len(present):,} values differ, as in {present.iloc[0]:.0f}"
    if n_distinct >= MIN_ORDERED and (present.is_monotonic_increasing or present.is_monotonic_decreasing):
        return "left out, it only rises or only falls from row to row: a row number, not a measure (is it the TIME?)"
    return ""
