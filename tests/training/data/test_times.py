"""Times of rows: dates and seconds are read alike, and values that are neither are missing."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from training.data.times import check_time, dates_of, read_dates, text_timestamp, time_is_number, timestamp_text

SECONDS = 1_735_689_600.0  # 2025-01-01T00:00:00Z


@pytest.mark.parametrize(
    "values",
    [
        pd.Series(["2025-01-01T00:00:00", "2025-01-01"]),
        pd.Series(["2025-01-01T01:00:00+01:00", "2025-01-01 00:00:00Z"]),
        pd.Series(pd.to_datetime(["2025-01-01", "2025-01-01"])),
        pd.Series(pd.to_datetime(["2025-01-01", "2025-01-01"]).tz_localize("UTC")),
        pd.Series([SECONDS, SECONDS]),
        pd.Series([str(int(SECONDS)), str(SECONDS)]),
    ],
    ids=["text", "offsets", "datetime", "aware", "seconds", "seconds as text"],
)
def test_times_are_seconds(values: pd.Series) -> None:
    """ISO 8601 texts, datetimes and numbers are the same seconds since 1970."""
    assert check_time(values).tolist() == [SECONDS, SECONDS]


@pytest.mark.parametrize("wrong", ["yesterday", None, "", "2025-13-01"])
def test_unreadable_time_is_missing(wrong: object) -> None:
    """A time that cannot be read is NaN; the readable ones beside it stay."""
    times = check_time(pd.Series(["2025-01-01", wrong, "2025-01-01"], dtype=object))
    assert times.isna().tolist() == [False, True, False]


def test_number_among_dates_costs_one_row() -> None:
    """One number in a column of dates does not make the dates unreadable."""
    times = check_time(pd.Series(["2025-01-01", "0", "2025-01-01"]))
    assert times.iloc[[0, 2]].tolist() == [SECONDS, SECONDS]


def test_infinite_time_is_missing() -> None:
    """An infinite number of seconds is no time."""
    assert check_time(pd.Series([SECONDS, np.inf])).isna().tolist() == [False, True]


@pytest.mark.parametrize("factor", [1e3, 1e6, 1e9])
def test_finer_units_than_seconds_are_no_times(factor: float) -> None:
    """Milliseconds and finer units are not taken for seconds: every delay in days would be meaningless."""
    assert check_time(pd.Series([SECONDS, SECONDS + 1]) * factor).isna().all()


def test_times_are_what_most_are() -> None:
    """A column counts as seconds only if more of its values are numbers than dates."""
    assert time_is_number(pd.Series([1.0, 2.0, 3.0]))
    assert time_is_number(pd.Series(["1", "2", "2025-01-01"]))
    assert not time_is_number(pd.Series(["1", "2025-01-01", "2025-01-02"]))
    assert not time_is_number(pd.Series(pd.to_datetime(["2025-01-01"])))


# Dates that nanoseconds can hold, and dates that they cannot.
WITHIN, BEYOND = ("1899-12-31", "2101-01-01"), ("0001-01-01", "1600-01-01", "9999-12-31", "0202-05-01")


@pytest.mark.parametrize(
    ("stand_in", "unit"),
    [*product((*WITHIN, *BEYOND), ("s", "ms", "us", "text")), *product(WITHIN, ("ns",))],
)
def test_a_time_outside_1900_to_2100_is_missing(stand_in: str, unit: str) -> None:
    """A date outside the range, as stands for a missing one, counts as missing in every type that can hold it."""
    texts = ["2025-01-01", stand_in]
    values = pd.Series(texts if unit == "text" else pd.array(texts, dtype=f"datetime64[{unit}]"))
    assert check_time(values).isna().tolist() == [False, True]


def test_seconds_outside_1900_to_2100_are_missing() -> None:
    """Seconds outside this range are missing too."""
    assert check_time(pd.Series([-2_208_988_801.0, -5.0, 4_133_980_800.0])).isna().tolist() == [True, False, True]


@pytest.mark.parametrize(
    "values",
    [
        pd.Series(["2025-01-01T00:00:00.25", None], dtype="str"),
        pd.Series(["2025-01-01T05:30:00.25+05:30", None], dtype=object),
        pd.Series(pd.to_datetime(["2025-01-01 00:00:00.25", None])),
        pd.Series(pd.to_datetime(["2025-01-01 00:00:00.250000999", None]).tz_localize("UTC")),
        pd.Series([pd.Timestamp("2025-01-01 00:00:00.25").to_pydatetime(), None], dtype=object),
        dates_of(pd.Series([SECONDS + 0.25, np.nan])),
    ],
    ids=["text", "offset", "datetime", "nanoseconds", "objects", "seconds"],
)
def test_dates_are_seconds_to_the_microsecond(values: pd.Series) -> None:
    """Dates of any type are seconds to the microsecond, and missing ones stay missing."""
    np.testing.assert_array_equal(read_dates(values), [SECONDS + 0.25, np.nan])


@pytest.mark.parametrize("values", [[1.7e9, 1.8e9], [True, False], ["20240131T", "1700000000"], [b"2024-01-31", {}]])
def test_what_is_no_date_is_missing(values: list[object]) -> None:
    """A number in particular is not a date: 20240131 would be a day in 1970."""
    assert read_dates(pd.Series(values)).isna().all()


def test_dates_survive_being_read() -> None:
    """Seconds are read back to the last bit over the whole range."""
    seconds = pd.Series(np.round(np.random.default_rng(1).uniform(-2_208_988_800, 4_133_980_800, 10_000), 6))
    assert (read_dates(dates_of(seconds)) == seconds).all()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(SECONDS + 0.5, "2025-01-01T00:00:00"), (12_345.0, "12,345"), (999.0, "999"), (0.0, "0"), (-1_500.0, "-1,500")],
)
def test_printed_timestamps_are_read_back(seconds: float, text: str) -> None:
    """Dates are printed to the second; steps of time that are not dates are printed as numbers."""
    assert timestamp_text(seconds) == text
    assert text_timestamp(text) == np.floor(seconds)
