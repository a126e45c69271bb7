"""A time column in any format as timestamps or seconds."""

import pandas as pd
from pandas.tseries.api import guess_datetime_format

from training.data.times import LATEST_SECONDS, plausible_seconds
from training.errors import DataError
from training.intake.numbers import is_numeric, read_numbers

# A larger share of rows without a readable time means that the column was misread, not that some rows are bad.
MAX_BAD_TIMES = 0.05
FIRST_DATE, LAST_DATE = 19_000_101, 21_001_231
MONTHS = 12
GUESSES = 100


def read_timestamps(values: pd.Series, column: str) -> tuple[pd.Series, list[str]]:
    """Timestamps (UTC) or seconds (float64), missing where unreadable; and notices for the user.

    Raises DataError where more than MAX_BAD_TIMES of the rows have no readable time.
    """
    known = values.notna() & (values.astype(object) != "")
    notices: list[str] = []
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        timestamps = pd.to_datetime(values, utc=True)
    elif is_numeric(values):
        timestamps, notices = _counted(read_numbers(values), column)
    else:
        timestamps, notices = _written(values.astype("str").where(known), column)
    bad = timestamps.isna()
    if bad.mean() > MAX_BAD_TIMES:
        unreadable = values[bad & known]
        example = f" such as {unreadable.iloc[0]!r}" if len(unreadable) else ""
        raise DataError(
            f"TIME is {column}, which has {int(bad.sum()):,} of {len(values):,} rows without a readable time"
            f"{example or ' (empty cells)'}; a time must be a date (2024-01-31 14:05) or a number of seconds: "
            "name another column, or omit TIME if the rows are in order of time"
        )
    if bad.any():
        notices.append(f"{column}: {int(bad.sum()):,} rows have no readable time and go into quarantine")
    return timestamps, notices


def _counted(numbers: pd.Series, column: str) -> tuple[pd.Series, list[str]]:
    """Numbers as seconds or, where they are dates like 20240131, as timestamps."""
    known = numbers.dropna()
    if ((known >= FIRST_DATE) & (known <= LAST_DATE)).all():
        dates = pd.to_datetime(numbers.astype("Int64").astype("str"), format="%Y%m%d", errors="coerce", utc=True)
        if dates.notna().sum() == len(known):
            return dates, [f"{column}: read as dates, as in {int(known.iloc[0])}"]
    for unit, per_second in (("milli", 1e3), ("micro", 1e6), ("nano", 1e9)):
        typical = known.abs().median()
        if LATEST_SECONDS * per_second / 1e3 < typical <= LATEST_SECONDS * per_second:
            return plausible_seconds(numbers / per_second), [f"{column}: read as {unit}seconds since 1970"]
    return plausible_seconds(numbers), []


def _written(texts: pd.Series, column: str) -> tuple[pd.Series, list[str]]:
    """Texts as timestamps: in the format of the first ones, the rest one by one."""
    # pandas would read a time of day as one of today.
    texts = texts.where(~texts.str.fullmatch(r"\s*\d{1,2}:\d\d(:\d\d(\.\d+)?)?\s*([AaPp][Mm])?").fillna(value=True))
    parts = texts.str.extract(r"^\s*(\d{1,2})([./-])(\d{1,2})[./-]\d{2,4}")
    first, second = (pd.to_numeric(parts[part]) for part in (0, 2))
    n_day_first, n_month_first = int((first > MONTHS).sum()), int((second > MONTHS).sum())
    is_day_first = n_day_first > n_month_first or (n_day_first == n_month_first and bool((parts[1] == ".").any()))
    notices = []
    if first.notna().any():
        shown = texts[(first > MONTHS) if is_day_first and n_day_first else first.notna()].iloc[0]
        basis = "as in" if n_day_first != n_month_first else "although no row of the file decides it, as in"
        notices.append(f"{column}: read with the {'day' if is_day_first else 'month'} first, {basis} {shown}")
    known = texts.dropna()
    guesses = (guess_datetime_format(text, dayfirst=is_day_first) for text in known.head(GUESSES))
    layout = next(filter(None, guesses), None)
    timestamps = pd.Series(pd.NaT, index=texts.index, dtype="datetime64[us, UTC]")
    if layout:
        timestamps = pd.to_datetime(texts, format=layout, errors="coerce", utc=True)
    rest = texts[timestamps.isna() & texts.notna()]
    if len(rest):
        timestamps = timestamps.fillna(
            pd.to_datetime(rest, format="mixed", dayfirst=is_day_first, errors="coerce", utc=True)
        )
    return timestamps, notices
