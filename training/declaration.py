"""`params.yaml` as frozen, validated records; unknown keys and impossible values are rejected with a sentence."""

import json
import re
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Self, get_args, get_origin

from pydantic import Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from handler.scoring.contract import Contract
from handler.scoring.entity_state import MOST_BYTES, EntityPast
from handler.scoring.fields import STRING_TYPES, DeclaredField, Frozen, Name
from training.errors import StageError
from training.monotone import monotone_signs
from training.params import (
    Compute,
    Costs,
    Decision,
    Folds,
    Gate,
    Model,
    Monitoring,
    Quarantine,
    Resampling,
    Split,
    Tuning,
)

PARAMS = Path("params.yaml")
SCORER_NAME = r"^[a-z][a-z0-9_]*$"

# Routes of the function itself; no scorer may use one of them, or a route below it.
RESERVED = ("/docs", "/health", "/models", "/openapi", "/outcomes", "/redoc")


# DVC tracks data/; a file elsewhere could change without any stage running again.
DATA_PATH = r"^data/[^.].*$"
DataPath = Annotated[str, Field(pattern=DATA_PATH)]


class ScorerDeclaration(Contract):
    """One scorer: its contract, its data and how its model is trained."""

    data: DataPath
    time: Name
    label: Name
    entity: Name | None
    """The column that names the card or account of a row. It may be a field of type key; the model never sees it."""
    split: Split
    quarantine: Quarantine
    compute: Compute
    folds: Folds
    resampling: Resampling
    model: Model
    tuning: Tuning
    costs: Costs | None
    decision: Decision
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    monitoring: Monitoring = Monitoring()
    """Read by the monitor, not by a stage."""
    gate: Gate = Gate()
    """Read by the promotion gate, not by a stage."""
    owner: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """Who is responsible for the model; read by the release card, not by a stage."""

    @model_validator(mode="after")
    def _columns_have_one_role(self) -> Self:
        optional = {"id": self.id, "entity": self.entity, "split.weight": self.split.weight}
        roles = {"label": self.label, "time": self.time, **{role: name for role, name in optional.items() if name}}
        for role, column in roles.items():
            is_key = column in self.fields and self.fields[column].type == "key"
            if column in self.fields and not (role == "entity" and is_key):
                raise ValueError(f"{role} is {column}, which is also a field; a model must not see it")
            if other := next((name for name in roles if name != role and roles[name] == column), None):
                raise ValueError(f"{role} and {other} are both {column}; they must be two columns")
        return self

    @model_validator(mode="after")
    def _ratios_vary(self) -> Self:
        for name, feature in self.features.items():
            if feature.ratio and len(set(feature.ratio)) == 1:
                raise ValueError(
                    f"features.{name}.ratio divides {feature.ratio[0]} by itself, which is 1 or missing; name two "
                    "different fields"
                )
        return self

    @model_validator(mode="after")
    def _catalogues_are_data(self) -> Self:
        for name, field in self.texts.items():
            if not re.match(DATA_PATH, field.catalogue or ""):
                raise ValueError(f"fields.{name}.catalogue is {field.catalogue}; it must be a file below data/")
        return self

    @model_validator(mode="after")
    def _costs_are_known(self) -> Self:
        if self.costs:
            field = self.fields.get(self.costs.amount)
            if field is None or field.type != "money" or not field.required or field.lowest < 0:
                raise ValueError(f"costs.amount is {self.costs.amount}; it must be a required money field with min: 0")
        block = self.decision.block
        if self.decision.score and self.id == "score":
            raise ValueError("id may not be called score: with decision.score an answer has that key already")
        if self.decision.control and not self.id:
            raise ValueError("decision.control chooses requests by their id, but no id is declared; declare id")
        if not self.costs and any(policy and policy.cost for policy in (self.decision.flagging, block)):
            raise ValueError("decision.cost needs costs: {amount: <a money field>, review: <what one alert costs>}")
        if block and block.cost and self.costs and not self.costs.insult:
            raise ValueError(
                "decision.block.cost needs costs.insult, because otherwise it would be cheapest to block everything; "
                "declare what blocking a legitimate request costs, such as insult: 15 or insult: {share: 0.05}"
            )
        if self.costs and self.costs.insult and not block:
            raise ValueError(
                "costs.insult is what blocking a legitimate request costs, but decision has no block; declare "
                "decision: {review: ..., block: ...}, or remove insult"
            )
        return self

    @model_validator(mode="after")
    def _model_suits_the_fields(self) -> Self:
        monotone_signs(self)
        strings = sorted(name for name, field in self.fields.items() if field.type in STRING_TYPES)
        if self.resampling.method == "smote" and len(strings) == len(self.fields):
            raise ValueError(
                "resampling.method is smote, which needs a numeric field, and all fields are categories or texts; "
                "it must be auto, none, undersample or class_weight"
            )
        if self.model.tree_method == "exact" and strings:
            raise ValueError(
                f"model.tree_method is exact, which does not support string fields ({', '.join(strings)}); it must be "
                "hist"
            )
        if self.model.tree_method == "exact" and (self.compute.engine, self.compute.device) != ("local", "cpu"):
            raise ValueError(
                "model.tree_method is exact, which runs only on this machine's CPU; declare compute: {engine: local, "
                "device: cpu}, or tree_method: hist"
            )
        if contradictory := sorted(self.model.pinned & set(self.tuning.grid)):
            raise ValueError(
                f"{', '.join(contradictory)} is pinned by model and searched by tuning.grid; keep one of the two"
            )
        return self

    @model_validator(mode="after")
    def _history_is_possible(self) -> Self:
        if not self.history:
            return self
        if self.split.sample < 1:
            raise ValueError(
                f"split.sample is {self.split.sample:g}, but a history needs every row; remove it, and declare "
                "folds.sample to save time"
            )
        rates = [name for name, feature in self.history.features.items() if feature.take == "fraud_rate"]
        if rates and self.split.label_delay_days < 1:
            raise ValueError(
                f"history.features.{rates[0]} reads labels, which are never known at once; declare "
                "split.label_delay_days: 1 or more"
            )
        history = self.history.learned(self.split.label_delay_days, 0.0)
        for name in history.entities:
            past = EntityPast(history, name, self.fields)
            if past.most_bytes > MOST_BYTES:
                part = max(past.parts())
                raise ValueError(
                    f"history.entities.{name} can need {past.most_bytes / 1e3:.1f} kB for each key, but at most "
                    f"{MOST_BYTES // 1_000} kB are allowed; its largest part takes {part.most_bytes / 1e3:.1f} kB: "
                    f"{part.remedy}"
                )
        return self

    @property
    def contract(self) -> Contract:
        """The part of the declaration that the bundle contains."""
        # If nothing depends on the time, callers do not send it.
        keys = set(Contract.model_fields) - (set() if self.time_key else {"time"})
        content = self.model_dump(include=keys)
        if self.history:
            content["history"]["label_delay_days"] = self.split.label_delay_days
        return Contract.model_validate(content, strict=False)

    @property
    def amount_field(self) -> str | None:
        """The money field that says how much a fraud costs: that of `costs`, or the first that is never negative."""
        if self.costs:
            return self.costs.amount
        return next((name for name, field in self.fields.items() if field.type == "money" and field.lowest >= 0), None)

    @property
    def texts(self) -> dict[str, DeclaredField]:
        """The fields whose category is learned from a catalogue."""
        return {name: field for name, field in self.fields.items() if field.type == "text"}


