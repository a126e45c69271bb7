"""Rows of the data as the requests that a caller would send."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from handler.scoring.contract import STRING_TYPES, Contract


def field_values(rows: pd.DataFrame, contract: Contract) -> list[list[Any]]:
    """Each field's column as Python values, as a request carries them; a missing text is None, a missing number NaN."""
    return [
        rows[name].to_numpy(dtype=object, na_value=None).tolist() if field.type in STRING_TYPES else rows[name].tolist()
        for name, field in contract.fields.items()
    ]


def as_request(values: dict[str, Any], contract: Contract) -> dict[str, Any]:
    """Field values as the JSON object that a caller would send; missing ones left out."""
    request: dict[str, Any] = {}
    for name, field in contract.fields.items():
        value = values[name]
        if value is None or value != value:  # noqa: PLR0124 - only NaN differs from itself
            continue
        if field.type == "count":
            value = int(value)
        elif field.type == "flag":
            value = bool(value)
        request[field.alias or name] = value
    return request


def requests_of(rows: pd.DataFrame, contract: Contract) -> Iterator[dict[str, Any]]:
    """Each row as the JSON object that a caller would send."""
    for values in zip(*field_values(rows, contract), strict=True):
        yield as_request(dict(zip(contract.fields, values, strict=True)), contract)
