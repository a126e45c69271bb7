"""Speed and weight of the function beside an empty one, XGBoost's Python package, and joblib + pandas: `make bench`.

Everything is measured turn by turn, so that a slow moment of the machine weighs on all. The server side stays on one
core, the client side on another where there is one.
"""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tqdm import tqdm
from xgboost import Booster

from benchmarks.command import ROOT, end, keep, options_of
from benchmarks.machine import CLIENT_CORE, machine, pinned
from benchmarks.serving.budgets import Budget, Measured
from benchmarks.serving.cold import cold_figures
from benchmarks.serving.function import FunctionProcess
from benchmarks.serving.load import WRK_MISSING, has_wrk, load_figures
from benchmarks.serving.services import Service, artifact_in, artifact_mb, make_services
from benchmarks.serving.warm import check_answers, warm_figures
from benchmarks.serving.workloads import TRANSACTION, WORKLOADS
from benchmarks.tables import SCORERS, date_of, number, table
from training.delivery.artifact import MAX_BYTES
from training.run.files import BUNDLES

# Many short rounds: a shared machine changes its speed within seconds.
SIZES = {
    "cold_rounds": (21, 1),
    "warm_rounds": (21, 1),
    "calls": (400, 2),
    "load_rounds": (11, 0),
    "load_seconds": (3, 1),
}
# Of Lambda's 250 MB.
ARTIFACT_BUDGET = Budget(MAX_BYTES / 1e6)
# What each figure is called in the table, in its order; the others are in the report only.
SHOWN = {
    "cold start: init in AWS's runtime emulator": "cold start: init in AWS's runtime emulator",
    "cold start: first import to first answer": "cold start: imports, bundles, first answer",
    "cold start: first answer alone": "of that, the first answer",
    "warm: transaction, p50": "warm request, transaction: median",
    "warm: transaction, p95": "95th percentile",
    "warm: transaction, p99": "99th percentile",
    "warm: refund, p50": "warm request, refund: median",
    "warm: refund, p99": "99th percentile",
    "warm: transaction, with every reason, p50": "warm request, transaction, with every reason: median",
    "warm: transaction, in a batch of 100, each": "each request of a batch of 100",
    "requests a second under uvicorn, transaction": "requests a second, one worker on one core",
    "resident memory after the first answer": "memory after the first answer",
    "resident memory after the warm rounds": "memory after the warm requests",
    "artifact, unzipped": "artifact, unzipped",
}
SERVICES = {
    "ours": "this function",
    "echo": "FastAPI + Mangum echo",
    "xgboost": "with XGBoost's Python package",
    "joblib": "joblib + pandas service",
}


def measure(options: Namespace) -> list[Measured]:
    """Every figure, of every service."""
    load_rounds = options.load_rounds if has_wrk() else 0
    steps = options.cold_rounds + len(WORKLOADS) * options.warm_rounds + load_rounds
    with TemporaryDirectory() as name, pinned(CLIENT_CORE), tqdm(total=steps, unit="round") as progress:
        folder = Path(name)
        artifact = artifact_in(folder, smallest=options.smallest)
        services = make_services(folder, artifact)
        # First, because it finds out whether the answers agree.
        *warm, memory_later = _warm_figures(services, options, progress)
        if options.smallest:  # the others start in the same way, and take seconds
            services = {name: services[name] for name in ("echo", "ours")}
        *cold, memory = cold_figures(services, options.cold_rounds, folder / "emulator.log", progress)
        load = []
        if load_rounds or options.smallest:
            load = load_figures(services, load_rounds, options.load_seconds, folder, progress)
        weights = {name: {0: megabytes} for name, megabytes in artifact_mb(artifact).items()}
    return [
        *cold,
        *warm,
        *load,
        memory,
        memory_later,
        Measured("artifact, unzipped", "MB", weights, (ARTIFACT_BUDGET,)),
    ]


def _warm_figures(services: Mapping[str, Service], options: Namespace, progress: "tqdm[None]") -> list[Measured]:
    """The warm latencies, then the memory of the processes after them."""
    with ExitStack() as stack:
        event = TRANSACTION.event()
        processes = {name: stack.enter_context(FunctionProcess(service, event)) for name, service in services.items()}
        check_answers(processes)
        figures = warm_figures(processes, options.warm_rounds, options.calls, progress)
        memory = {name: {0: process.resident_mb()} for name, process in processes.items()}
    return [*figures, Measured("resident memory after the warm rounds", "MB", memory)]


def trees() -> dict[str, int]:
    """How many trees each scorer's model has, on which its times depend."""
    models = sorted((ROOT / BUNDLES).glob("*/model.ubj"))
    return {path.parent.name: Booster(model_file=path).num_boosted_rounds() for path in models}


def speed_table(report: Mapping[str, Any]) -> str:
    """The medians of each service, ours beside the echo, and the budgets."""
    figures = {row["measured"]: row for row in report["rows"]}
    # Without wrk there are no requests a second.
    rows = [_cells(title, figures[key]) for key, title in SHOWN.items() if key in figures]
    ours, *others = SERVICES.values()
    return table(["medians", ours, "of the echo", "budget", *others], rows)


def _cells(title: str, row: Mapping[str, Any]) -> list[str]:
    medians = row["median"]
    ours, *others = (f"{number(medians[name])} {row['unit']}" if name in medians else "" for name in SERVICES)
    ratio = f"{number(row['ours_over']['echo'])} x" if "echo" in row["ours_over"] else ""
    return [title, ours, ratio, "; ".join(map(_budget, row["limits"])), *others]


def _budget(limit: Mapping[str, Any]) -> str:
    """A recorded budget, and the figure where it was missed."""
    unit = {None: "MB", "echo": "x"}.get(limit["against"], f"x {limit['against']}")
    bound = f"at {'least' if limit['is_least'] else 'most'} {number(limit['budget'])} {unit}"
    return bound if limit["verdict"] == "within" else f"{bound}, missed with {number(limit['figure'])}"


def speed_caption(report: Mapping[str, Any]) -> str:
    """When and where the table was measured, with which models."""
    machine, trees, effort = report["machine"], report["trees"], report["effort"]
    models = " and ".join(f"{trees[name]} ({name})" for name in SCORERS)
    rounds = f"{effort['cold_rounds']} cold starts, {effort['warm_rounds']} rounds of {effort['calls']} calls"
    return (
        f"`make bench` on {date_of(report)}, {machine['cores']} cores of an {machine['processor']}, "
        f"CPython {machine['python']}, models of {models} trees, {rounds}:"
    ).replace("(R)", "")


def artifact_fact(report: Mapping[str, Any]) -> str:
    """What the artifact weighed when the table was measured."""
    (row,) = (row for row in report["rows"] if row["measured"] == "artifact, unzipped")
    return f"{row['median']['ours']:.1f} MB unzipped of Lambda's"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, keep it, and end with an error where a budget is exceeded."""
    options = options_of("serving.speed", __doc__, SIZES, arguments)
    figures = measure(options)
    report = {
        "machine": machine(),
        "effort": {size: getattr(options, size) for size in SIZES},
        "trees": trees(),
        "rows": [figure.record() for figure in figures],
    }
    print(f"{speed_caption(report)}\n\n{speed_table(report)}")
    if not has_wrk():
        print(WRK_MISSING)
    for row in report["rows"] if options.record else ():
        del row["samples"]
    keep("serving", report, options)
    end([sentence for figure in figures for sentence in figure.excesses()], options)


if __name__ == "__main__":
    main()
