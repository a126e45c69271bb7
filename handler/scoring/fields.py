"""The declaration of one field of a request, and the frozen base class of all declarations."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

# Every integer up to here is exact in float64 and finite in float32.
LARGEST_NUMBER = 1e15
# For ages in days and hours of the day. They are defined here, because few scorers import `times`.
SECONDS_AN_HOUR, SECONDS_A_DAY = 3_600, 86_400

FieldType = Literal["number", "money", "count", "category", "text", "flag", "date", "key", "audit"]
Direction = Literal["increasing", "decreasing"]
NUMERIC_TYPES = ("number", "money", "count")
# A feature computed from two fields reads numbers, and the ages of dates.
OPERAND_TYPES = (*NUMERIC_TYPES, "date")
STRING_TYPES = ("category", "text", "key", "audit")
# Fields that are not features: those that name a history's entities, and those by which the model is only judged.
UNLEARNED_TYPES = ("key", "audit")
CHANGEABLE_TYPES = (*NUMERIC_TYPES, "category", "flag")
# A feature's name is a column, a JSON key and a line in a report: letters, digits, underscores.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=64)]


class Frozen(BaseModel):
    """A frozen record that refuses unknown keys, wrong types and numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as JSON: pydantic's own pickle contains a set, whose order differs between runs.

        Only the fields that were set are included, so that a copy in another process knows which ones were not.
        """
        return _unpickled, (type(self), self.model_dump_json(exclude_unset=True))


def _unpickled(kind: type[Frozen], content: str) -> Frozen:
    return kind.model_validate_json(content)


class CustomerReason(Frozen):
    """What the customer who made a request may be told about a feature."""

    code: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,32}$")]
    text: Annotated[str, StringConstraints(min_length=1, max_length=300)]


# Left out of bundles that do not declare it, so that these, and with them their versions, do not change.
DeclaredReason = Annotated[CustomerReason | None, Field(exclude_if=lambda reason: reason is None)]


class DeclaredField(Frozen):
    """One value of a request, and one column of the data."""

    type: FieldType
    alias: Name | None = None
    unit: str | None = None
    min: float | None = None
    max: float | None = None
    required: bool = False
    max_length: Annotated[int, Field(ge=1, le=4096)] = 256
    min_rows: Annotated[int, Field(ge=1)] = 20
    """A level in fewer training rows than this has the code of "other"."""
    categories: Name | None = None
    """The name of the feature with a text's learned category."""
    catalogue: str | None = None
    """The CSV file (columns name, category) from which a text's categories are learned."""
    monotone: Direction | None = None
    """The direction in which the risk may change as this value, or a date's age, grows; a constraint of the model."""
    private: Literal["omit", "hash"] | None = None
    """How the prediction record treats this value: omitted with the features computed from it, or (strings) hashed."""
    reason: DeclaredReason = None
    """What the customer is told if this value's feature raises the risk."""
    # As above.
    changeable: Annotated[bool, Field(exclude_if=lambda changeable: not changeable)] = False
    """Whether a what-if may say that the request would have passed with another value of this field."""

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if self.type not in NUMERIC_TYPES and (self.min is not None or self.max is not None):
            raise ValueError(f"min and max are for {', '.join(NUMERIC_TYPES)}; the type here is {self.type}")
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise ValueError(f"min {self.min:g} must be below max {self.max:g}")
        if (self.type == "text") != (self.categories is not None and self.catalogue is not None):
            raise ValueError("type text needs both categories and catalogue, and no other type may have them")
        if self.monotone and self.type in STRING_TYPES:
            raise ValueError(
                f"monotone is {self.monotone}, but a {self.type} has no order; remove it, or declare a numeric type"
            )
        if self.changeable and self.type not in CHANGEABLE_TYPES:
            raise ValueError(f"changeable is for {', '.join(CHANGEABLE_TYPES)}; the type here is {self.type}")
        if self.reason and self.type in UNLEARNED_TYPES:
            raise ValueError(
                f"a field of type {self.type} may not have a reason, because the model does not read it; remove reason"
            )
        if self.type == "audit" and self.required:
            raise ValueError(
                "an audit field may not be required: callers need not know it, and the model never reads it"
            )
        if self.private == "hash" and self.type not in STRING_TYPES:
            raise ValueError(f"private: hash is for {', '.join(STRING_TYPES)}; for a {self.type} it must be omit")
        return self

    @property
    def lowest(self) -> float:
        """The smallest value of the feature, which for a date is its age."""
        if self.min is not None:
            return self.min
        return 0.0 if self.type in {"count", "date"} else -LARGEST_NUMBER

    @property
    def highest(self) -> float:
        """The largest value of the feature."""
        return self.max if self.max is not None else LARGEST_NUMBER
