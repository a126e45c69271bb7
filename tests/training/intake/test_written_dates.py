"""Dates as people and programs write them: all spellings of an instant, both orders, and texts that are not dates."""

import pandas as pd
import pytest

from training.errors import DataError
from training.intake.written_dates import are_calendar_names, are_times_of_day, read_dates

INSTANT = pd.Timestamp("2025-01-31 14:05:07", tz="UTC")


def dates_of(*texts: str | None) -> pd.Series:
    """The texts as dates."""
    return read_dates(pd.Series(texts, dtype="str"), "at")[0]


@pytest.mark.parametrize(
    "text",
    [
        "2025-01-31 14:05:07",
        "2025-01-31T14:05:07Z",
        "2025-01-31T14:05:07.000Z",
        "2025-01-31T14:05:07.0000000Z",
        "2025-01-31T14:05:07,000",
        "2025-01-31T16:05:07+02:00",
        "2025-01-31 16:05:07 +0200",
        "2025-01-31 16:05:07+02",
        "2025-01-31 09:05:07 EST",
        "2025-01-31T15:05:07+01:00[Europe/Berlin]",
        "2025-01-31 14:05:07 UTC",
        "2025/01/31 14:05:07",
        "2025.01.31. 14:05:07",
        "2025. 01. 31. 14:05:07",
        "2025-01-31-14.05.07.000000",
        "31/01/2025 14:05:07",
        "31.01.2025 14:05:07",
        "31.1.2025, 14:05:07",
        "31-01-2025\N{NO-BREAK SPACE}14:05:07",
        "Fri 31/01/2025 14:05:07",
        "01/31/2025 2:05:07 PM",
        "1/31/2025 14:05:07",
        "01/31/25 14:05:07",
        "31.01.25 14:05:07",
        "20250131140507",
        "20250131140507000",
        "20250131T140507Z",
        "20250131 14:05:07",
        "31-Jan-2025 14:05:07",
        "31-JAN-25 02.05.07.000000 PM",
        "31JAN2025:14:05:07",
        "Jan 31 2025 2:05:07PM",
        "January 31, 2025 2:05:07 p.m.",
        "Fri, 31 Jan 2025 14:05:07 GMT",
        "Fri, 31 Jan 2025 15:05:07 +0100",
        "Fri Jan 31 14:05:07 UTC 2025",
        "Fri Jan 31 2025 15:05:07 GMT+0100 (Central European Standard Time)",
        "31. Januar 2025 um 14:05:07",
        "31 janvier 2025 à 14:05:07",
        "31 de enero de 2025 14:05:07",
        "31 stycznia 2025 14:05:07",
        "2025-Jan-31 14:05:07",
    ],
)
def test_an_instant_in_every_spelling(text: str) -> None:
    """Each spelling gives the same timestamp."""
    assert dates_of(text).tolist() == [INSTANT]


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2018.03.29.", "2018-03-29"),
        ("29.02.2024", "2024-02-29"),
        ("31/12/2024 24:00", "2025-01-01"),
        ("Jan 2025", "2025-01-01"),
        ("05/2025", "2025-05-01"),
        ("12/31/99", "1999-12-31"),
        ("3. März 2025", "2025-03-03"),
        ("14 août 2025", "2025-08-14"),
    ],
)
def test_a_day_in_every_spelling(text: str, date: str) -> None:
    """A date without a time of day is read as midnight."""
    assert dates_of(text).tolist() == [pd.Timestamp(date, tz="UTC")]


@pytest.mark.parametrize(
    "text",
    [
        *("0000-00-00 00:00:00", "0001-01-01", "1600-01-01", "9999-12-31", "0202-05-01", "31/12/9999", "01-01-0001"),
        *("2025-02-30", "31/02/2025", "2025-01-31 25:00:00", "29.02.2025", "13/13/2025", None),
        *("Jan", "Monday", "Jan 5", "14:05", "2:05 PM", "20 to 30", "192.0.2", "more than 31", "5"),
    ],
)
def test_what_is_no_date_of_our_times_is_missing(text: str | None) -> None:
    """Days that do not exist, years outside 1900 to 2100 and texts without a year are missing, not errors."""
    assert dates_of("2025-01-31", text).isna().tolist() == [False, True]


def test_day_or_month_first_is_decided_by_all_dates() -> None:
    """A single date that settles the order settles it for all, and the notice shows that date."""
    dates, notices = read_dates(pd.Series(["05/02/2024", "31/01/2024"], dtype="str"), "at")
    assert dates.tolist() == [pd.Timestamp(date, tz="UTC") for date in ("2024-02-05", "2024-01-31")]
    assert notices == ["at: read with the day first, as in 31/01/2024"]
    dates, notices = read_dates(pd.Series(["25-01-06", "25-01-31", "25-02-07"], dtype="str"), "at")
    assert dates.iloc[1] == pd.Timestamp("2025-01-31", tz="UTC")
    assert notices == ["at: read with the year first, as in 25-01-06"]


@pytest.mark.parametrize("day_first", ["31/01/2025", "31.01.2025", "31-01-2025 10:00"])
def test_both_orders_in_one_file_are_refused(day_first: str) -> None:
    """If some rows can only have the day first and others only the month, the column is refused."""
    texts = pd.Series([day_first] * 3 + ["01/31/2025", "02/28/2025"] * 2 + ["02/03/2025"] * 9, dtype="str")
    with pytest.raises(DataError) as refused:
        read_dates(texts, "at")
    message = str(refused.value)
    assert f"3 rows that can only have the day first, such as {day_first}" in message
    assert "4 rows that can only have the month first, such as 01/31/2025" in message


def test_one_slip_among_thousands_is_missing() -> None:
    """A single date in the other order is missing and reported."""
    dates, notices = read_dates(pd.Series(["01/31/2025"] * 9_999 + ["31/01/2025"], dtype="str"), "at")
    assert (dates.isna().sum(), dates.isna().iloc[-1]) == (1, True)
    assert notices[1] == "at: 1 row has the day first, such as 31/01/2025: not a time"


def test_times_of_day_and_names_are_recognised() -> None:
    """A time of day without a date, and a month's or weekday's name without a year, are recognised."""
    texts = pd.Series(["14:05", "2:05:07 pm", "14h05", "2025-01-31", "Jan", "Montag", "mars", "web", None], dtype="str")
    assert are_times_of_day(texts).tolist() == [True] * 3 + [False] * 6
    assert are_calendar_names(texts).tolist() == [False] * 4 + [True] * 3 + [False] * 2
