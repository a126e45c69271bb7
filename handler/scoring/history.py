"""The `history` block of a contract: what is remembered about each card, account or device, and the features of it.

Imported only by contracts that have one. `handler.scoring.entity_state` computes the features.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from handler.scoring.fields import (
    NUMERIC_TYPES,
    SECONDS_A_DAY,
    SECONDS_AN_HOUR,
    DeclaredField,
    DeclaredReason,
    Frozen,
    Name,
)

MINUTE, HOUR, DAY = 60, SECONDS_AN_HOUR, SECONDS_A_DAY
_SECONDS = {"s": 1, "m": MINUTE, "h": HOUR, "d": DAY}
_WORDS = {"s": "second", "m": "minute", "h": "hour", "d": "day"}
FINEST_STEP = 5 * MINUTE
# The start of a window moves in steps: (longest window, its step). Finer steps would need a larger state.
_STEPS = ((HOUR, FINEST_STEP), (DAY, HOUR), (7 * DAY, 6 * HOUR), (90 * DAY, DAY))
LONGEST_WINDOW = 90 * DAY
LONGEST_TTL = 400 * DAY
# How many of a field's most recent values may be remembered for an entity.
MOST_VALUES = 64
# Values are summed as whole numbers (of cents, or of millionths), each clipped to this.
LARGEST_MEASURE = 9_000_000_000_000
# Limited, because each request of an entity reads all of its shards.
MOST_SHARDS = 16

Take = Literal["count", "sum", "mean", "max", "since_last", "since_first", "distinct", "seen", "fraud_rate"]
_OVER = ("count", "sum", "mean", "max", "distinct", "fraud_rate")
_FIELD = ("sum", "mean", "max", "distinct", "seen")
MEASURES = ("sum", "mean", "max")


def seconds_of(duration: str) -> int:
    """The seconds of a duration: a whole number and s, m, h or d.

    >>> seconds_of("90s"), seconds_of("10m"), seconds_of("2h")
    (90, 600, 7200)
    """
    return int(duration[:-1]) * _SECONDS[duration[-1]]


def duration_text(duration: str) -> str:
    """A duration of a history, for a reader.

    >>> duration_text("24h"), duration_text("1d")
    ('24 hours', '1 day')
    """
    number = int(duration[:-1])
    return f"{number} {_WORDS[duration[-1]]}{'' if number == 1 else 's'}"


def _checked_duration(value: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]{0,6}[smhd]", value):
        raise ValueError(f"must be a whole number followed by s, m, h or d, such as 10m, 24h or 30d; it is {value!r}")
    return value


Duration = Annotated[str, AfterValidator(_checked_duration)]


def _with_empty(ignore: tuple[str, ...]) -> tuple[str, ...]:
    return ignore if "" in ignore else ("", *ignore)


def _checked_resolution(value: str) -> str:
    # Every step is a multiple of the finest, so a tick whose length divides it lies within one step. An event of a tick
    # that spans two steps could be counted in either.
    if FINEST_STEP % seconds_of(value):
        raise ValueError(f"must divide 5 minutes, such as 1s, 10s, 1m or 5m; it is {value!r}")
    return value


def step_of(window: int) -> int:
    """The step in which the start of a history's window moves, for its length; both in seconds."""
    return next(step for longest, step in _STEPS if window <= longest)


class Entity(Frozen):
    """An entity whose past is remembered, named by the value of one field, or by the values of several together."""

    key: Name | tuple[Name, ...]
    ttl: Duration = "90d"
    """How long after its last event it is forgotten."""
    ignore: Annotated[tuple[str, ...], AfterValidator(_with_empty)] = ("",)
    """Keys that stand for no entity; an empty one is always among them."""
    # Left out of bundles that do not need it, so that these, and with them their versions, do not change.
    shards: Annotated[int, Field(ge=1, le=MOST_SHARDS, exclude_if=lambda shards: shards == 1)] = 1
    """The number of items of a table over which the events of one key are spread."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The fields of the key."""
        return (self.key,) if isinstance(self.key, str) else self.key


