"""Latency of a process that has started: the invocations of each round, one after the other, as Lambda makes them."""

from collections import defaultdict
from collections.abc import Mapping
from statistics import quantiles

from tqdm import tqdm

from benchmarks.function import Child, Report
from benchmarks.rounds import in_turn
from benchmarks.table import Row, Samples
from benchmarks.workloads import REFUND, TRANSACTION, WORKLOADS, Workload

PERCENTILES = (50, 95, 99)
# A batch has few calls, too few for percentiles.
LEAST_CALLS = 20


def warm_rows(children: Mapping[str, Child], rounds: int, calls: int, progress: "tqdm[None]") -> list[Row]:
    """Per workload a row for its median and, where it is not a batch, for its percentiles."""
    return [
        Row(_title(workload, percent), workload.unit, figures, workload.limits if percent == PERCENTILES[0] else ())
        for workload in WORKLOADS
        for percent, figures in _percentiles(children, workload, rounds, calls, progress).items()
    ]


def check_answers(children: Mapping[str, Child]) -> None:
    """Raise SystemExit where ours and another scoring subject give a request different probabilities."""
    for workload in (TRANSACTION, REFUND):
        event = workload.event()
        found = {name: _probability(children[name].call(event, 1)) for name in workload.subjects if name != "echo"}
        if max(found.values()) - min(found.values()) > 1e-9:  # noqa: PLR2004 - exp() is the platform's
            raise SystemExit(f"{workload.scorer}: the answers differ, {found}; run `make build` to pack this model")


def _title(workload: Workload, percent: int) -> str:
    if workload.batch > 1:
        return f"warm: {workload.what}, each"
    return f"warm: {workload.what}, p{percent}"


def _percentiles(
    children: Mapping[str, Child], workload: Workload, rounds: int, calls: int, progress: "tqdm[None]"
) -> dict[int, Mapping[str, Samples]]:
    """Percentile -> subject -> round -> time per request, in the workload's unit."""
    found: dict[int, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    event, calls = workload.event(), max(calls // workload.batch, LEAST_CALLS)
    for name in workload.subjects:
        children[name].call(event, calls)
    for turn in range(rounds):
        for name in in_turn(workload.subjects, turn):
            cuts = quantiles(children[name].call(event, calls).seconds, n=100, method="inclusive")
            for percent in PERCENTILES if workload.batch == 1 else PERCENTILES[:1]:
                found[percent][name][turn] = cuts[percent - 1] * workload.scale / workload.batch
        progress.update()
    return dict(found)


def _probability(report: Report) -> float:
    """The probability in an answer: of fraud, or of the predicted class."""
    body = report.body
    return float(body["fraud_probability"] if "fraud_probability" in body else body["confidence"])
