"""The kinds of request that are measured, who answers them, and what ours may take."""

import json
from dataclasses import dataclass
from typing import Any

from benchmarks.command import ROOT
from benchmarks.serving.budgets import Budget
from benchmarks.serving.gateway import http_event
from training.run.files import BUNDLES

BATCH = 100


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of warm invocation, its services and its budgets."""

    what: str
    scorer: str
    services: tuple[str, ...]
    query: str = ""
    batch: int = 1
    unit: str = "µs"
    budgets: tuple[Budget, ...] = ()

    @property
    def scale(self) -> float:
        """A second in the workload's unit."""
        return {"µs": 1e6, "ms": 1e3}[self.unit]

    def event(self) -> dict[str, Any]:
        """The golden request of median probability, which is not flagged."""
        folder = ROOT / BUNDLES / self.scorer
        manifest = json.loads((folder / "manifest.json").read_bytes())
        cases = sorted(json.loads((folder / "golden.json").read_bytes()), key=lambda case: case["probability"])
        case, route = cases[len(cases) // 2], manifest["contract"]["route"]
        if case["probability"] >= manifest["decision"]["threshold"]:
            raise SystemExit(f"{folder / 'golden.json'}: most of its requests are flagged; none of them is typical")
        if self.batch > 1:
            return http_event(f"{route}/batch", [case["request"]] * self.batch, query=self.query)
        return http_event(route, case["request"], query=self.query)


ALL = ("echo", "ours", "xgboost", "joblib")
WARM = Budget(2.0, against="echo", goal=1.6)
# 1.0 ms for 300 trees of depth 5, on a processor on which the echo takes 85 µs; as a ratio it holds on others.
EXPLAINED_BUDGET = Budget(1000 / 85, against="echo")

TRANSACTION = Workload("transaction", "transaction", ALL, budgets=(WARM,))
REFUND = Workload("refund", "refund", ALL, budgets=(WARM,))
# The joblib service gives no reasons; the transaction's model has the more trees.
EXPLAINED = Workload(
    "transaction, with every reason",
    "transaction",
    ("echo", "ours", "xgboost"),
    query="explain=true",
    unit="ms",
    budgets=(EXPLAINED_BUDGET,),
)
BATCHED = Workload(f"transaction, in a batch of {BATCH}", "transaction", ("ours", "xgboost"), batch=BATCH)
WORKLOADS = (TRANSACTION, REFUND, EXPLAINED, BATCHED)