class HistoryFeature(Frozen):
    """One feature of an entity's past."""

    entity: Name
    take: Take
    field: Name | None = None
    over: Duration | None = None
    cap: Annotated[int, Field(ge=1, le=MOST_VALUES)] = 25
    """For `distinct` and `seen`, how many of the most recent values are remembered."""
    reason: DeclaredReason = None
    """What the customer is told if this feature raises the risk."""

    @property
    def window(self) -> int:
        """The length of the window in seconds."""
        return seconds_of(self.over or "0s")

    @property
    def step(self) -> int:
        """The step in which the start of the window moves, in seconds."""
        return DAY if self.take == "fraud_rate" else step_of(self.window)

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        for name, value, takes in (("over", self.over, _OVER), ("field", self.field, _FIELD)):
            if (value is None) == (self.take in takes):
                rule = "needs" if value is None else "has no"
                raise ValueError(f"take: {self.take} {rule} {name}; {name} is for {', '.join(takes)}")
        if self.over is not None:
            if not FINEST_STEP <= self.window <= LONGEST_WINDOW:
                raise ValueError(f"over is {self.over}; it must be from 5m to 90d")
            if self.window % self.step:
                raise ValueError(
                    f"over is {self.over}; it must be a multiple of {self.step // MINUTE:,} minutes, the steps in "
                    "which its window moves"
                )
        return self


