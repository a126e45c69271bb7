"""Times of rows: dates or seconds, read, checked and shown."""

import argparse
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from training.errors import DataError

# The end of the year 2100.
LATEST_SECONDS = 4_133_980_800


def check_time(values: pd.Series, *, is_number: bool | None = None) -> pd.Series:
    """Seconds since 1970 as float64, NaN where a time cannot be read; plain numbers are taken as seconds.

    A column is one or the other, as `is_number` or else most of it says; the odd ones out are not times. Milliseconds
    would pass for seconds of the year 50,000, and no delay in days would mean anything: no such number is a time.
    """
    is_plain = _is_number(values)
    numbers = pd.to_numeric(values.where(is_plain), errors="coerce").astype(np.float64)
    numbers = numbers.where(numbers.abs() <= LATEST_SECONDS)
    if is_number:
        return numbers
    moments = pd.to_datetime(values.where(~is_plain), errors="coerce", utc=True, format=_time_format(values))
    seconds = (moments - pd.Timestamp(0, tz="UTC")).dt.total_seconds()
    if is_number is None and seconds.notna().sum() < numbers.notna().sum():
        return numbers
    return seconds


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


# The year 1973: no data set of ours is older, and seconds counted from its first row are fewer.
EARLIEST_DATE = 100_000_000


def timestamp_text(seconds: float) -> str:
    """A moment as a date, or as the number it is where it counts seconds or rows from a start of its own."""
    if seconds < EARLIEST_DATE:
        return f"{seconds:,.0f}"
    return str(pd.Timestamp(seconds, unit="s").floor("s").isoformat())


def parse_utc_date(text: str) -> float:
    """A moment on the command line, in UTC unless it says otherwise."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no date such as 2026-11-24 or 2026-11-24T06:00") from error
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
