"""Times of rows, dates or seconds: reading, checking and printing them; and the time now."""

import argparse
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd

from handler.scoring.times import EARLIEST_SECONDS, END_OF_TIMES, iso_seconds
from training.errors import DataError, StageError

# A time outside the years 1900 to 2100 is a stand-in for a missing one (0001-01-01, 9999-12-31), or in another unit.
FIRST_DATE, END_OF_DATES = (
    pd.Timestamp(seconds, unit="s", tz="UTC").as_unit("s") for seconds in (EARLIEST_SECONDS, END_OF_TIMES)
)


def check_time(values: pd.Series, *, is_number: bool | None = None) -> pd.Series:
    """Seconds since 1970 as float64, NaN where a time cannot be read; plain numbers are taken as seconds.

    A column holds either dates or seconds: `is_number` says which or, if it is None, the majority of the values. Values
    of the other kind are not times, nor are those outside the years 1900 to 2100.
    """
    is_plain = _is_number(values)
    numbers = pd.to_numeric(values.where(is_plain), errors="coerce").astype(np.float64)
    numbers = plausible_seconds(numbers)
    if is_number:
        return numbers
    seconds = date_seconds(iso_dates(values.where(~is_plain)))
    if is_number is None and seconds.notna().sum() < numbers.notna().sum():
        return numbers
    return seconds


def iso_dates(values: pd.Series) -> pd.Series:
    """ISO 8601 texts and typed dates as timestamps in UTC, NaT where one cannot be read or is outside 1900 to 2100."""
    is_typed = pd.api.types.is_datetime64_any_dtype(values.dtype)
    dates = pd.to_datetime(values, errors="coerce", utc=True, format=None if is_typed else "ISO8601")
    # Done before any arithmetic, which is in nanoseconds and cannot represent the year 1.
    return dates.where((dates >= FIRST_DATE) & (dates < END_OF_DATES))


def read_dates(values: pd.Series) -> pd.Series:
    """Typed dates and ISO 8601 texts as seconds since 1970, float64 to the microsecond; NaN where there is none.

    Texts are read by the function's own code. A number is not read as a date: it could count anything from any start.
    """
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        dates = pd.to_datetime(values, utc=True).dt.as_unit("us")
        return (dates.astype(np.int64) / 1e6).where(values.notna())
    if not isinstance(values.dtype, pd.StringDtype):
        return values.map(_date_seconds).astype(np.float64)
    codes, distinct = pd.factorize(values)
    seconds = np.array([*map(_date_seconds, distinct), np.nan])
    return pd.Series(seconds[codes], index=values.index)


def dates_of(seconds: pd.Series) -> pd.Series:
    """Seconds since 1970 as typed dates, which `read_dates` reads as the same seconds."""
    return pd.to_datetime((seconds * 1e6).round(), unit="us", utc=True)


def _date_seconds(value: object) -> float:
    """One date as seconds since 1970; NaN if the value is not a date."""
    if isinstance(value, date):
        value = value.isoformat()
    try:
        return iso_seconds(value) if isinstance(value, str) else np.nan
    except ValueError:
        return np.nan


def date_seconds(dates: pd.Series) -> pd.Series:
    """Timestamps of plausible years as seconds since 1970."""
    return (dates - pd.Timestamp(0, tz="UTC")).dt.total_seconds()


def plausible_seconds(numbers: pd.Series) -> pd.Series:
    """The seconds, NaN outside the years 1900 to 2100.

    Otherwise milliseconds would be read as seconds, in the year 50,000 or so, and delays in days would have no effect.
    """
    return numbers.where((numbers >= EARLIEST_SECONDS) & (numbers < END_OF_TIMES))


def _is_number(values: pd.Series) -> pd.Series:
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return pd.Series(data=False, index=values.index)
    return pd.to_numeric(values, errors="coerce").notna()


def time_is_number(values: pd.Series) -> bool:
    """Whether a column of times holds seconds, not dates; raises DataError if no value is a time."""
    dates, numbers = (check_time(values, is_number=is_number).notna().sum() for is_number in (False, True))
    if not dates and not numbers:
        kinds = "it must hold times from 1900 to 2100, as dates, ISO 8601 texts or seconds"
        raise DataError(f"column {values.name} holds {values.iloc[0]!r}; {kinds}")
    return bool(numbers > dates)


# In 1973. No data set is older, and seconds counted from the first row do not get this high.
EARLIEST_DATE = 100_000_000


def timestamp_text(seconds: float) -> str:
    """A timestamp as a date, or as a plain number if seconds or rows are counted from a start other than 1970."""
    if seconds < EARLIEST_DATE:
        return f"{seconds:,.0f}"
    return str(pd.Timestamp(seconds, unit="s").floor("s").isoformat())


def day_text(seconds: float) -> str:
    """The day of a time, in UTC.

    >>> day_text(0)
    '1970-01-01'
    """
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def midnight_of(text: str) -> int:
    """Midnight UTC at the start of a day, in seconds since 1970; raises StageError if the text is not a day.

    >>> midnight_of("1970-01-03")
    172800
    """
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise StageError(f"BEFORE is {text!r}; it must be a day, such as 2026-01-31") from error
    return round(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def text_timestamp(text: str) -> float:
    """The timestamp that `timestamp_text` printed, to the second or row."""
    # Every printed date has a T; a number such as "12,345" is not a date, even if pandas could parse it as one.
    return pd.Timestamp(text).timestamp() if "T" in text else float(text.replace(",", ""))


def parse_utc_date(text: str) -> float:
    """Seconds since 1970 of a date on the command line, in UTC unless it has an offset."""
    try:
        date = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date such as 2026-11-24 or 2026-11-24T06:00") from error
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def utc_now() -> str:
    """The current time in UTC, to the second."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