class History(Frozen):
    """The `history` block."""

    resolution: Annotated[Duration, AfterValidator(_checked_resolution)] = "1s"
    """Times are rounded down to it; it divides the finest step."""
    lateness: Duration = "10m"
    """How long events are kept one by one, so that the order of their arrival does not matter."""
    warmup_days: Annotated[float, Field(ge=0)] = 0.0
    """The days of the first rows, which add to the past but do not train the model."""
    label_delay_days: Annotated[float, Field(ge=0)] = 0.0
    """Not declared here, but copied from `split`."""
    usual_fraud_rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Not declared but learned: the share of frauds among the training rows."""
    entities: Annotated[dict[Name, Entity], Field(min_length=1, max_length=8)]
    features: Annotated[dict[Name, HistoryFeature], Field(min_length=1)]

    @model_validator(mode="after")
    def _entities_are_known(self) -> Self:
        for name, entity in self.entities.items():
            if seconds_of(entity.ttl) > LONGEST_TTL:
                raise ValueError(f"entities.{name}.ttl is {entity.ttl}; it must be at most {LONGEST_TTL // DAY}d")
        for name, feature in self.features.items():
            if feature.entity not in self.entities:
                raise ValueError(
                    f"features.{name}.entity is {feature.entity}; it must be one of {', '.join(self.entities)}"
                )
            ttl, shards = self.entities[feature.entity].ttl, self.entities[feature.entity].shards
            if feature.take == "since_first" and shards > 1:
                raise ValueError(
                    f"features.{name}.take is since_first, but {feature.entity} has shards: {shards}, and no shard "
                    "knows when the others forgot the entity; remove shards, or take since_last"
                )
            if feature.over and feature.window > seconds_of(ttl):
                raise ValueError(
                    f"features.{name}.over is {feature.over}, but {feature.entity} is forgotten after ttl {ttl}; "
                    "raise ttl or shorten over"
                )
        if unused := sorted(set(self.entities) - {feature.entity for feature in self.features.values()}):
            raise ValueError(f"entities.{unused[0]} has no feature; declare one, or remove it")
        if seconds_of(self.lateness) > DAY:
            raise ValueError(f"lateness is {self.lateness}; it must be at most 1d")
        return self

    def features_of(self, entity: str) -> dict[str, HistoryFeature]:
        """The features of an entity."""
        return {name: feature for name, feature in self.features.items() if feature.entity == entity}

    def check_fields(self, fields: Mapping[str, DeclaredField], reserved: Sequence[str]) -> None:
        """Raise ValueError if a key or a field is not declared, or has an unsuitable type."""
        keys = sorted(name for name, field in fields.items() if field.type in {"key", "category"})
        numbers = sorted(name for name, field in fields.items() if field.type in NUMERIC_TYPES)
        read = {key for entity in self.entities.values() for key in entity.keys}
        read |= {str(feature.field) for feature in self.features.values() if feature.take == "seen"}
        if changing := sorted(name for name in read if name in fields and fields[name].changeable):
            raise ValueError(
                f"fields.{changing[0]} is changeable, but the history looks up only the value that was sent, so the "
                "result for another value is unknown; remove changeable"
            )
        for name, entity in self.entities.items():
            if unknown := sorted(set(entity.keys) - set(keys)):
                raise ValueError(
                    f"history.entities.{name}.key is {', '.join(unknown)}; it must be a field of type key or category: "
                    f"{', '.join(keys) or 'none is declared'}"
                )
        for name, feature in self.features.items():
            if name in reserved:
                raise ValueError(f"history.features.{name}: {name} is used twice; every name must be used once")
            if name in fields and name not in numbers:
                raise ValueError(
                    f"history.features.{name} computes a number, but fields.{name} is a {fields[name].type}; "
                    "declare a numeric type"
                )
            if feature.field == name:
                raise ValueError(f"history.features.{name} reads itself; let it read another field")
            readable = numbers if feature.take in MEASURES else keys
            if feature.field is not None and feature.field not in readable:
                what = "a numeric field" if feature.take in MEASURES else "a field of type key or category"
                raise ValueError(
                    f"history.features.{name}.field is {feature.field}; take: {feature.take} needs {what}: "
                    f"{', '.join(readable) or 'none is declared'}"
                )

    def columns(self, fields: Mapping[str, DeclaredField]) -> dict[str, DeclaredField]:
        """The features that no request carries, as fields that the model reads."""
        return {
            name: DeclaredField(type="flag" if feature.take == "seen" else "number", unit=unit_of(feature, fields))
            for name, feature in self.features.items()
            if name not in fields
        }

    def is_recorded(self, fields: Mapping[str, DeclaredField]) -> bool:
        """Whether prediction records may include the history: not if a field that it reads is left out of them."""
        read = {name for entity in self.entities.values() for name in entity.keys}
        read |= {feature.field for feature in self.features.values() if feature.field}
        return not any(fields[name].private == "omit" for name in read | (self.features.keys() & fields.keys()))

    def learned(self, label_delay_days: float, fraud_rate: float) -> Self:
        """A copy with the delay after which labels are known, and the usual share of frauds."""
        return self.model_copy(update={"label_delay_days": label_delay_days, "usual_fraud_rate": fraud_rate})

    def id_of(self, fields: Mapping[str, DeclaredField]) -> str:
        """12 hexadecimal digits of a hash of all that shapes the states: histories with equal ids can share states."""
        content = self.model_dump(mode="json", exclude={"warmup_days", "usual_fraud_rate"})
        for entity in content["entities"].values():
            entity.pop("shards", None)
        for feature in content["features"].values():
            feature.pop("reason", None)
        measured = {str(feature.field) for feature in self.features.values() if feature.take in MEASURES}
        # Amounts of money are remembered as cents, other numbers as millionths.
        content["scales"] = {name: scale_of(fields[name]) for name in sorted(measured)}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def scale_of(field: DeclaredField) -> int:
    """How many whole units of a history's sums make 1 in the field's own unit; they sum without rounding errors."""
    return {"money": 100, "count": 1}.get(field.type, 1_000_000)


def unit_of(feature: HistoryFeature, fields: Mapping[str, DeclaredField]) -> str | None:
    """What a history feature's value counts, for reasons such as "14 events of this sender in 24 hours"."""
    within = f" in {duration_text(feature.over)}" if feature.over else ""
    if feature.take == "count":
        return f"events of this {feature.entity}{within}"
    if feature.take in {"since_last", "since_first"}:
        return f"since the {feature.take.removeprefix('since_')} event of this {feature.entity}"
    if feature.take == "distinct":
        return f"different values of {feature.field} of this {feature.entity}{within}"
    if feature.take == "fraud_rate":
        return f"frauds per event of this {feature.entity}{within}"
    if feature.take == "seen":
        return None
    unit, kind = (
        fields[str(feature.field)].unit,
        {"sum": "in all", "mean": "on average", "max": "at most"}[feature.take],
    )
    return f"{f'{unit} ' if unit else ''}{kind} of this {feature.entity}{within}"


def history_of(value: Any) -> History | None:  # noqa: ANN401 - what a file declares
    """The block as a record; raises ValueError with key, value and remedy."""
    if value is None or isinstance(value, History):
        return value
    try:
        return History.model_validate_json(json.dumps(value))
    except ValidationError as error:
        problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"] if part not in {"str", "tuple", "[key]"})
    message = problem["msg"].removeprefix("Value error, ").replace("Input should", "it must")
    if problem["type"] == "value_error":
        raise ValueError(f"history.{place}: {message}" if place else f"history.{message}")
    if problem["type"] in {"missing", "extra_forbidden"}:
        raise ValueError(f"history.{place} is {'missing' if problem['type'] == 'missing' else 'not a known key'}")
    raise ValueError(f"history.{place} is {problem['input']!r}; {message}")
