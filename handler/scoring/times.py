"""The times and dates of requests: texts in ISO 8601 as seconds since 1970, in UTC.

A text without an offset is UTC. Times are read to the microsecond. Imported only by scorers that read them.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import PlainValidator, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

# 1900-01-01 and 2101-01-01: a time outside this range stands for an unknown one, or is in another unit.
EARLIEST_SECONDS, END_OF_TIMES = -2_208_988_800.0, 4_133_980_800.0
# Clocks differ, so a request's time may be this far ahead of the server's clock, and a date of the request's time.
LEEWAY_SECONDS = 300.0

_DATE = {"type": "string", "format": "date"}
_DATE_TIME = {"type": "string", "format": "date-time"}
DATE_SCHEMA = {
    "anyOf": [_DATE, _DATE_TIME],
    "description": "from 1900 to the request's time; UTC unless it has an offset",
}
TIME_SCHEMA = {
    "anyOf": [_DATE_TIME, _DATE, {"type": "number", "minimum": EARLIEST_SECONDS}, {"type": "null"}],
    "description": "ISO 8601 (UTC unless it has an offset) or seconds since 1970; by default the server's clock",
}


def iso_seconds(text: str) -> float:
    """The seconds since 1970 of a date or date-time in ISO 8601; raises ValueError if the text is neither.

    >>> iso_seconds("1970-01-02"), iso_seconds("1970-01-01T01:00:00+00:30"), iso_seconds("1969-12-31 23:59:59.5")
    (86400.0, 1800.0, -0.5)
    """
    timestamp = datetime.fromisoformat(text)
    return (timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)).timestamp()


def iso_text(seconds: float) -> str:
    """The date-time of seconds since 1970, in UTC, which `iso_seconds` reads as the same number.

    >>> iso_text(86400.0), iso_text(-0.5)
    ('1970-01-02T00:00:00Z', '1969-12-31T23:59:59.500000Z')
    """
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def seconds_of_time(value: object, now: float) -> float:
    """The seconds since 1970 of a time that was sent; raises PydanticCustomError if invalid, ahead or too old."""
    seconds = _seconds(value) if isinstance(value, str) else value
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or seconds != seconds:  # noqa: PLR0124 - NaN
        raise PydanticCustomError(
            "time_parsing",
            "Input should be a time in ISO 8601, such as 2026-11-28T18:05:00Z, or seconds since 1970",
        )
    if seconds > now + LEEWAY_SECONDS:
        raise PydanticCustomError(
            "time_ahead",
            "The time is more than 5 minutes ahead of the server's clock; send ISO 8601 with its offset from UTC, "
            "seconds (not milliseconds) since 1970, or leave it out",
        )
    if seconds < EARLIEST_SECONDS:
        raise PydanticCustomError(
            "time_before_1900", "The time is before 1900; send the time of the event, or leave it out"
        )
    return float(seconds)


def time_annotation(clock: Callable[[], float]) -> Any:  # noqa: ANN401 - a type, made at run time
    """The type of a request's time, which becomes seconds; null becomes the clock's time."""

    def seconds_of(value: object) -> float:
        return clock() if value is None else seconds_of_time(value, clock())

    return Annotated[float, PlainValidator(seconds_of), WithJsonSchema(TIME_SCHEMA)]


def date_annotation(time: str) -> Any:  # noqa: ANN401 - as above
    """The type of a date, which becomes seconds; `time` names the request's time, which is validated before it."""

    def seconds_of(value: object, request: ValidationInfo) -> float:
        seconds = _seconds(value) if isinstance(value, str) else None
        if seconds is None:
            raise PydanticCustomError(
                "date_parsing", "Input should be a date in ISO 8601, such as 2026-11-28 or 2026-11-28T18:05:00Z"
            )
        if seconds < EARLIEST_SECONDS:
            raise PydanticCustomError("date_before_1900", "The date is before 1900; if it is unknown, leave it out")
        # If the time itself was refused, there is nothing to compare with.
        latest = request.data.get(time)
        if latest is not None and seconds > latest + LEEWAY_SECONDS:
            raise PydanticCustomError(
                "date_after_the_request",
                "The date is after the request's time; send an earlier one, with its offset if it is not UTC, or leave "
                "it out",
            )
        return seconds

    return Annotated[float, PlainValidator(seconds_of), WithJsonSchema(DATE_SCHEMA)]


def _seconds(text: str) -> float | None:
    """As `iso_seconds`, but None if the text is neither a date nor a date-time."""
    try:
        return iso_seconds(text)
    except ValueError:
        return None
