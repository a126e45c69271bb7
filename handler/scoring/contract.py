"""A scorer's contract: the fields of a request, the features computed from them, the answer.

The same records are read from `params.yaml` by training and from a bundle's manifest by the function.
"""

from collections.abc import Callable
from math import ceil, floor
from time import time
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    create_model,
    model_validator,
)
from pydantic_core import PydanticCustomError

from handler.scoring.fields import (
    OPERAND_TYPES,
    STRING_TYPES,
    UNLEARNED_TYPES,
    CustomerReason,
    DeclaredField,
    DeclaredReason,
    Frozen,
    Name,
)

if TYPE_CHECKING:
    from handler.scoring.history import History
else:
    # Most contracts have no history, and need not import its records.
    History = Any

Band = Literal["approve", "review", "block"]
"""What is to be done with a request."""
Source = Literal["chargeback", "review", "customer", "other"]
"""How the outcome of a request became known."""
SOURCES: tuple[Source, ...] = get_args(Source)
MAX_BATCH = 1000
MAX_ID_LENGTH = 128
# The level of a category that was rare in training or is unknown, and of a text that resembles nothing known.
OTHER = "other"
ANSWER_KEYS = frozenset(
    {
        "band",
        "base_log_odds",
        "confidence",
        "fraud_probability",
        "is_flagged",
        "list",
        "model_version",
        "prediction",
        "reasons",
        "warnings",
    }
)


def _is_absent(value: object) -> bool:
    return value is None


class DerivedFeature(Frozen):
    """A feature computed by exactly one operation, from two fields or from the request's time."""

    ratio: tuple[str, str] | None = None
    product: tuple[str, str] | None = None
    unit: str | None = None
    reason: DeclaredReason = None
    # Written only if declared, so that the manifests of other scorers, and with them their versions, do not change.
    hour_of_day: Annotated[Name | None, Field(exclude_if=_is_absent)] = None
    """The time column: the feature is its hour in UTC, 0 to 23."""
    day_of_week: Annotated[Name | None, Field(exclude_if=_is_absent)] = None
    """The time column: the feature is its day in UTC, 0 (Monday) to 6."""

    @model_validator(mode="after")
    def _one_operation(self) -> Self:
        if sum(operand is not None for operand in (self.ratio, self.product, self.hour_of_day, self.day_of_week)) != 1:
            raise ValueError("exactly one of ratio, product, hour_of_day, day_of_week must be given")
        return self

    @property
    def operands(self) -> tuple[str, ...]:
        """The names of the operation's two fields, in order; empty if it reads the time."""
        return self.ratio or self.product or ()

    @property
    def time(self) -> str | None:
        """The time column that the operation reads; None if it reads fields."""
        return self.hour_of_day or self.day_of_week


def _read_history(value: object) -> object:
    """The record of a `history` block."""
    if value is None:
        return None
    from handler.scoring.history import history_of  # noqa: PLC0415 - only contracts with a history need it

    return history_of(value)


