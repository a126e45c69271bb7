"""`params.yaml` as frozen, validated records; anything unknown or impossible is refused with a sentence."""

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from handler.contract import Contract, DeclaredField, Name, Record
from training.stage import StageError

PARAMS = Path("params.yaml")
SCORER_NAME = r"^[a-z][a-z0-9_]*$"

# Routes of the function itself, with all that lies below them.
RESERVED = ("/docs", "/health", "/models", "/openapi", "/outcomes", "/redoc")

Share = Annotated[float, Field(gt=0, le=1)]


class DeclarationError(StageError):
    """Raised when params.yaml says something that is unknown, missing or impossible."""


# DVC follows data/ whole: what lies elsewhere could change without anything being run again.
DATA_PATH = r"^data/[^.].*$"
DataPath = Annotated[str, Field(pattern=DATA_PATH)]


class Split(Record):
    """Shares of the rows, in time order, and how late a label may arrive."""

    train: Annotated[float, Field(gt=0, lt=1)]
    calibrate: Annotated[float, Field(gt=0, lt=1)]
    test: Annotated[float, Field(gt=0, lt=1)]
    label_delay_days: Annotated[float, Field(ge=0)] = 0.0
    """Rows this close before the next window are left out: their labels would not have been known."""
    sample: Share = 1.0
    """The share of the rows that is used at all; 0.1 to 0.2 makes a quick prototype."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        total = self.train + self.calibrate + self.test
        if abs(total - 1) > 1e-9:  # noqa: PLR2004 - sums of decimal fractions
            raise ValueError(f"train + calibrate + test is {total:g}; it must be 1")
        return self


class Quarantine(Record):
    """How many rows may break the contract before the run stops."""

    max_share: Annotated[float, Field(ge=0, le=1)]


class Resampling(Record):
    """How the training rows, and only they, are rebalanced."""

    method: Literal["smote", "none"]
    ratio: Share = 0.1
    """Frauds per legitimate row after resampling."""
    neighbours: Annotated[int, Field(ge=1)] = 5


class Model(Record):
    """XGBoost's parameters, under its own names but for `rounds` and `threads`."""

    rounds: Annotated[int, Field(ge=1)]
    max_depth: Annotated[int, Field(ge=1, le=16)]
    learning_rate: Share
    min_child_weight: Annotated[float, Field(ge=0)] = 1.0
    subsample: Share = 1.0
    colsample_bytree: Share = 1.0
    reg_lambda: Annotated[float, Field(ge=0)] = 1.0
    max_bin: Annotated[int, Field(ge=2)] = 256
    threads: Annotated[int, Field(ge=1)] = 2
    """Part of the declaration: the order of XGBoost's sums, hence the model's last bits, depends on it."""


class Decision(Record):
    """The policy that picks the threshold."""

    recall: Share


class Scorer(Contract):
    """One scorer, whole: its contract, its data and how its model is made."""

    data: DataPath
    time: Name
    label: Name
    split: Split
    quarantine: Quarantine
    resampling: Resampling
    model: Model
    decision: Decision
    seed: Annotated[int, Field(ge=0, lt=2**31)]

    @model_validator(mode="after")
    def _columns_have_one_role(self) -> Self:
        roles = {"label": self.label, "time": self.time, **({"id": self.id} if self.id else {})}
        for role, column in roles.items():
            if column in self.fields:
                raise ValueError(f"{role} is {column}, which is also a field; a model must not see it")
            if twin := next((other for other in roles if other != role and roles[other] == column), None):
                raise ValueError(f"{role} and {twin} are both {column}; they must be two columns")
        return self

    @model_validator(mode="after")
    def _catalogues_are_data(self) -> Self:
        for name, field in self.texts.items():
            if not re.match(DATA_PATH, field.catalogue or ""):
                raise ValueError(f"fields.{name}.catalogue is {field.catalogue}; it must be a file below data/")
        return self

    @property
    def contract(self) -> Contract:
        """The part of the declaration that travels in the bundle."""
        return Contract.model_validate(self.model_dump(include=set(Contract.model_fields)), strict=False)

    @property
    def texts(self) -> dict[str, DeclaredField]:
        """The fields whose category is learned from a catalogue."""
        return {name: field for name, field in self.fields.items() if field.type == "text"}


class Params(Record):
    """The whole file."""

    scorers: Annotated[dict[Annotated[str, Field(pattern=SCORER_NAME, max_length=64)], Scorer], Field(min_length=1)]

    @model_validator(mode="after")
    def _routes_are_single(self) -> Self:
        taken: dict[str, str] = {}
        for name, scorer in self.scorers.items():
            if f"/{scorer.route.split('/')[1]}" in RESERVED:
                raise ValueError(f"scorers.{name}.route is {scorer.route}, which is reserved; choose another")
            for route in (scorer.route, f"{scorer.route}/batch"):
                if route in taken:
                    raise ValueError(f"scorers.{name}.route takes {route}, which {taken[route]} has; choose another")
                taken[route] = f"scorers.{name}"
        return self


def declared_scorer(name: str, params: Path = PARAMS) -> Scorer:
    """The scorer that the file declares under a name.

    Raises DeclarationError, naming file, key, value and what would be right.
    """
    scorers = read_params(params).scorers
    if name not in scorers:
        raise DeclarationError(f"{params}: there is no scorers.{name}; declared are {', '.join(sorted(scorers))}")
    return scorers[name]


def read_params(params: Path = PARAMS) -> Params:
    """The validated content of a params file."""
    try:
        content = YAML(typ="safe", pure=True).load(params)
    except OSError as error:
        raise DeclarationError(f"{params} cannot be read: {error.strerror}") from error
    except YAMLError as error:
        raise DeclarationError(f"{params} is not valid YAML: {error}") from error
    try:
        # Through JSON, because there a list may become a tuple without a number also becoming a string.
        return Params.model_validate_json(json.dumps(content))
    except TypeError as error:
        raise DeclarationError(f"{params}: {error}; write dates in quotes") from error
    except ValidationError as error:
        lines = [f"{params}: {_sentence(problem)}" for problem in error.errors()]
        raise DeclarationError("\n".join(lines)) from error


def _sentence(problem: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails, whose input is anything
    """One of pydantic's errors as: key, value found, what would be right."""
    location: tuple[str | int, ...] = tuple(part for part in problem["loc"] if part != "[key]")
    key = ".".join(map(str, location))
    if problem["type"] == "missing":
        return f"{key} is missing; it is required."
    if problem["type"] == "extra_forbidden":
        known = ", ".join(_known_keys(location[:-1]))
        return f"{key} (value {problem['input']!r}) is not a known key; known here are {known}."
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{key}: {message}." if key else f"{message}."
    message = (
        message.replace("Input should", "it must")
        .replace("String should", "it must")
        .replace("Dictionary should", "it must")
    )
    message = (
        message.removesuffix(f" after validation, not {len(problem['input'])}") if problem["input"] == {} else message
    )
    return f"{key or 'the file'} is {problem['input']!r}; {message}."


def _known_keys(location: tuple[str | int, ...]) -> list[str]:
    """The keys that the records allow at a place in the file."""
    kind: Any = Params
    for part in location:
        if get_origin(kind) is dict:
            kind = get_args(kind)[1]
        elif part in kind.model_fields:
            kind = kind.model_fields[part].annotation
    return sorted(kind.model_fields)


if __name__ == "__main__":
    # Checks the file and lists its scorers: what `make` asks before it runs and before it packs.
    try:
        print("\n".join(read_params().scorers))  # noqa: T201 - the command's answer
    except DeclarationError as error:
        raise SystemExit(str(error)) from error
