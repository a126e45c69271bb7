"""Rows of the data as the requests that a caller would send."""

import json
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pydantic import BaseModel

from handler.scoring.contract import Contract
from handler.scoring.features import Features, Operation, age_in_days
from handler.scoring.fields import STRING_TYPES
from handler.scoring.times import iso_text
from training.data.window import GIVEN
from training.run.matrix import Floats

if TYPE_CHECKING:
    from handler.scoring.scorer import Scorer


def field_values(rows: pd.DataFrame, contract: Contract) -> list[list[Any]]:
    """Each of the contract's inputs as a column of Python values, as a parsed request holds them.

    A missing text is None, a missing number NaN; dates and times are in seconds.
    """
    return _values(rows, contract.inputs, contract)


def _values(rows: pd.DataFrame, names: Sequence[str], contract: Contract) -> list[list[Any]]:
    texts = {name for name, field in contract.fields.items() if field.type in STRING_TYPES}
    return [
        rows[name].to_numpy(dtype=object, na_value=None).tolist() if name in texts else rows[name].tolist()
        for name in names
    ]


def feature_columns(features: Features, values: Sequence[Sequence[Any]]) -> Iterator[Floats]:
    """Each feature's column, (n_rows,), from the `field_values` of requests: each value with the function's code."""
    encoders = (*features.encoders, float)[: len(values)]
    operands = [
        np.fromiter(map(encoder, column), np.float64, len(column))
        for encoder, column in zip(encoders, values, strict=True)
    ]
    for index in features.dates:
        operands[index] = _computed(age_in_days, operands[index], operands[-1])
    yield from operands[: len(features.encoders)]
    for operation, left, right in features.derived:
        yield _computed(operation, operands[left], operands[right])


def _computed(operation: Operation, left: Floats, right: Floats) -> Floats:
    return np.fromiter(map(operation, left.tolist(), right.tolist()), np.float64, len(left))


def as_request(values: dict[str, Any], contract: Contract) -> dict[str, Any]:
    """Field values as the JSON object that a caller would send; missing ones are left out."""
    request: dict[str, Any] = {}
    for name, field in contract.fields.items():
        value = values[name]
        if value is None or value != value:  # noqa: PLR0124 - only NaN differs from itself
            continue
        if field.type == "count":
            value = int(value)
        elif field.type == "flag":
            value = bool(value)
        elif field.type == "date":
            value = iso_text(value)
        request[field.alias or name] = value
    if contract.time_key:
        request[contract.time_key] = values[contract.time_key]
    return request


def requests_of(rows: pd.DataFrame, contract: Contract) -> Iterator[dict[str, Any]]:
    """Each row as the JSON object that a caller would send, without the values that only the history computes."""
    names = [*contract.fields, *filter(None, (contract.time_key,))]
    given = pd.DataFrame({name: rows[f"{name}{GIVEN}" if f"{name}{GIVEN}" in rows else name] for name in names})
    for values in zip(*_values(given, names, contract), strict=True):
        yield as_request(dict(zip(names, values, strict=True)), contract)


def parsed_requests(rows: pd.DataFrame, contract: Contract, model: type[BaseModel]) -> Iterator[BaseModel]:
    """Each row as a parsed request, with its history features taken from the columns."""
    computed = [name for name in contract.columns if name not in contract.fields or f"{name}{GIVEN}" in rows]
    past = zip(*_values(rows, computed, contract), strict=True) if computed else repeat(())
    for request, values in zip(requests_of(rows, contract), past, strict=False):
        parsed = model.model_validate(request)
        vars(parsed).update(zip(computed, values, strict=True))
        yield parsed


def sent_requests(scorer: "Scorer", rows: pd.DataFrame) -> Iterator[BaseModel]:
    """Each row as the function parses it from JSON."""
    for request in requests_of(rows, scorer.contract):
        yield scorer.request_model.model_validate_json(json.dumps(request))
