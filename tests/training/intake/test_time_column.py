"""Time columns of any format, and times that cannot be read."""

import datetime as dt
from typing import Any

import pandas as pd
import pytest

from training.errors import DataError
from training.intake.time_column import read_timestamps


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["2024-01-31 14:05:00", "2024-02-05T01:00:00Z"], "2024-02-05 01:00"),
        (["31/01/2024 14:05", "05/02/2024 01:00"], "2024-02-05 01:00"),
        (["01/31/2024 2:05 PM", "02/05/2024 1:00 AM"], "2024-02-05 01:00"),
        (["05.02.2024 01:00", "05.02.2024 01:00"], "2024-02-05 01:00"),
        (["20240131", "20240205"], "2024-02-05"),
        (["Jan 31 2024 2:05PM", "Feb 5 2024 1:00AM"], "2024-02-05 01:00"),
        ([20240131, 20240205], "2024-02-05"),
        ([pd.Timestamp("2024-01-31"), pd.Timestamp("2024-02-05 01:00")], "2024-02-05 01:00"),
        ([pd.Timestamp("2024-01-31", tz="CET"), pd.Timestamp("2024-02-05", tz="CET")], "2024-02-04 23:00"),
        ([dt.date(2024, 1, 31), dt.date(2024, 2, 5)], "2024-02-05"),
    ],
)
def test_time_of_any_format(values: list[Any], expected: str) -> None:
    """Dates in the formats that people use become timestamps; whether the day comes first, one row shows for all."""
    assert read_timestamps(pd.Series(values), "at")[0].iloc[1] == pd.Timestamp(expected, tz="UTC")


@pytest.mark.parametrize(("factor", "units"), [(1, []), (1e3, ["milli"]), (1e6, ["micro"]), (1e9, ["nano"])])
def test_numbers_are_seconds(factor: float, units: list[str]) -> None:
    """Numbers are seconds, or the unit that their size implies; a conversion is reported."""
    timestamps, notices = read_timestamps(pd.Series([1_700_000_000 * factor, 1_700_000_060 * factor]), "at")
    assert timestamps.tolist() == [1_700_000_000, 1_700_000_060]
    assert notices == [f"at: read as {unit}seconds since 1970" for unit in units]


@pytest.mark.parametrize("bad", ["unknown", "14:05:00", None])
def test_few_bad_times_stay_missing(bad: str | None) -> None:
    """A time that cannot be read is left to the quarantine and reported; a time of day is not today."""
    timestamps, notices = read_timestamps(pd.Series(["2024-01-01"] * 30 + [bad]), "at")
    assert timestamps.isna().tolist() == [False] * 30 + [True]
    assert notices == ["at: 1 rows have no readable time and go into quarantine"]


def test_many_bad_times_are_refused() -> None:
    """A column that is no time is refused, with one of its values and what to do."""
    with pytest.raises(
        DataError, match=r"TIME is at, which has 3 of 3 rows .* such as 'monday'; a time must be a date"
    ):
        read_timestamps(pd.Series(["monday"] * 3), "at")


def test_undecided_order_of_day_and_month_is_told() -> None:
    """Where no row shows whether the day comes first, the reading says so."""
    assert (
        "month first, although no row of the file decides it" in read_timestamps(pd.Series(["05/02/2024"]), "at")[1][0]
    )
