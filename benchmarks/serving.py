"""Cold start and latency of the function beside an empty one and the usual joblib service: `make bench`.

All are called through their Lambda handler with an API Gateway event, on one core, turn by turn, so that a slow moment
of the machine weighs on all. Files are in the page cache: the time Lambda takes to fetch an artifact is not here.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any

from tqdm import tqdm

from benchmarks.gateway import http_event
from benchmarks.machine import machine
from benchmarks.subjects import ARTIFACT, BUNDLES, Child, Report, Subject, make_subjects
from benchmarks.table import Row, print_table
from training.files import BUILD, REPORTS, write_json

RESULT = BUILD / "benchmarks" / "serving.json"
# What the README quotes; tests/test_readme.py holds the two together.
RECORDED = REPORTS / "serving.json"
COLD_BUDGET = 1.25
WARM_BUDGET = 2.0
# 1.0 ms for 300 trees of depth 5, on a processor on which the echo takes 85 µs; as a ratio it holds on others.
EXPLAINED_BUDGET = 1000 / 85
ARTIFACT_BUDGET_MB = 45
BATCH = 100
# The joblib service takes seconds to start and spreads little.
JOBLIB_EVERY = 3
WARM_UP = -1

Figures = defaultdict[str, dict[int, float]]
"""Subject -> round -> figure."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How often to measure."""

    cold_rounds: int
    warm_rounds: int
    calls: int


