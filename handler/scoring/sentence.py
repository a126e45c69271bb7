"""The sentences of reasons, and numbers as text."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from handler.scoring.features import Features
from handler.scoring.fields import SECONDS_A_DAY

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# Units of an age, and how many of each are a day.
_UNITS = (("day", 1), ("hour", 24), ("minute", 1_440), ("second", SECONDS_A_DAY))


def reason_sentence(
    features: Features, reference: Mapping[str, Any], index: int, value: float, contribution: float
) -> str:
    """A feature's value, how common it is among the training rows, and its effect on the risk.

    `index` and `value` are the feature's place and value in the vector, `reference` is the bundle's, and `contribution`
    is in log-odds.
    """
    name = features.names[index]
    effect = "raises the risk" if contribution > 0 else "lowers the risk" if contribution < 0 else "changes nothing"
    training = reference[name]
    shown = features.display(index, value)
    if shown is None and index >= len(features.encoders):
        return f"{name} cannot be computed from this request; {effect}"
    if shown is None:
        return f"{name} is missing, as in {training['missing']:.1%} of past requests; {effect}"
    if isinstance(shown, str):
        return f"{name} is {shown}, as in {training['shares'][shown]:.1%} of past requests; {effect}"
    text = f"{name} is {value_text(features, index, shown)}"
    if index in features.of_time:
        # An hour or a weekday is not above or below others.
        return f"{text}; {effect}"
    unit = "before the request" if index in features.dates else features.units[index]
    return f"{text}{f' {unit}' if unit else ''}, {_how_unusual(shown, training['percentiles'])}; {effect}"


def value_text(features: Features, index: int, value: float) -> str:
    """A number among the features for a reader: the age of a date, a duration, an hour and a weekday in words."""
    if index in features.dates:
        return age_text(value)
    if index in features.durations:
        return age_text(value / SECONDS_A_DAY)
    kind = features.of_time.get(index)
    if kind == "hour_of_day":
        return f"{int(value):02}:00 to {int(value):02}:59 UTC"
    return WEEKDAYS[int(value)] if kind == "day_of_week" else number_text(value)


def age_text(days: float) -> str:
    """An age for a reader, in its largest whole unit.

    >>> age_text(4_100.7), age_text(1.04), age_text(0.5), age_text(1 / 96)
    ('4,100 days', '1 day', '12 hours', '15 minutes')
    """
    unit, a_day = next((unit for unit in _UNITS if days * unit[1] >= 1), _UNITS[-1])
    amount = int(days * a_day)
    return f"{amount:,} {unit}{'' if amount == 1 else 's'}"


def number_text(value: float) -> str:
    """A number rounded for a reader.

    >>> number_text(1234567.891), number_text(950.25), number_text(14.0), number_text(0.01234)
    ('1,234,567.89', '950.25', '14', '0.0123')
    """
    if 0 < abs(value) < 1:
        return f"{value:.3g}"
    return f"{value:,.2f}".rstrip("0").rstrip(".")


def _how_unusual(value: float, percentiles: Sequence[float]) -> str:
    """A value's position among the percentiles 0 to 100 of the training rows."""
    above = min(bisect_left(percentiles, value) - 1, 99)
    below = min(len(percentiles) - 1 - bisect_right(percentiles, value), 99)
    if above >= 50:  # noqa: PLR2004 - the median: beyond it "above" says more than "below"
        return f"above {above}% of past values"
    return f"below {below}% of past values" if below >= 50 else "a usual value"  # noqa: PLR2004 - as above