class Contract(Frozen):
    """The interface between callers and model: route, kind of answer, fields, features, the key of the time."""

    route: Annotated[str, StringConstraints(pattern=r"^(/[a-z0-9_-]+)+$")]
    answer: Literal["probability", "decision"]
    id: Name | None
    fields: Annotated[dict[Name, DeclaredField], Field(min_length=1)]
    features: dict[Name, DerivedFeature]
    time: Annotated[Name | None, Field(exclude_if=_is_absent)] = None
    """The time column; in a bundle only if the features depend on it."""
    history: Annotated[History | None, BeforeValidator(_read_history), Field(exclude_if=_is_absent)] = None
    """What is remembered about cards, accounts and devices, and the features computed from it."""

    @property
    def reads_time(self) -> bool:
        """Whether a date's age or a feature is computed with the time of a request."""
        return any(field.type == "date" for field in self.fields.values()) or any(
            feature.time for feature in self.features.values()
        )

    @property
    def time_key(self) -> str | None:
        """The key of a request's time; None if nothing is computed from it, and then no request may carry it."""
        return self.time if self.reads_time or self.history else None

    @property
    def columns(self) -> dict[str, DeclaredField]:
        """What the model reads: the fields other than keys and audit fields, then what only the history knows."""
        columns = {name: field for name, field in self.fields.items() if field.type not in UNLEARNED_TYPES}
        return columns | self.history.columns(self.fields) if self.history else columns

    @property
    def keys(self) -> tuple[str, ...]:
        """The fields that name entities; they are not features."""
        return tuple(name for name, field in self.fields.items() if field.type == "key")

    @property
    def audited(self) -> tuple[str, ...]:
        """The audit fields, by whose values the decisions are compared; they are not features."""
        return tuple(name for name, field in self.fields.items() if field.type == "audit")

    @property
    def customer_reasons(self) -> dict[str, CustomerReason]:
        """The reasons that are declared for customers, by feature."""
        declared = [(field.categories or name, field.reason) for name, field in self.fields.items()]
        declared += [(name, feature.reason) for name, feature in self.features.items()]
        declared += [(name, feature.reason) for name, feature in self.history.features.items()] if self.history else []
        return {name: reason for name, reason in declared if reason}

    @property
    def inputs(self) -> tuple[str, ...]:
        """What the features are computed from: the columns, then the time if a date or a feature depends on it."""
        return tuple(filter(None, (*self.columns, self.time if self.reads_time else None)))

    @model_validator(mode="after")
    def _time_is_known(self) -> Self:
        if (self.reads_time or self.history) and not self.time_key:
            raise ValueError("a date or a feature is computed with the request's time; declare its key as time")
        for name, feature in self.features.items():
            if feature.time and feature.time != self.time:
                raise ValueError(f"features.{name} reads {feature.time}; it must read the time column, {self.time}")
        return self

    @model_validator(mode="after")
    def _reasons_are_single(self) -> Self:
        declared = [field.reason for field in self.fields.values()]
        declared += [feature.reason for feature in self.features.values()]
        declared += [feature.reason for feature in self.history.features.values()] if self.history else []
        codes = [reason.code for reason in declared if reason]
        both = self.history.features.keys() & self.fields.keys() if self.history else set()
        for name in sorted(both):
            if self.fields[name].reason and self.history and self.history.features[name].reason:
                raise ValueError(f"fields.{name} and history.features.{name} both have a reason; give it once")
        if twice := sorted({code for code in codes if codes.count(code) > 1}):
            raise ValueError(
                f"the reason code {', '.join(twice)} is given more than once; each feature needs a code of its own, "
                "so that the code tells a customer the reason"
            )
        return self

    @model_validator(mode="after")
    def _names_are_known_and_single(self) -> Self:
        if self.history:
            self.history.check_fields(self.fields, (*self.features, *filter(None, (self.id, self.time))))
        elif self.keys:
            raise ValueError(
                f"fields.{self.keys[0]} is a key, which only a history reads; declare history, or remove the field"
            )
        if not self.columns:
            raise ValueError(
                "no field is a feature; declare one that is neither key nor audit, or a feature of the history"
            )
        numbers = sorted(name for name, field in self.columns.items() if field.type in OPERAND_TYPES)
        for name, feature in self.features.items():
            if unknown := sorted(set(feature.operands) - set(numbers)):
                raise ValueError(
                    f"features.{name} reads {', '.join(unknown)}; it may read the numeric fields {', '.join(numbers)}"
                )
        computed = [name for name in self.columns if name not in self.fields]
        names = [*self.fields, *computed, *self.features]
        names += [field.categories for field in self.fields.values() if field.categories]
        attributes = (*self.inputs, *self.keys, *self.audited)
        if clashing := sorted(name for name in attributes if name.startswith("_") or hasattr(BaseModel, name)):
            what = "time" if clashing == [self.time] else "fields"
            raise ValueError(f"{what} may not be called {', '.join(clashing)}: a request model has that name already")
        if self.id in ANSWER_KEYS:
            raise ValueError(f"id may not be called {self.id}: an answer has that key already")
        keys = [field.alias or name for name, field in self.fields.items()] + ([self.id] if self.id else [])
        # A request's model has the time beside the fields, and the caller sends it beside their keys.
        times = [self.time_key] if self.time_key else []
        names, keys = names + times, keys + times
        for group in (names, keys):
            if twice := sorted({name for name in group if group.count(name) > 1}):
                raise ValueError(f"{', '.join(twice)} is used twice; every name must be used once")
        return self


def request_model(
    title: str, contract: Contract, example: dict[str, Any] | None = None, clock: Callable[[], float] = time
) -> type[BaseModel]:
    """The pydantic model of one request, which rejects unknown keys, wrong types, NaN and values out of range.

    `example` appears in the OpenAPI document. Dates and the time become seconds since 1970, and `clock` gives the time
    of a request that has none.
    """
    fields: dict[str, Any] = {}
    date: Any = None
    if contract.time_key:
        from handler.scoring.times import date_annotation, time_annotation  # noqa: PLC0415 - only needed with a time

        # The time comes before the dates, which are compared with it.
        fields[contract.time_key] = (time_annotation(clock), Field(default_factory=clock))
        date = date_annotation(contract.time_key)
    for name, field in contract.fields.items():
        fields[name] = _request_field(field, date if field.type == "date" else _annotation(field))
    if contract.id:
        id_type = Annotated[str, Field(min_length=1, max_length=MAX_ID_LENGTH, description="echoed in the answer")]
        fields[contract.id] = (id_type | None, None)
    config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [example]} if example else None)
    model: type[BaseModel] = create_model(f"{title.title()}Request", __config__=config, **fields)
    for name in contract.columns:
        if name not in contract.fields:
            # A feature that only the history knows is None until it is looked up; no request can carry it.
            setattr(model, name, None)
    return model


