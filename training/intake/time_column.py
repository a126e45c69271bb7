"""The time column of a user's file, whatever it holds, as timestamps or seconds."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from handler.scoring.fields import SECONDS_A_DAY
from handler.scoring.times import END_OF_TIMES
from training.data.times import (
    EARLIEST_DATE,
    date_seconds,
    iso_dates,
    plausible_seconds,
)
from training.errors import DataError, counted
from training.intake.field_names import words_of
from training.intake.numbers import is_numeric, number_text, read_numbers
from training.intake.written_dates import are_calendar_names, are_times_of_day, read_dates

# A larger share of rows without a readable time means that the column was misread, not that some rows are bad.
MAX_BAD_TIMES = 0.05
SAMPLE = 1_000
SHOWN = 5
TIME_WORDS = frozenset({"at", "date", "datetime", "epoch", "time", "timestamp", "ts", "when"})
_DATE_WORDS = "date day month year yr datum tag jahr monat fecha dia mes ano jour mois annee giorno anno"
DATE_WORDS = frozenset(_DATE_WORDS.split())
# A time this far from all others, and at least as far as these are apart, stands for something else.
EDGE_YEARS = 2
YEARS, MOST_YEARS = (1950, 2100), 100
HOURS_A_DAY = 24
SECONDS_A_YEAR = 365.25 * SECONDS_A_DAY


@dataclass(frozen=True)
class Unit:
    """A unit of numbers that count time from some start, with the range in which they are plausible times."""

    name: str
    low: float
    high: float
    per_second: float
    start: float = 0.0
    """The first instant of the count, in seconds since 1970."""

    def fits(self, numbers: pd.Series) -> bool:
        """Whether most numbers are times in this unit."""
        return bool(numbers.between(self.low, self.high).mean() > 0.5)  # noqa: PLR2004 - a majority

    def seconds(self, numbers: pd.Series) -> pd.Series:
        """The numbers as seconds since 1970."""
        return numbers / self.per_second + self.start


# .NET and Windows count tenths of microseconds. They come before nanoseconds, as which their ranges would be times
# around 1990 and 1974.
UNITS = (
    Unit("seconds since 1970", EARLIEST_DATE, END_OF_TIMES, 1),
    Unit("milliseconds since 1970", EARLIEST_DATE * 1e3, END_OF_TIMES * 1e3, 1e3),
    Unit("microseconds since 1970", EARLIEST_DATE * 1e6, END_OF_TIMES * 1e6, 1e6),
    Unit(".NET's ticks since the year 1", 6.2e17, 6.5e17, 1e7, -62_135_596_800.0),
    Unit("Windows's file times since 1601", 1.2e17, 1.45e17, 1e7, -11_644_473_600.0),
    Unit("nanoseconds since 1970", EARLIEST_DATE * 1e9, END_OF_TIMES * 1e9, 1e9),
)
# Excel's days from 1970 to 2100. It counts from the end of 1899, and counts a 29 February 1900 that never was.
EXCEL = Unit("Excel's days since 1899-12-30", 25_569, 73_415, 1 / SECONDS_A_DAY, -25_569.0 * SECONDS_A_DAY)
DAYS = Unit("days since 1970", 10_957, 25_568, 1 / SECONDS_A_DAY)
# The most days that such numbers may span; a count of something else seldom stays within so short a part of the range.
MOST_DAYS = 10_958
# Numbers that spell a date with their digits.
STAMPS = (
    ("%Y%m%d%H%M%S", 19_000_101_000_000, 21_001_231_235_959),
    ("%Y%m%d%H%M", 190_001_010_000, 210_012_312_359),
    ("%Y%m%d", 19_000_101, 21_001_231),
    ("%Y%m", 190_001, 210_012),
)


_REMEDY = "name another column, or omit TIME if the rows are in order of time"


def timestamps_of(rows: pd.DataFrame, column: str) -> tuple[pd.Series, list[str]]:
    """A column as `read_timestamps` returns it, however many values are missing; raises DataError if it holds words.

    The notices say how the values were read.
    """
    values = rows[column]
    present = values.dropna()
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return iso_dates(values), []
    if is_numeric(present.iloc[:: max(1, len(present) // SAMPLE)]):
        return _from_numbers(read_numbers(values), rows, column)
    texts = values.astype("str")
    timestamps, notices = read_dates(texts, column)
    if timestamps.isna().mean() > MAX_BAD_TIMES:
        _refuse_words(texts.dropna(), rows, column)
    return timestamps, notices


def read_timestamps(rows: pd.DataFrame, column: str) -> tuple[pd.Series, list[str]]:
    """The times of the rows as timestamps (UTC) or seconds (float64), missing where unreadable; notices for the user.

    Raises DataError if more than MAX_BAD_TIMES of the rows have no readable time.
    """
    if rows[column].isna().all():
        raise DataError(f"TIME is {column}, which is empty: {_REMEDY}")
    timestamps, notices = timestamps_of(rows, column)
    notices = notices + _bad_times(timestamps, rows[column], column)
    return timestamps, notices + _period(timestamps, column)


def _from_numbers(numbers: pd.Series, rows: pd.DataFrame, column: str) -> tuple[pd.Series, list[str]]:
    """Numbers as timestamps if they spell dates, or are years or days, else as seconds by the unit that fits most."""
    finite = numbers[np.isfinite(numbers)]
    for layout, low, high in STAMPS:
        if finite.between(low, high).mean() > 0.5:  # noqa: PLR2004 - a majority
            whole = numbers.where(numbers.between(low, high) & (numbers % 1 == 0)).astype("Int64").astype("str")
            dates = iso_dates(pd.to_datetime(whole, format=layout, errors="coerce", utc=True))
            if dates.notna().sum() >= (1 - MAX_BAD_TIMES) * len(finite):
                return dates, [f"{column}: read as dates, as in {numbers[dates.notna()].iloc[0]:.0f}"]
    if finite.between(*YEARS).all() and (finite % 1 == 0).all() and finite.nunique() <= MOST_YEARS:
        years = numbers.astype("Int64").astype("str")
        return pd.to_datetime(years, format="%Y", errors="coerce", utc=True), [f"{column}: read as years"]
    _refuse_clock(finite, rows, column)
    if day_unit := _day_unit(finite, words_of(column)):
        seconds = plausible_seconds(day_unit.seconds(numbers).round(3))
        dates = pd.to_datetime((seconds * 1e3).round(), unit="ms", utc=True)
        shown, date = number_text(finite.iloc[0]), _date(seconds.dropna().iloc[0])
        return dates, [f"{column}: read as {day_unit.name}, so {shown} is {date}"]
    unit = next((unit for unit in UNITS if unit.fits(finite)), None)
    if unit:
        notices = [f"{column}: read as {unit.name}"] if unit.per_second != 1 else []
        return plausible_seconds(unit.seconds(numbers)), notices
    period = f"from {number_text(finite.min())} to {number_text(finite.max())}"
    meaning = "they are taken as seconds, which give the order of the rows, but periods in days have no meaning"
    return plausible_seconds(numbers), [f"{column}: holds numbers {period} that are not dates; {meaning}"]


def _day_unit(numbers: pd.Series, words: set[str]) -> Unit | None:
    """The unit of numbers that count days, as Excel does; None if they count something else."""
    is_whole = bool((numbers % 1 == 0).all())
    is_date = bool(words & (DATE_WORDS | TIME_WORDS - {"time", "ts"}))
    for unit, is_likely in ((EXCEL, is_date or not is_whole), (DAYS, is_date and is_whole)):
        fitting = numbers[numbers.between(unit.low, unit.high)]
        if is_likely and len(fitting) >= (1 - MAX_BAD_TIMES) * len(numbers) and np.ptp(fitting) <= MOST_DAYS:
            return unit
    return None


def _refuse_clock(numbers: pd.Series, rows: pd.DataFrame, column: str) -> None:
    """Raise DataError if numbers are times of day, such as 93000 for 09:30:00."""
    is_sound = (numbers >= 0) & (numbers % 1 == 0) & (numbers % 100 < 60) & (numbers // 100 % 100 < 60)  # noqa: PLR2004
    latest = numbers[is_sound].max()
    has_seconds = latest >= HOURS_A_DAY * 100
    fewest, end = (10_000, HOURS_A_DAY * 10_000) if has_seconds else (1_000, HOURS_A_DAY * 100)
    if is_sound.mean() < 1 - MAX_BAD_TIMES or numbers.nunique() < HOURS_A_DAY or not fewest <= latest < end:
        return
    digits = f"{int(latest):06}" if has_seconds else f"{int(latest):04}"
    clock = ":".join(digits[place : place + 2] for place in range(0, len(digits), 2))
    raise DataError(_without_date(f"times of day without a date, such as {latest:.0f} for {clock}", rows, column))


def _refuse_words(present: pd.Series, rows: pd.DataFrame, column: str) -> None:
    """Raise DataError if texts are times of day, or names of months or weekdays."""
    for what, matched in (
        ("times of day without a date", are_times_of_day(present)),
        ("names of months or weekdays without a year", are_calendar_names(present)),
    ):
        if matched.mean() > 0.5:  # noqa: PLR2004 - a majority
            raise DataError(_without_date(f"{what}, such as {present[matched].iloc[0]}", rows, column))


def _without_date(what: str, rows: pd.DataFrame, column: str) -> str:
    """The message that a column is only a part of a time, with the columns that look like the rest."""
    names = [str(name) for name in rows if name != column and _looks_like_date(rows[name], str(name))]
    remedy = "name a column with dates, or omit TIME if the rows are in order of time"
    if names:
        listed = names[0] if len(names) == 1 else ", ".join(names[:SHOWN][:-1]) + " and " + names[:SHOWN][-1]
        remedy = (
            f"{listed} {'looks' if len(names) == 1 else 'look'} like its date: join them in one column, such as "
            "2025-01-31 14:05, and name that"
        )
    return f"TIME is {column}, which holds {what}; {remedy}"


def _looks_like_date(values: pd.Series, column: str) -> bool:
    """Whether a column's name or its values are those of a date."""
    if pd.api.types.is_datetime64_any_dtype(values.dtype) or words_of(column) & DATE_WORDS:
        return True
    sample = values.dropna().iloc[:SHOWN]
    if sample.empty or pd.api.types.is_numeric_dtype(values.dtype):
        return False
    return bool(iso_dates(sample.astype("str")).notna().all())


