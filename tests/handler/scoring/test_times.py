"""The times and dates of requests."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from handler.scoring.contract import Contract, request_model
from handler.scoring.times import EARLIEST_SECONDS, END_OF_TIMES, iso_seconds, iso_text

CONTRACT = Contract.model_validate(
    {
        "route": "/score",
        "answer": "probability",
        "id": None,
        "fields": {"opened": {"type": "date", "alias": "openedOn"}},
        "features": {"hour": {"hour_of_day": "at"}},
        "time": "at",
    }
)
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
REQUEST = request_model("payment", CONTRACT, clock=NOW.timestamp)


def parse(**sent: Any) -> BaseModel:  # noqa: ANN401 - whatever a caller sends
    """A request that arrives on NOW."""
    return REQUEST.model_validate_json(json.dumps(sent))


def problems(**sent: Any) -> list[tuple[str | int, str]]:  # noqa: ANN401 - whatever a caller sends
    """The key and the sentence of each problem."""
    with pytest.raises(ValidationError) as refused:
        parse(**sent)
    return [(error["loc"][0], error["msg"]) for error in refused.value.errors()]


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2024-02-29", datetime(2024, 2, 29, tzinfo=UTC)),
        ("20240229", datetime(2024, 2, 29, tzinfo=UTC)),
        ("2025-03-30T02:30:00", datetime(2025, 3, 30, 2, 30, tzinfo=UTC)),  # an hour that Berlin does not have
        ("2025-03-30 02:30", datetime(2025, 3, 30, 2, 30, tzinfo=UTC)),
        ("2025-03-30T02:30:00Z", datetime(2025, 3, 30, 2, 30, tzinfo=UTC)),
        ("2025-03-30T02:30:00.25+05:30", datetime(2025, 3, 29, 21, 0, 0, 250_000, tzinfo=UTC)),
        ("1900-01-01", datetime(1900, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_text_without_an_offset_is_utc(text: str, date: datetime) -> None:
    """As a date and as the time of a request."""
    request = parse(openedOn=text, at=text)
    assert (request.model_dump()["opened"], request.model_dump()["at"]) == (date.timestamp(), date.timestamp())


@pytest.mark.parametrize("sent", [{}, {"at": None}])
def test_without_a_time_it_is_the_clocks(sent: dict[str, None]) -> None:
    """Absent and null are the same."""
    assert parse(**sent).model_dump()["at"] == NOW.timestamp()


@pytest.mark.parametrize("at", [0, 1_700_000_000, 1_700_000_000.25, -86_400])
def test_a_number_is_seconds(at: float) -> None:
    """A time may be a number of seconds, which a data set may count from its own start."""
    assert parse(at=at).model_dump()["at"] == at


NO_DATE = "Input should be a date in ISO 8601, such as 2026-11-28 or 2026-11-28T18:05:00Z"
NO_TIME = "Input should be a time in ISO 8601, such as 2026-11-28T18:05:00Z, or seconds since 1970"
AFTER = "The date is after the request's time; send an earlier one, with its offset if it is not UTC, or leave it out"
AHEAD = (
    "The time is more than 5 minutes ahead of the server's clock; send ISO 8601 with its offset from UTC, seconds "
    "(not milliseconds) since 1970, or leave it out"
)


@pytest.mark.parametrize(
    ("sent", "key", "sentence"),
    [
        *(({"openedOn": value}, "openedOn", NO_DATE) for value in ("", "2025-02-29", "28.11.2026", "x" * 99, 0, True)),
        *(({"at": value}, "at", NO_TIME) for value in ("", "2025-02-29", "1700000000", True, [], float("nan"))),
        (
            {"openedOn": "1899-12-31T23:59:59Z"},
            "openedOn",
            "The date is before 1900; if it is unknown, leave it out",
        ),
        ({"at": "1899-12-31"}, "at", "The time is before 1900; send the time of the event, or leave it out"),
        ({"openedOn": "2026-11-29"}, "openedOn", AFTER),
        ({"openedOn": "2026-11-20T12:05:01Z", "at": "2026-11-20T12:00:00Z"}, "openedOn", AFTER),
        ({"at": "2026-11-28T12:06:00Z"}, "at", AHEAD),
        ({"at": NOW.timestamp() * 1000}, "at", AHEAD),
        ({"at": 10**400}, "at", AHEAD),
    ],
)
def test_bad_input_is_refused_in_one_sentence(sent: dict[str, Any], key: str, sentence: str) -> None:
    """It has the remedy but not the value, which may be personal."""
    assert problems(**sent) == [(key, sentence)]


def test_a_bad_time_is_one_problem() -> None:
    """A date is not compared with an invalid time."""
    assert problems(at="yesterday", openedOn="2026-11-20") == [("at", NO_TIME)]


@pytest.mark.parametrize("ahead", [timedelta(minutes=4), timedelta(seconds=300)])
def test_clocks_may_differ_by_five_minutes(ahead: timedelta) -> None:
    """A time may be that far ahead of the server's clock, and a date ahead of the time."""
    time = (NOW + ahead).isoformat()
    assert parse(at=time).model_dump()["at"] == (NOW + ahead).timestamp()
    assert parse(openedOn=time).model_dump()["opened"] == (NOW + ahead).timestamp()


@given(st.floats(EARLIEST_SECONDS, END_OF_TIMES).map(lambda seconds: round(seconds, 6)))
def test_seconds_survive_their_text(seconds: float) -> None:
    """To the microsecond, and so to the last bit."""
    assert iso_seconds(iso_text(seconds)) == seconds
