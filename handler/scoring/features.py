"""Feature encoding: one row of field values -> one vector of numbers, the same code for training and serving.

Numbers are not scaled, and missing ones are NaN; categories become the codes of a learned vocabulary, in which code 0
is "other": rare in training, or unknown. A date becomes its age in days at the request's time.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any, Literal

from handler.scoring.categoriser import categoriser
from handler.scoring.contract import OTHER, Contract, DerivedFeature
from handler.scoring.fields import SECONDS_A_DAY, SECONDS_AN_HOUR, STRING_TYPES, DeclaredField

LARGEST_FLOAT32 = 3.4028234663852886e38
# 1970-01-01 was a Thursday.
_FIRST_WEEKDAY = 3

Encoder = Callable[[Any], float]
Operation = Callable[[float, float], float]


@dataclass(frozen=True, slots=True)
class Features:
    """The features of one scorer, in the order of the model's columns: first the fields, then the derived features."""

    names: tuple[str, ...]
    units: tuple[str | None, ...]
    labels: tuple[tuple[str, ...] | None, ...]
    """For each feature, the level that each code stands for (a flag has the codes 0 and 1); None for a number."""
    encoders: tuple[Encoder, ...]
    """For each field, the function from its value (None or NaN if missing) to its feature."""
    derived: tuple[tuple[Operation, int, int], ...]
    """For each derived feature, the operation and the positions of its two operands."""
    dates: tuple[int, ...]
    """The positions of the fields that are dates, whose features are their ages."""
    of_time: Mapping[int, Literal["hour_of_day", "day_of_week"]]
    """The features of the request's time, by their positions."""
    durations: tuple[int, ...]
    """The positions of the features that a history gives in seconds."""

    def encode(self, row: Sequence[Any]) -> list[float]:
        """The vector of one row, whose values are in the order of the contract's fields."""
        vector = [encoder(value) for encoder, value in zip(self.encoders, row, strict=True)]
        for operation, left, right in self.derived:
            vector.append(operation(vector[left], vector[right]))
        return vector

    def display(self, index: int, value: float) -> float | str | None:
        """A feature's value for a reader: the level of a code, None for missing, else the number."""
        if value != value:  # noqa: PLR0124 - only NaN differs from itself; math.isnan is slower
            return None
        labels = self.labels[index]
        return value if labels is None else labels[int(value)]


@dataclass(frozen=True, slots=True)
class TimedFeatures(Features):
    """The features of a scorer that reads the request's time, which is the last value of a row, in seconds."""

    def encode(self, row: Sequence[Any]) -> list[float]:
        """The vector of one row, whose values are in the order of the contract's inputs."""
        *values, time = row
        operands = [encoder(value) for encoder, value in zip(self.encoders, values, strict=True)]
        for index in self.dates:
            operands[index] = age_in_days(operands[index], time)
        vector, operands = operands[:], [*operands, time]
        for operation, left, right in self.derived:
            vector.append(operation(operands[left], operands[right]))
        return vector


def feature_names(contract: Contract) -> list[str]:
    """The name of each feature, in the order of the model's columns."""
    return [*(field.categories or name for name, field in contract.columns.items()), *contract.features]


def feature_types(contract: Contract) -> list[str]:
    """XGBoost's type of each feature: "c" for a category's code, "q" for a number."""
    fields = ["c" if field.type in STRING_TYPES else "q" for field in contract.columns.values()]
    return fields + ["q"] * len(contract.features)


def recorded_features(contract: Contract) -> list[tuple[int, str, bool]]:
    """The features in a prediction record: per feature its position, its name, and whether its value is hashed.

    Fields that are declared `private: omit` are left out, and so are features computed from them, which would reveal
    them.
    """
    fields = list(contract.columns.items())
    omitted = {name for name, field in fields if field.private == "omit"}
    if contract.history:
        omitted |= {name for name, feature in contract.history.features.items() if feature.field in omitted}
    from_fields = [
        (index, field.categories or name, field.private == "hash")
        for index, (name, field) in enumerate(fields)
        if name not in omitted
    ]
    derived = enumerate(contract.features.items(), start=len(fields))
    return from_fields + [
        (index, name, False) for index, (name, feature) in derived if not omitted & set(feature.operands)
    ]


