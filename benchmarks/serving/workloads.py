"""The kinds of request that are measured, and the services that answer them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from benchmarks.command import ROOT
from benchmarks.serving.gateway import http_event
from handler.scoring.contract import Contract
from training.data.requests import requests_of
from training.run.files import BUILD, BUNDLES

BATCH = 100
ALL = ("ours", "echo", "xgboost", "joblib")


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of warm invocation: its services, and its figures' names by percentile."""

    scorer: str
    figures: dict[int, str]
    services: tuple[str, ...] = ALL
    query: str = ""
    batch: int = 1

    def event(self) -> dict[str, Any]:
        """The event of the golden request with the median probability, which must not be flagged."""
        folder = ROOT / BUNDLES / self.scorer
        manifest = json.loads((folder / "manifest.json").read_bytes())
        cases = sorted(json.loads((folder / "golden.json").read_bytes()), key=lambda case: case["probability"])
        case, route = cases[len(cases) // 2], manifest["contract"]["route"]
        if case["probability"] >= manifest["decision"]["threshold"]:
            raise SystemExit(
                f"{folder / 'golden.json'}: the request with the median probability is flagged; it must not be"
            )
        if self.batch > 1:
            return http_event(f"{route}/batch", [case["request"]] * self.batch)
        return http_event(route, case["request"], query=self.query)


TRANSACTION = Workload("transaction", {percent: f"warm: transaction, p{percent}" for percent in (50, 95, 99)})
REFUND = Workload("refund", {percent: f"warm: refund, p{percent}" for percent in (50, 99)})
# The joblib service gives no reasons.
EXPLAINED = Workload(
    "transaction",
    {50: "warm: transaction, with every reason, p50"},
    ("ours", "echo", "xgboost"),
    query="explain=true",
)
BATCHED = Workload(
    "transaction", {50: f"warm: transaction, in a batch of {BATCH}, each"}, ("ours", "xgboost"), batch=BATCH
)


def window_rows(name: str) -> pd.DataFrame:
    """The rows of a shipped scorer's test window, in order of time."""
    return pd.read_parquet(ROOT / BUILD / name / "rows" / "test.parquet")


def requests_with_ids(rows: pd.DataFrame, contract: Contract) -> Iterator[dict[str, Any]]:
    """Each row as a JSON request with an id, so that outcomes can name it."""
    for request, identifier in zip(requests_of(rows, contract), rows[str(contract.id)], strict=True):
        yield request | {str(contract.id): identifier}