# Many short rounds: a shared machine changes its speed within seconds.
FULL = Effort(cold_rounds=15, warm_rounds=21, calls=150)
QUICK = Effort(cold_rounds=3, warm_rounds=5, calls=50)


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of warm invocation, who answers it, and its budget as in `Row`."""

    what: str
    scorer: str
    subjects: tuple[str, ...]
    query: str = ""
    batch: int = 0
    budget: float | None = None

    def event(self) -> dict[str, Any]:
        """The golden request of median probability, which is not flagged."""
        folder = ARTIFACT / BUNDLES / self.scorer
        manifest = json.loads((folder / "manifest.json").read_bytes())
        cases = sorted(json.loads((folder / "golden.json").read_bytes()), key=lambda case: case["probability"])
        case, route = cases[len(cases) // 2], manifest["contract"]["route"]
        if case["probability"] >= manifest["decision"]["threshold"]:
            raise SystemExit(f"{folder / 'golden.json'}: most of its requests are flagged; there is no usual one")
        if self.batch:
            return http_event(f"{route}/batch", [case["request"]] * self.batch, query=self.query)
        return http_event(route, case["request"], query=self.query)


ALL = ("echo", "ours", "joblib")
TRANSACTION = Workload("transaction", "transaction", ALL, budget=WARM_BUDGET)
REFUND = Workload("refund", "refund", ALL, budget=WARM_BUDGET)
EXPLAINED = Workload(
    "refund, with every reason", "refund", ("echo", "ours"), query="explain=true", budget=EXPLAINED_BUDGET
)
BATCHED = Workload(f"transaction, in a batch of {BATCH}", "transaction", ("ours",), batch=BATCH)
WORKLOADS = (TRANSACTION, REFUND, EXPLAINED, BATCHED)


def check_answers(children: Mapping[str, Child]) -> None:
    """Raise SystemExit where ours and the joblib service give a request different probabilities."""
    for workload in (TRANSACTION, REFUND):
        found = {name: probability(children[name].call(workload.event(), 1)) for name in ("ours", "joblib")}
        if abs(found["ours"] - found["joblib"]) > 1e-9:  # noqa: PLR2004 - exp() is the platform's
            raise SystemExit(f"{workload.scorer}: the answers differ, {found}; run `make build` to pack this model")


def probability(report: Report) -> float:
    """The probability in an answer: of fraud, or of the predicted class."""
    body = report.body
    return float(body["fraud_probability"] if "fraud_probability" in body else body["confidence"])


def cold_starts(subjects: Mapping[str, Subject], rounds: int, progress: "tqdm[Any]") -> tuple[Figures, Figures]:
    """Milliseconds from before the first import to the first answer, and of the whole process up to there."""
    inside, whole = Figures(dict), Figures(dict)
    event = TRANSACTION.event()
    for turn in range(WARM_UP, rounds):
        for name, subject in subjects.items():
            if name == "joblib" and turn != WARM_UP and turn % JOBLIB_EVERY:
                continue
            with Child(subject, event) as child:
                inside[name][turn] = child.first.seconds[0] * 1e3
                whole[name][turn] = child.wall_seconds * 1e3
        progress.update()
    return _without_warm_up(inside), _without_warm_up(whole)


def warm_calls(
    children: Mapping[str, Child], workload: Workload, effort: Effort, progress: "tqdm[Any]"
) -> tuple[Figures, Figures]:
    """Microseconds per request: each round's median and 95th percentile."""
    middle, slow = Figures(dict), Figures(dict)
    event, requests = workload.event(), max(workload.batch, 1)
    calls = max(effort.calls // requests, 20)
    for turn in range(WARM_UP, effort.warm_rounds):
        for name in workload.subjects:
            seconds = children[name].call(event, calls).seconds
            middle[name][turn] = median(seconds) * 1e6 / requests
            slow[name][turn] = quantiles(seconds, n=20)[-1] * 1e6 / requests
        progress.update()
    return _without_warm_up(middle), _without_warm_up(slow)


def _without_warm_up(figures: Figures) -> Figures:
    for samples in figures.values():
        del samples[WARM_UP]
    return figures


def measure(effort: Effort) -> list[Row]:
    """Every row of the table."""
    steps = effort.cold_rounds + 1 + len(WORKLOADS) * (effort.warm_rounds + 1)
    with ExitStack() as stack:
        subjects = make_subjects(Path(stack.enter_context(TemporaryDirectory())))
        progress = stack.enter_context(tqdm(total=steps, unit="round"))
        event = TRANSACTION.event()
        children = {name: stack.enter_context(Child(subject, event)) for name, subject in subjects.items()}
        check_answers(children)
        inside, whole = cold_starts(subjects, effort.cold_rounds, progress)
        rows = [
            _row("cold start: first import to first answer", "ms", inside, COLD_BUDGET),
            _row("cold start: whole process", "ms", whole),
        ]
        for workload in WORKLOADS:
            middle, slow = warm_calls(children, workload, effort, progress)
            rows.append(_row(f"warm: {workload.what}", "µs", middle, workload.budget))
            rows.append(_row(f"warm: {workload.what}, 95th percentile", "µs", slow))
    return [*rows, Row("artifact, unzipped", "MB", {0: artifact_mb()}, budget=ARTIFACT_BUDGET_MB)]


def _row(what: str, unit: str, figures: Figures, budget: float | None = None) -> Row:
    return Row(what, unit, figures["ours"], figures["echo"], figures["joblib"], budget)


def artifact_mb() -> float:
    """The unzipped artifact in MB, counted as `make build` does (du -sb)."""
    return sum(path.lstat().st_size for path in (ARTIFACT, *ARTIFACT.rglob("*"))) / 1e6


def main() -> None:
    """Measure, print the table, write it to `RESULT`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds: enough to see that it runs")
    parser.add_argument("--record", action="store_true", help=f"keep the medians in {RECORDED}, for the README")
    asked = parser.parse_args()
    effort = QUICK if asked.quick else FULL
    if not (ARTIFACT / BUNDLES).is_dir():
        raise SystemExit(f"{ARTIFACT} is not built; run `make build`")
    where = machine()
    rows = measure(effort)
    print(" | ".join(f"{key}: {value}" for key, value in where.items()))
    print(
        f"{effort.cold_rounds} cold starts and {effort.warm_rounds} rounds of {effort.calls} calls each, interleaved: "
        "median (quartiles); a ratio is the median of the rounds' ratios\n"
    )
    print_table(rows)
    records = [row.record() for row in rows]
    write_json(RESULT, {"machine": where, "rows": records})
    if asked.record:
        medians = [{key: value for key, value in record.items() if key != "samples"} for record in records]
        write_json(RECORDED, {"machine": where, "rows": medians})


if __name__ == "__main__":
    main()
