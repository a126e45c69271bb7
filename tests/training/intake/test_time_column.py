"""The TIME column of a user's file: the forms that are read as times, and those that are not."""

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest

from training.data.times import check_time
from training.errors import DataError
from training.intake.time_column import read_timestamps

DATES = pd.date_range("2024-03-01 07:30", periods=300, freq="13h17min", tz="UTC")
EXCEL = (DATES - pd.Timestamp("1899-12-30", tz="UTC")) / pd.Timedelta("1D")
SECONDS = (DATES - pd.Timestamp(0, tz="UTC")).total_seconds()


def read(values: Any, name: str = "at", **others: Any) -> tuple[pd.Series, list[str]]:  # noqa: ANN401 - as pandas takes
    """The times of a column in a table with these other columns."""
    return read_timestamps(pd.DataFrame({name: values, **others}), name)


def written(layout: str) -> list[str]:
    """The dates, written in a format."""
    return list(DATES.strftime(layout))


@pytest.mark.parametrize(
    ("values", "notice"),
    [
        (written("%Y-%m-%d %H:%M"), ""),
        (written("%d.%m.%Y %H:%M"), "day first"),
        (written("%Y%m%d%H%M%S"), "read as dates, as in 20240301073000"),
        (written("%Y%m%d%H%M"), "read as dates, as in 202403010730"),
        (list(map(int, written("%Y%m%d%H%M%S"))), "read as dates"),
        (EXCEL, "read as Excel's days since 1899-12-30, so 45352.3125 is 2024-03-01 07:30:00"),
        ([f"{days:.8f}" for days in EXCEL], "Excel's days"),
        ([f"{days:.8f}".replace(".", ",") for days in EXCEL], "Excel's days"),
        (SECONDS, ""),
        ([f"{seconds:.0f}" for seconds in SECONDS], ""),
        (SECONDS * 1e3, "milliseconds since 1970"),
        (SECONDS * 1e6, "microseconds since 1970"),
        ([f"{seconds * 1e9:.0f}" for seconds in SECONDS], "nanoseconds since 1970"),
        ([f"{(seconds + 62_135_596_800) * 1e7:.0f}" for seconds in SECONDS], ".NET's ticks"),
        ([f"{(seconds + 11_644_473_600) * 1e7:.0f}" for seconds in SECONDS], "Windows's file times"),
        (list(DATES), ""),
        (DATES.tz_convert("CET"), ""),
    ],
)
def test_every_spelling_gives_the_same_times(values: Any, notice: str) -> None:  # noqa: ANN401 - as pandas takes
    """Dates, digit strings, Excel serials and counts in any unit give the same times, reported as dates."""
    times, notices = read(values)
    assert np.allclose(check_time(times), SECONDS, atol=0.5)
    assert notice in notices[0]
    assert notices[-1] == "at: from 2024-03-01 07:30:00 to 2024-08-13 19:13:00"


@pytest.mark.parametrize(
    ("values", "period"),
    [
        (written("%Y%m%d"), "2024-03-01 to 2024-08-13"),
        (written("%Y%m"), "2024-03-01 to 2024-08-01"),
        (list(DATES.date), "2024-03-01 to 2024-08-13"),
        ([2025, 2026, 2027] * 9, "2025-01-01 to 2027-01-01"),
    ],
)
def test_days_months_and_years(values: list[Any], period: str) -> None:
    """Dates that give only a day, a month or a year are read as its beginning."""
    assert read(values)[1][-1] == f"at: from {period}"


@pytest.mark.parametrize("name", ["step", "time", "elapsed_seconds"])
@pytest.mark.parametrize("values", [np.arange(1, 745), np.linspace(0, 172_792, 500).round()])
def test_a_counter_is_told(values: np.ndarray, name: str) -> None:
    """Numbers that only count something are kept, and the notice says that they are not dates."""
    times, notices = read(values, name)
    assert times.tolist() == values.tolist()
    assert len(notices) == 1
    assert (
        f"{name}: holds numbers from {values[0]:.0f} to {values[-1]:.0f} that are not dates; they are taken as"
        in notices[0]
    )