def _whole(value: object) -> object:
    """14 for 14.0, because many clients send integers as 14.0; any other value unchanged."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def key_text(value: object) -> object:
    """The text of a whole number, because many keys are numbers; any other value unchanged.

    >>> key_text(17), key_text(17.0), key_text("0017"), key_text(1.5), key_text(True)
    ('17', '17', '0017', 1.5, True)
    """
    is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return str(int(value)) if is_whole and not isinstance(value, bool) else value  # type: ignore[call-overload]  # whole


def _key(value: object) -> str:
    """The text of a request's key; raises PydanticCustomError if it is neither a text nor a whole number."""
    text = key_text(value)
    if not isinstance(text, str):
        raise PydanticCustomError("key_type", "Input should be a string or a whole number")
    return text


def _annotation(field: DeclaredField) -> Any:  # noqa: ANN401 - a type, made at run time
    """The type of one request field's values."""
    if field.type == "flag":
        return bool
    if field.type == "key":
        schema = {"anyOf": [{"type": "string", "maxLength": field.max_length}, {"type": "integer"}]}
        return Annotated[
            str,
            Field(max_length=field.max_length),
            BeforeValidator(_key),
            WithJsonSchema(schema, mode="validation"),
        ]
    if field.type in STRING_TYPES:
        return Annotated[str, Field(min_length=1, max_length=field.max_length)]
    if field.type == "count":
        return Annotated[int, Field(ge=ceil(field.lowest), le=floor(field.highest)), BeforeValidator(_whole)]
    return Annotated[float, Field(ge=field.lowest, le=field.highest, allow_inf_nan=False)]


def _request_field(field: DeclaredField, annotation: Any) -> tuple[Any, Any]:  # noqa: ANN401 - as above
    """The annotation and default of one request field, as `create_model` expects them."""
    if field.required:
        return annotation, Field(alias=field.alias, description=field.unit)
    return annotation | None, Field(default=None, alias=field.alias, description=field.unit)


class Problem(BaseModel):
    """One violation of the contract: where it is, and what is allowed."""

    loc: list[str | int]
    msg: str
    type: str


class Refusal(BaseModel):
    """The body of a 422."""

    detail: list[Problem]


class Reason(BaseModel):
    """One feature's exact contribution to a decision; for a customer, only the code and text declared for it."""

    field: str | None = None
    value: float | str | None = None
    contribution: Annotated[
        float | None, Field(description="added to the log-odds of fraud; negative if it lowers the risk")
    ] = None
    sentence: Annotated[str | None, Field(description="for the analyst")] = None
    code: Annotated[str | None, Field(description="for the customer, with text")] = None
    text: str | None = None


class Warned(BaseModel):
    """One value that is rare or absent in the training data."""

    field: str
    value: float | str | None
    sentence: str


class Listed(BaseModel):
    """The list that decided, whatever the score."""

    name: Literal["block", "review", "allow"]
    field: str
    reason: str


class Changed(BaseModel):
    """Another value of one field."""

    field: str
    value: float | bool | str | None
    to: float | bool | str


class WouldPass(BaseModel):
    """The smallest change that would have led to a lower band; `changes` is empty if none would."""

    changes: list[Changed]
    probability: float | None = None
    band: Band | None = None
    sentence: str
    complete: Annotated[bool | None, Field(description="false if the search ended before every change was tried")] = (
        None
    )


def answer_model(
    title: str, contract: Contract, *, has_bands: bool = False, has_score: bool = False
) -> type[BaseModel]:
    """The pydantic model of one answer; keys that do not apply are left out of the JSON."""
    verdict: dict[str, Any]
    if contract.answer == "probability":
        verdict = {
            "fraud_probability": (Annotated[float, Field(ge=0, le=1)], ...),
            "is_flagged": (bool, ...),
        }
    else:
        confidence = Annotated[float, Field(ge=0, le=1, description="calibrated probability of the predicted class")]
        verdict = {"prediction": (Literal[0, 1], ...), "confidence": (confidence, ...)}
    base = Annotated[float | None, Field(description="log-odds before any reason; with explain=true only")]
    optional: dict[str, Any] = {
        "base_log_odds": (base, None),
        "reasons": (list[Reason] | None, None),
        "warnings": (list[Warned] | None, None),
        "list": (Listed | None, None),
    }
    if has_bands:
        verdict["band"] = Annotated[Band, Field(description="what to do with the request")], ...
    if any(field.changeable for field in contract.fields.values()):
        described = Field(description="only for a flagged request, with whatif=true")
        optional["whatif"] = Annotated[WouldPass | None, described], None
    if has_score:
        text = "2 % of the legitimate requests have 900 or more, 10 % have 600 or more"
        verdict["score"] = Annotated[int, Field(ge=0, le=1000, description=text)], ...
    echoed: dict[str, Any] = {contract.id: (str | None, None)} if contract.id else {}
    return create_model(
        f"{title.title()}Answer",
        **verdict,
        model_version=(str, ...),
        **echoed,
        **optional,
    )