def age_in_days(date: float, time: float) -> float:
    """The feature of a date: the days from it to a time, both in seconds; 0 if it is later, NaN if it is missing.

    >>> age_in_days(0.0, 129_600.0), age_in_days(60.0, 0.0)
    (1.5, 0.0)
    """
    if date <= time:
        return (time - date) / SECONDS_A_DAY
    return 0.0 if date > time else nan


def hour_of_day(time: float, _time: float) -> float:
    """The feature of a time in seconds: its hour in UTC, 0 to 23."""
    return time // SECONDS_AN_HOUR % 24.0


def day_of_week(time: float, _time: float) -> float:
    """The feature of a time in seconds: its day in UTC, 0 (Monday) to 6."""
    return (time // SECONDS_A_DAY + _FIRST_WEEKDAY) % 7.0


def build_features(contract: Contract, vocabulary: Mapping[str, Any]) -> Features:
    """The features that a contract declares; `vocabulary` is what training learned for categories and texts."""
    fields, derived = contract.columns, contract.features
    positions = {name: index for index, name in enumerate(contract.inputs)}
    return (TimedFeatures if contract.reads_time else Features)(
        names=tuple(feature_names(contract)),
        units=(*(field.unit for field in fields.values()), *(feature.unit for feature in derived.values())),
        labels=(*(_labels(name, field, vocabulary) for name, field in fields.items()), *(None for _ in derived)),
        encoders=tuple(_encoder(name, field, vocabulary) for name, field in fields.items()),
        derived=tuple(_operation(feature, positions) for feature in derived.values()),
        dates=tuple(index for index, field in enumerate(fields.values()) if field.type == "date"),
        of_time={
            index: "hour_of_day" if feature.hour_of_day else "day_of_week"
            for index, feature in enumerate(derived.values(), start=len(fields))
            if feature.time
        },
        durations=tuple(
            index
            for index, name in enumerate(fields)
            if contract.history
            and name not in contract.fields
            and contract.history.features[name].take in {"since_last", "since_first"}
        ),
    )


def _operation(feature: DerivedFeature, positions: Mapping[str, int]) -> tuple[Operation, int, int]:
    if feature.time:
        place = positions[feature.time]
        return hour_of_day if feature.hour_of_day else day_of_week, place, place
    left, right = feature.operands
    return _ratio if feature.ratio else _product, positions[left], positions[right]


def _labels(name: str, field: DeclaredField, vocabulary: Mapping[str, Any]) -> tuple[str, ...] | None:
    if field.type == "flag":
        return ("no", "yes")
    if field.type not in STRING_TYPES:
        return None
    learned = vocabulary[name]
    return (OTHER, *(learned["categories"] if field.type == "text" else learned))


def _encoder(name: str, field: DeclaredField, vocabulary: Mapping[str, Any]) -> Encoder:
    if field.type == "category":
        codes: dict[str | None, float] = {label: float(code) for code, label in enumerate(vocabulary[name], start=1)}
        codes[None] = nan
        return lambda value: codes.get(value, 0.0)
    if field.type == "text":
        code_of = categoriser(vocabulary[name])
        return lambda value: nan if value is None else float(code_of(value))
    return _cents if field.type == "money" else _number


def _number(value: float | None) -> float:
    return nan if value is None else float(value)


def _cents(value: float | None) -> float:
    return nan if value is None else round(float(value), 2)


def _ratio(left: float, right: float) -> float:
    """The quotient; missing if an operand is missing or the quotient is undefined."""
    return _finite(left / right) if right else nan


def _product(left: float, right: float) -> float:
    return _finite(left * right)


def _finite(value: float) -> float:
    """The value clipped to float32's range, the model's input type; NaN stays NaN."""
    if value > LARGEST_FLOAT32:
        return LARGEST_FLOAT32
    return -LARGEST_FLOAT32 if value < -LARGEST_FLOAT32 else value  # noqa: FURB136 - max() would lose NaN
