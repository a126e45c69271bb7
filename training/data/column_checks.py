"""Checks of one column of data against the contract: fields, labels and ids."""

from collections.abc import Iterator
from numbers import Number

import numpy as np
import pandas as pd

from handler.scoring.contract import MAX_ID_LENGTH
from handler.scoring.fields import NUMERIC_TYPES, STRING_TYPES, DeclaredField
from handler.scoring.times import EARLIEST_SECONDS, LEEWAY_SECONDS
from training.data.times import read_dates
from training.errors import DataError

_SHOWN = 3
# What a value of a type is, if not "a" and the type.
_PHRASES = {"money": "an amount of money"}
REPEATED = "was seen in an earlier row"


def check_field(
    values: pd.Series, field: DeclaredField, seconds: pd.Series | None = None
) -> tuple[pd.Series, pd.Series]:
    """A column as the contract types it (numbers float64, texts objects, missing NaN or None), and its problems.

    The second series holds one phrase per row, "" if the value is sound. Dates become seconds since 1970 and are
    compared with the rows' times, `seconds`.
    """
    missing = values.isna()
    if not pd.api.types.is_numeric_dtype(values.dtype):
        missing |= values.astype(object) == ""
    problems = pd.Series("", index=values.index, dtype=object)
    if field.type in STRING_TYPES:
        typed, problems = _keys(values, missing) if field.type == "key" else (as_text(values.where(~missing)), problems)
        problems[typed.isna() & ~missing & (problems == "")] = "is not a text"
        problems[typed.str.len() > field.max_length] = f"is longer than {field.max_length} characters"
    else:
        typed = read_dates(values.where(~missing)) if field.type == "date" else _numbers(values, missing, field)
        if (is_unread := typed.isna() & ~missing).any():
            # Fixed-width exports fill an empty cell with blanks.
            missing |= is_unread & values.astype("str").str.strip().eq("")
        problems[typed.isna() & ~missing] = f"is not {_PHRASES.get(field.type, f'a {field.type}')}"
        for phrase, is_wrong in _wrong(typed, field, seconds):
            problems[is_wrong] = phrase
    if field.required:
        problems[missing] = "is missing"
    return typed, problems


def _numbers(values: pd.Series, missing: pd.Series, field: DeclaredField) -> pd.Series:
    if field.type == "flag":
        # pandas writes a flag into a CSV as True or False.
        values = values.replace({"True": 1, "False": 0, "true": 1, "false": 0})
    return pd.to_numeric(values.where(~missing), errors="coerce").astype(np.float64)


def _wrong(typed: pd.Series, field: DeclaredField, seconds: pd.Series | None) -> Iterator[tuple[str, pd.Series]]:
    """Each problem that a request's value may not have, and which of the values (numbers or seconds) have it."""
    if field.type == "date":
        yield "is before 1900", typed < EARLIEST_SECONDS
        if seconds is not None:
            yield "is after the row's time", typed > seconds + LEEWAY_SECONDS
    if field.type in NUMERIC_TYPES:
        yield f"is below {field.lowest:g}", typed < field.lowest
        yield f"is above {field.highest:g}", typed > field.highest
    if field.type == "count":
        yield "is not a whole number", (typed % 1 != 0) & np.isfinite(typed)
    if field.type == "flag":
        yield "is neither true nor false", ~typed.isin([0, 1]) & typed.notna()
    yield "is infinite", np.isinf(typed)


def as_text(values: pd.Series) -> pd.Series:
    """The values as strings, as a request would carry them, else None; whole numbers without decimals (5411)."""
    if isinstance(values.dtype, pd.StringDtype):
        return values
    if pd.api.types.is_float_dtype(values.dtype) and (values.dropna() % 1 == 0).all():
        # Not through an integer type, which cannot hold numbers of 2**63 and more.
        values = values.astype(object).map(lambda number: str(int(number)), na_action="ignore")
    return values.astype(object).map(_text).where(values.notna(), None)


def _text(value: object) -> str | None:
    """A text or a number as text; None for anything else, such as bytes, which no request can carry."""
    return str(value) if isinstance(value, str | Number) else None


def _keys(values: pd.Series, missing: pd.Series) -> tuple[pd.Series, pd.Series]:
    """The values as the keys of a request, cell by cell, and the problems of those that a request may not carry.

    The rule is that of `handler.scoring.contract.key_text`: a text stays as it is, a whole number becomes its digits.
    """
    problems = pd.Series("", index=values.index, dtype=object)
    if isinstance(values.dtype, pd.StringDtype):
        return values.where(~missing), problems
    keys = values.astype(object).where(~missing, None).map(_key_or_number, na_action="ignore")
    is_refused = ~missing & ~keys.map(lambda key: isinstance(key, str)).astype(bool)
    problems[is_refused] = keys[is_refused].map(_why_no_key)
    return keys.where(~is_refused & ~missing, None), problems


def _key_or_number(value: object) -> object:
    """A whole number as a key; any other value unchanged."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Number):
        return value
    try:
        whole = int(value)  # type: ignore[call-overload]  # a number
    except (OverflowError, ValueError):
        return value
    return str(whole) if whole == value else value


def _why_no_key(value: object) -> str:
    """Why a value is not one that a request may carry as a key."""
    if isinstance(value, bool | np.bool_):
        return "is true or false, not a text or a whole number"
    if isinstance(value, Number):
        kind = "infinite" if str(value).strip("-").casefold().startswith("inf") else "a fraction"
        return f"is {kind}, not a text or a whole number"
    return f"is of type {type(value).__name__}, not a text or a whole number"


def check_label(values: pd.Series, name: str) -> pd.Series:
    """The label as int8.

    Raises DataError if a label is neither 0 nor 1, because guessing a label is worse than stopping.
    """
    typed = pd.to_numeric(values, errors="coerce")
    wrong = ~typed.isin([0, 1])
    if wrong.any():
        shown = ", ".join(repr(value) for value in values[wrong].unique()[:_SHOWN].tolist())
        raise DataError(f"column {name} holds {shown} ({wrong.sum():,} rows); every label must be 0 or 1")
    return typed.astype(np.int8)


def check_id(values: pd.Series) -> tuple[pd.Series, pd.Series]:
    """The ids as text, and their problems as `check_field` gives them."""
    texts = as_text(values)
    problems = pd.Series("", index=values.index, dtype=object)
    problems[texts.str.len() > MAX_ID_LENGTH] = f"is longer than {MAX_ID_LENGTH} characters"
    problems[values.notna() & texts.duplicated()] = REPEATED
    return texts, problems
