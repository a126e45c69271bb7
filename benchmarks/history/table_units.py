"""The DynamoDB units and stored bytes that a history needs per request, measured on the shipped scorers' rows.

Sizes and units follow the DynamoDB Developer Guide ("DynamoDB item sizes and formats", "DynamoDB read and write
operations"): a write needs one unit per started kB of the item before or after it, whichever is larger, and a
consistent read one unit per started 4 kB.
"""

import json
from base64 import b64decode
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from benchmarks.command import ROOT
from benchmarks.history.table_stand_in import StandIn
from benchmarks.serving.workloads import requests_with_ids, window_rows
from handler.history.aws import Call
from handler.history.dynamodb import DynamoHistory
from handler.scoring.scorer import load_scorer
from training.run.files import BUNDLES

WRITE_BYTES, READ_BYTES = 1_024, 4_096


class CountedTable:
    """A client of an in-memory table, which counts the units that DynamoDB would charge for its calls."""

    def __init__(self) -> None:
        """Start with an empty table."""
        self._table = StandIn()
        self.written = self.read = 0

    def close(self) -> None:
        """Do nothing: there is no connection."""

    def call(self, calls: Sequence[Call], _: float) -> list[dict[str, Any]]:
        """The answers to the calls, whose units are counted."""
        return [self._answer(operation, json.loads(body)) for operation, body in calls]

    def kept_bytes(self) -> int:
        """The size of all items in bytes."""
        return sum(map(item_bytes, self._table.items.values()))

    def _answer(self, operation: str, content: Mapping[str, Any]) -> dict[str, Any]:
        key = content["Key"]["k"]["B"]
        before = self._table.items.get(key, {})
        status, answer = self._table.answer(operation, content)
        if status != 200:  # noqa: PLR2004 - HTTP's
            raise RuntimeError(f"the table answered {answer}")
        after = item_bytes(self._table.items.get(key, {}))
        if operation == "GetItem":
            self.read += _begun(after, READ_BYTES)
        else:
            self.written += _begun(max(item_bytes(before), after), WRITE_BYTES)
        return answer


def _begun(size: int, unit: int) -> int:
    return max(-(-size // unit), 1)


def item_bytes(item: Mapping[str, Any]) -> int:
    """The size of an item in bytes: its attributes' names and values.

    >>> item_bytes({"k": {"B": "AAAA"}, "x": {"N": "1796015411"}, "l": {"L": [{"B": "AAAA"}]}})
    20
    """
    return sum(len(name) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: Mapping[str, Any]) -> int:
    ((kind, content),) = value.items()
    if kind == "B":
        return len(b64decode(content))
    if kind == "N":
        return (len(content) + 1) // 2 + 1
    if kind == "L":
        return 3 + sum(1 + _value_bytes(element) for element in content)
    raise ValueError(f"an attribute of type {kind}; only B, N and L are known")


def table_units(name: str, rows: int) -> dict[str, float]:
    """The units and stored bytes per request of a shipped scorer, on the first `rows` rows of its test window.

    Units are counted on the later half of these rows, bytes on all of them. Each row is a request that names its
    entities and has an id; outcomes are not included.
    """
    scorer = load_scorer(ROOT / BUNDLES / name)
    if scorer.past is None:
        raise SystemExit(f"{name} has no history; the benchmark is for the shipped scorers")
    table = window_rows(name).iloc[:rows]
    client = CountedTable()
    half, at_half = len(table) // 2, (0, 0)
    with DynamoHistory("past", 1_000, b"", client) as history:  # type: ignore[arg-type] - has the methods used
        for number, request in enumerate(requests_with_ids(table, scorer.contract)):
            if number == half:
                at_half = client.written, client.read
            history.exchange([scorer.past.events(scorer.request_model.model_validate(request))])
        if history.n_failed:
            raise RuntimeError(f"the history did not answer {history.n_failed} requests; it must answer all")
    counted = len(table) - half
    return {
        "writes": (client.written - at_half[0]) / counted,
        "reads": (client.read - at_half[1]) / counted,
        "bytes": client.kept_bytes() / len(table),
    }


def mean_units(names: Sequence[str], rows: int) -> dict[str, float]:
    """The means of `table_units` over several scorers."""
    units = [table_units(name, rows) for name in names]
    return {kind: fmean(of_scorer[kind] for of_scorer in units) for kind in units[0]}
