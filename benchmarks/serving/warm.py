"""Latency of a process that has started: the invocations of each round, one after the other, as Lambda makes them."""

from collections import defaultdict
from collections.abc import Mapping
from statistics import quantiles

from tqdm import tqdm

from benchmarks.machine import in_turn
from benchmarks.serving.budgets import Measured, Samples
from benchmarks.serving.function import FunctionProcess, Report
from benchmarks.serving.workloads import REFUND, TRANSACTION, WORKLOADS, Workload

PERCENTILES = (50, 95, 99)
# A batch has few calls, too few for percentiles.
LEAST_CALLS = 20

Processes = Mapping[str, FunctionProcess]


def warm_figures(processes: Processes, rounds: int, calls: int, progress: "tqdm[None]") -> list[Measured]:
    """Per workload its median and, where it is not a batch, its percentiles."""
    return [
        Measured(_title(workload, percent), workload.unit, of, workload.budgets if percent == PERCENTILES[0] else ())
        for workload in WORKLOADS
        for percent, of in _percentiles(processes, workload, rounds, calls, progress).items()
    ]


def check_answers(processes: Processes) -> None:
    """Raise SystemExit where ours and another scoring service give a request different probabilities."""
    for workload in (TRANSACTION, REFUND):
        events = [workload.event()]
        answers = {name: _probability(processes[name].call(events, 1)) for name in workload.services if name != "echo"}
        if max(answers.values()) - min(answers.values()) > 1e-9:  # noqa: PLR2004 - exp() is the platform's
            raise SystemExit(f"{workload.scorer}: the answers differ, {answers}; run `make build` to pack this model")


def _title(workload: Workload, percent: int) -> str:
    if workload.batch > 1:
        return f"warm: {workload.what}, each"
    return f"warm: {workload.what}, p{percent}"


def _percentiles(
    processes: Processes, workload: Workload, rounds: int, calls: int, progress: "tqdm[None]"
) -> dict[int, Mapping[str, Samples]]:
    """Percentile -> service -> round -> time per request, in the workload's unit."""
    figures: dict[int, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    events, calls = [workload.event()], max(calls // workload.batch, LEAST_CALLS)
    for name in workload.services:
        processes[name].call(events, calls)
    for turn in range(rounds):
        for name in in_turn(workload.services, turn):
            cuts = quantiles(processes[name].call(events, calls).seconds, n=100, method="inclusive")
            for percent in PERCENTILES if workload.batch == 1 else PERCENTILES[:1]:
                figures[percent][name][turn] = cuts[percent - 1] * workload.scale / workload.batch
        progress.update()
    return dict(figures)


def _probability(report: Report) -> float:
    """The probability in an answer: of fraud, or of the predicted class."""
    body = report.body
    return float(body["fraud_probability"] if "fraud_probability" in body else body["confidence"])
