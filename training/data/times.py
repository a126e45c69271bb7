"""Times of rows, dates or seconds: reading, checking and printing them."""

import argparse
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from training.errors import DataError

# The end of the year 2100.
LATEST_SECONDS = 4_133_980_800


def check_time(values: pd.Series, *, is_number: bool | None = None) -> pd.Series:
    """Seconds since 1970 as float64, NaN where a time cannot be read; plain numbers are taken as seconds.

    A column holds either dates or seconds, as `is_number` or else the majority decides; other values are not times.
    """
    is_plain = _is_number(values)
    numbers = pd.to_numeric(values.where(is_plain), errors="coerce").astype(np.float64)
    numbers = plausible_seconds(numbers)
    if is_number:
        return numbers
    dates = pd.to_datetime(values.where(~is_plain), errors="coerce", utc=True, format=_time_format(values))
    seconds = (dates - pd.Timestamp(0, tz="UTC")).dt.total_seconds()
    if is_number is None and seconds.notna().sum() < numbers.notna().sum():
        return numbers
    return seconds


def plausible_seconds(numbers: pd.Series) -> pd.Series:
    """The seconds, NaN beyond the year 2100.

    Milliseconds would otherwise be read as seconds of the year 50,000, and no delay in days would have an effect.
    """
    return numbers.where(numbers.abs() <= LATEST_SECONDS)


def _is_number(values: pd.Series) -> pd.Series:
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return pd.Series(data=False, index=values.index)
    return pd.to_numeric(values, errors="coerce").notna()


def _time_format(values: pd.Series) -> str | None:
    return None if pd.api.types.is_datetime64_any_dtype(values.dtype) else "ISO8601"


def time_is_number(values: pd.Series) -> bool:
    """Whether a column of times holds seconds, not dates; raises DataError where no value is a time."""
    dates, numbers = (check_time(values, is_number=is_number).notna().sum() for is_number in (False, True))
    if not dates and not numbers:
        raise DataError(f"column {values.name} holds {values.iloc[0]!r}; no value is a date, ISO 8601 text or seconds")
    return bool(numbers > dates)


# The year 1973: no data set is older, and seconds counted from a first row are fewer.
EARLIEST_DATE = 100_000_000


def timestamp_text(seconds: float) -> str:
    """A timestamp as a date, or as a plain number where seconds or rows are counted from another start than 1970."""
    if seconds < EARLIEST_DATE:
        return f"{seconds:,.0f}"
    return str(pd.Timestamp(seconds, unit="s").floor("s").isoformat())


def parse_utc_date(text: str) -> float:
    """Seconds since 1970 of a date on the command line, in UTC unless it has an offset."""
    try:
        date = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date such as 2026-11-24 or 2026-11-24T06:00") from error
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