@pytest.mark.parametrize(
    "values", [[93000, 235959, *range(100, 160)], ["09:30", "10:15:00"], ["2:05 PM"], [f"{h:02}30" for h in range(24)]]
)
def test_a_clock_is_refused_and_its_date_named(values: list[Any]) -> None:
    """A time of day alone is refused, and the message names columns that look like its date."""
    year, day = [2025] * len(values), ["2025-01-31"] * len(values)
    with pytest.raises(DataError, match=r"times of day without a date, such as .*; Year and booked look like its date"):
        read(values, "at", Year=year, amount=1.5, booked=day)
    with pytest.raises(DataError, match="omit TIME if the rows are in order of time"):
        read(values, "at")


@pytest.mark.parametrize("names", [["Jan", "Feb"], ["Monday", "Tuesday"], ["März", "Mai"]])
def test_names_of_months_are_refused(names: list[str]) -> None:
    """A month's or weekday's name without a year is not a date."""
    with pytest.raises(DataError, match="holds names of months or weekdays without a year, such as"):
        read(names * 9)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns", "text"])
@pytest.mark.parametrize("stand_in", ["0001-01-01", "1600-01-01", "9999-12-31", "0202-05-01"])
def test_a_time_outside_our_centuries_is_missing(stand_in: str, unit: str) -> None:
    """It is counted and reported, whatever the type, and the reported period does not include it."""
    texts = ["2025-01-01"] * 30 + ["2025-02-01", stand_in]
    try:
        values: Any = texts if unit == "text" else pd.array(texts, dtype=f"datetime64[{unit}]")
    except pd.errors.OutOfBoundsDatetime:
        return
    times, notices = read(values)
    assert times.isna().tolist() == [False] * 31 + [True]
    assert "at: 1 row has no readable time from 1900 to 2100, such as" in notices[0]
    assert stand_in in notices[0]
    assert notices[1] == "at: from 2025-01-01 to 2025-02-01"


@pytest.mark.parametrize("edge", ["1970-01-01", "1900-01-01", "2099-12-31"])
def test_a_date_far_from_all_others_is_told(edge: str) -> None:
    """A likely stand-in for missing times within our centuries gets a warning, and the period does not include it."""
    dates = [f"2025-0{1 + number % 9}-0{1 + number % 7}" for number in range(300)]
    _, notices = read([edge] * 12 + dates)
    assert notices[0].startswith(f"WARNING: at: 12 rows have {edge}, ")
    assert notices[1] == "at: from 2025-01-01 to 2025-09-07"


@pytest.mark.parametrize("bad", ["unknown", "14:05:00", None])
def test_few_bad_times_stay_missing(bad: str | None) -> None:
    """An unreadable time is quarantined and reported with an example; a time of day does not become today's."""
    times, notices = read(["2024-01-01"] * 30 + [bad])
    assert times.isna().tolist() == [False] * 30 + [True]
    assert (f"such as '{bad}'" if bad else "(empty cells)") in notices[0]


@pytest.mark.parametrize(
    ("values", "why"),
    [(["early", "late"] * 9, "9 of 18|18 of 18 rows without a readable time, such as"), ([None], "empty")],
)
def test_many_bad_times_are_refused(values: list[Any], why: str) -> None:
    """A column that is not a time is refused, with one of its values and a remedy."""
    with pytest.raises(DataError, match=rf"TIME is at, which .*({why}).*"):
        read(values)


def test_undecided_order_of_day_and_month_is_told() -> None:
    """If no row shows whether the day or the month comes first, the notice says so."""
    assert "month first, although no row of the file decides it" in read(["05/02/2024"])[1][0]


def test_dates_without_a_clock_of_python() -> None:
    """Python's date objects are read."""
    assert read([dt.date(2024, 1, 31)])[0].tolist() == [pd.Timestamp("2024-01-31", tz="UTC")]