def _bad_times(timestamps: pd.Series, values: pd.Series, column: str) -> list[str]:
    """A notice of the rows without a readable time; raises DataError if they are too many."""
    n_bad = int(timestamps.isna().sum())
    if not n_bad:
        return []
    frequent = values[timestamps.isna()].value_counts(dropna=True)
    example = f", such as {_shown(frequent.index[0])!r}" if len(frequent) else " (empty cells)"
    if n_bad > MAX_BAD_TIMES * len(values):
        raise DataError(
            f"TIME is {column}, which has {n_bad:,} of {len(values):,} rows without a readable time{example}; a time "
            f"must be a date from 1900 to 2100 (2024-01-31 14:05) or a number of seconds: {_REMEDY}"
        )
    rows = counted(n_bad, "row has", "rows have")
    return [f"{column}: {rows} no readable time from 1900 to 2100{example}: quarantined"]


def _shown(value: object) -> str:
    return number_text(value) if isinstance(value, float) else str(value)


def _period(timestamps: pd.Series, column: str) -> list[str]:
    """A notice of the first and the last date; a time that is years from all others is left out, with a warning."""
    is_date = pd.api.types.is_datetime64_any_dtype(timestamps.dtype)
    seconds = (date_seconds(timestamps) if is_date else timestamps).dropna()
    if not is_date and seconds.median() < EARLIEST_DATE:
        return []
    distinct = np.unique(seconds)
    notices = []
    for place, beside, when in ((0, 1, "before"), (-1, -2, "after")):
        inner = distinct[1:-1]
        gap = abs(distinct[beside] - distinct[place]) if len(inner) > 1 else 0
        if gap >= EDGE_YEARS * SECONDS_A_YEAR and gap >= inner[-1] - inner[0]:
            edge = distinct[place]
            n_rows = int((seconds == edge).sum())
            rows, count = counted(n_rows, "row has", "rows have"), "counts" if n_rows == 1 else "count"
            years, rank = gap / SECONDS_A_YEAR, "earliest" if place == 0 else "latest"
            notices.append(
                f"WARNING: {column}: {rows} {_date(edge)}, {years:.0f} years {when} the next, and so {count} as the "
                f"{rank}: leave them out if that date stands for an unknown time"
            )
            seconds = seconds[seconds != edge]
    return [*notices, f"{column}: from {_date(seconds.min())} to {_date(seconds.max())}"]


def _date(seconds: float) -> str:
    """A date with its time of day, unless that is midnight."""
    return str(pd.Timestamp(seconds, unit="s").floor("s").isoformat(sep=" ")).removesuffix(" 00:00:00")
