"""The date columns of a user's file: useful if each row has a time, because a date then has an age."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from handler.scoring.contract import DerivedFeature
from handler.scoring.fields import SECONDS_A_DAY, SECONDS_AN_HOUR
from handler.scoring.times import LEEWAY_SECONDS
from training.data.times import EARLIEST_DATE, date_seconds
from training.errors import counted
from training.intake.column_types import Column
from training.intake.field_names import fitting_name

# If a larger share of the dates, of the frauds or of the other rows, is after the row's time, such dates become known
# only later. Fewer are slips; they become missing, which hardly tells frauds from other rows.
MOST_AFTER = 0.01
# In a shorter period (in days), an hour or a day of the week tells when a row was, not what is usual at such times.
DAYS_OF_HOURS, DAYS_OF_WEEKDAYS = 7, 28
# With fewer different hours or weekdays, the times are coarser than these, for example days or months.
FEWEST_HOURS, FEWEST_WEEKDAYS = 12, 5


def seconds_of_times(timestamps: pd.Series) -> pd.Series | None:
    """The rows' times in seconds since 1970; None if they count something else, such as rows."""
    if pd.api.types.is_datetime64_any_dtype(timestamps.dtype):
        return date_seconds(timestamps)
    return timestamps if timestamps.median() >= EARLIEST_DATE else None


def with_ages(columns: Mapping[str, Column], timestamps: pd.Series, is_fraud: pd.Series) -> dict[str, Column]:
    """The columns; a date column stays a field only if its age at the rows' times carries information."""
    seconds = seconds_of_times(timestamps)
    return {
        name: _aged(column, seconds, is_fraud) if column.field and column.field.type == "date" else column
        for name, column in columns.items()
    }


def _aged(column: Column, seconds: pd.Series | None, is_fraud: pd.Series) -> Column:
    if seconds is None:
        return replace(column, field=None, notice="left out, it holds dates; with TIME their age could be used")
    age = seconds - date_seconds(column.typed)
    present = age.dropna()
    is_after = age < -LEEWAY_SECONDS
    if is_after.groupby(is_fraud).mean().max() > MOST_AFTER:
        counts = f"{int(is_after.sum()):,} of its {len(present):,} dates"
        why = f"left out, {counts} are after TIME, so they are not known when a request is sent"
        return replace(column, field=None, notice=why)
    if present.empty or np.ptp(present) < 1:
        notice = "left out, it is always the same time before TIME, so its age carries no information"
        return replace(column, field=None, notice=notice)
    notices = [column.notice, "its age in days at TIME is used"]
    if is_after.any():
        become = "becomes" if is_after.sum() == 1 else "become"
        notices.append(f"{counted(int(is_after.sum()), 'date is', 'dates are')} after TIME and {become} missing")
    typed = column.typed.mask(is_after)
    return replace(column, typed=typed, notice="; ".join(filter(None, notices)))


def time_features(timestamps: pd.Series, time: str, taken: set[str]) -> dict[str, DerivedFeature]:
    """The time features that suit the rows: the hour and the day of the week, if the rows have many different ones."""
    seconds = seconds_of_times(timestamps)
    if seconds is None:
        return {}
    seconds = seconds.dropna()
    days, features = np.ptp(seconds) / SECONDS_A_DAY, {}
    if days >= DAYS_OF_HOURS and (seconds // SECONDS_AN_HOUR % 24).nunique() >= FEWEST_HOURS:
        features[fitting_name("hour_of_day", taken)] = DerivedFeature(hour_of_day=time)
    if days >= DAYS_OF_WEEKDAYS and (seconds // SECONDS_A_DAY % 7).nunique() >= FEWEST_WEEKDAYS:
        features[fitting_name("day_of_week", taken)] = DerivedFeature(day_of_week=time)
    return features
