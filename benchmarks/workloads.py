"""The kinds of request that are measured, who answers them, and what ours may take."""

import json
from dataclasses import dataclass
from typing import Any

from benchmarks.gateway import http_event
from benchmarks.subjects import ARTIFACT, BUNDLES
from benchmarks.table import Limit

BATCH = 100


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of warm invocation, its subjects and its budgets."""

    what: str
    scorer: str
    subjects: tuple[str, ...]
    query: str = ""
    batch: int = 1
    unit: str = "µs"
    limits: tuple[Limit, ...] = ()

    @property
    def scale(self) -> float:
        """A second in the workload's unit."""
        return {"µs": 1e6, "ms": 1e3}[self.unit]

    def event(self) -> dict[str, Any]:
        """The golden request of median probability, which is not flagged."""
        folder = ARTIFACT / BUNDLES / self.scorer
        manifest = json.loads((folder / "manifest.json").read_bytes())
        cases = sorted(json.loads((folder / "golden.json").read_bytes()), key=lambda case: case["probability"])
        case, route = cases[len(cases) // 2], manifest["contract"]["route"]
        if case["probability"] >= manifest["decision"]["threshold"]:
            raise SystemExit(f"{folder / 'golden.json'}: most of its requests are flagged; there is no usual one")
        if self.batch > 1:
            return http_event(f"{route}/batch", [case["request"]] * self.batch, query=self.query)
        return http_event(route, case["request"], query=self.query)


EVERYONE = ("echo", "ours", "xgboost", "joblib")
WARM = Limit(2.0, against="echo", goal=1.6)
# 1.0 ms for 300 trees of depth 5, on a processor on which the echo takes 85 µs; as a ratio it holds on others.
EXPLAINED_LIMIT = Limit(1000 / 85, against="echo")

TRANSACTION = Workload("transaction", "transaction", EVERYONE, limits=(WARM,))
REFUND = Workload("refund", "refund", EVERYONE, limits=(WARM,))
# The joblib service gives no reasons; the transaction's model has the more trees.
EXPLAINED = Workload(
    "transaction, with every reason",
    "transaction",
    ("echo", "ours", "xgboost"),
    query="explain=true",
    unit="ms",
    limits=(EXPLAINED_LIMIT,),
)
BATCHED = Workload(f"transaction, in a batch of {BATCH}", "transaction", ("ours", "xgboost"), batch=BATCH)
WORKLOADS = (TRANSACTION, REFUND, EXPLAINED, BATCHED)