class Params(Frozen):
    """The whole file."""

    scorers: Annotated[
        dict[Annotated[str, Field(pattern=SCORER_NAME, max_length=64)], ScorerDeclaration], Field(min_length=1)
    ]

    @model_validator(mode="after")
    def _routes_are_single(self) -> Self:
        taken: dict[str, str] = {}
        for name, scorer in self.scorers.items():
            if f"/{scorer.route.split('/')[1]}" in RESERVED:
                raise ValueError(f"scorers.{name}.route is {scorer.route}, which is reserved; choose another")
            for route in (scorer.route, f"{scorer.route}/batch"):
                if route in taken:
                    raise ValueError(
                        f"scorers.{name}.route takes {route}, which {taken[route]} already has; choose another"
                    )
                taken[route] = f"scorers.{name}"
        return self


def declared_scorer(name: str, params: Path = PARAMS) -> ScorerDeclaration:
    """The declaration of the scorer with this name.

    Raises StageError with file, key, value and remedy.
    """
    scorers = read_declarations(params).scorers
    if name not in scorers:
        names = ", ".join(sorted(scorers))
        raise StageError(f"{params}: there is no scorers.{name}; the declared scorers are {names}")
    return scorers[name]


def read_declarations(params: Path = PARAMS) -> Params:
    """The validated declarations of all scorers in a params file.

    Raises StageError if the file cannot be read or values are invalid, with a line for each of these values.
    """
    try:
        content = YAML(typ="safe", pure=True).load(params)
    except OSError as error:
        raise StageError(f"{params} cannot be read: {error.strerror}") from error
    except YAMLError as error:
        raise StageError(f"{params} is not valid YAML: {error}") from error
    try:
        # Validated as JSON: there strict pydantic accepts a list as a tuple, but still refuses a number as a string.
        return Params.model_validate_json(json.dumps(content))
    except TypeError as error:
        raise StageError(f"{params}: {error}; write dates in quotes") from error
    except ValidationError as error:
        lines = [f"{params}: {_sentence(problem)}" for problem in error.errors()]
        raise StageError("\n".join(lines)) from error


def _sentence(problem: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails, whose input is anything
    """One of pydantic's errors as a sentence with key, value and remedy."""
    location: tuple[str | int, ...] = tuple(part for part in problem["loc"] if part != "[key]")
    key = ".".join(map(str, location))
    if problem["type"] == "missing":
        return f"{key} is missing; it is required."
    if problem["type"] == "extra_forbidden":
        keys = ", ".join(_known_keys(location[:-1]))
        return f"{key} (value {problem['input']!r}) is not a known key; the known keys are {keys}."
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{key}: {message}." if key else f"{message}."
    message = (
        message.replace("Input should", "it must")
        .replace("String should", "it must")
        .replace("Dictionary should", "it must")
        .replace("List should", "it must")
        .replace("Tuple should", "it must")
    )
    message = re.sub(r" after validation, not \d+$", "", message)
    return f"{key or 'the file'} is {problem['input']!r}; {message}."


def _known_keys(location: tuple[str | int, ...]) -> list[str]:
    """The keys that the records allow at a location in the file."""
    kind: Any = Params
    for part in location:
        if get_origin(kind) is dict:
            kind = get_args(kind)[1]
        elif part in kind.model_fields:
            kind = kind.model_fields[part].annotation
        if get_origin(kind) is UnionType:
            kind = get_args(kind)[0]
    return sorted(kind.model_fields)


if __name__ == "__main__":
    # Checks the file and lists its scorers, for the Makefile.
    try:
        print("\n".join(read_declarations().scorers))  # noqa: T201 - the command's answer
    except StageError as error:
        raise SystemExit(str(error)) from error
