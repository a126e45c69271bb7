"""Speed and weight of the function beside an empty one, XGBoost's Python package, and joblib + pandas: `make bench`.

The services are measured in turn, so that a slow moment of the machine affects all of them. The server stays on one
core, the client on another if there is one. Files are in the page cache: the time that Lambda takes to fetch an
artifact is not included.
"""

import json
from argparse import Namespace
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import Any

from tqdm import tqdm
from xgboost import Booster

from benchmarks.command import ROOT, keep, options_of
from benchmarks.machine import CLIENT_CORE, in_turn, machine, pinned
from benchmarks.serving.emulator import init_milliseconds
from benchmarks.serving.figures import FIGURES, Samples, excesses, rows_of, speed_table
from benchmarks.serving.function import FunctionProcess
from benchmarks.serving.load import measure_load
from benchmarks.serving.services import Service, built_service, checkout_service, compared_services, folders_mb
from benchmarks.serving.workloads import BATCHED, EXPLAINED, REFUND, TRANSACTION, Workload
from benchmarks.tables import SCORERS, date_of
from training.run.files import BUNDLES

# Many short rounds, because the speed of a shared machine changes within seconds.
SIZES = {
    "cold_rounds": (21, 1),
    "warm_rounds": (21, 1),
    "calls": (400, 2),
    "load_rounds": (11, 1),
    "load_seconds": (3, 1),
}
# Dividing the calls by the size of a batch would leave too few for percentiles.
LEAST_CALLS = 20


def measure(function: Service, options: Namespace) -> Samples:
    """Every figure, of every service."""
    samples: Samples = defaultdict(lambda: defaultdict(dict))
    with TemporaryDirectory() as name, pinned(CLIENT_CORE):
        folder = Path(name)
        services = compared_services(function, folder)
        # This comes first, because it checks that the services' answers agree.
        measure_warm(services, options.warm_rounds, options.calls, samples)
        if options.smallest:  # the others start in the same way, and take seconds each
            services = {name: services[name] for name in ("ours", "echo")}
        measure_cold(services, options.cold_rounds, folder / "emulator.log", samples)
        measure_load(services, options.load_rounds, options.load_seconds, folder, samples)
    for name, megabytes in folders_mb(function).items():
        samples["artifact, unzipped"][name][0] = megabytes
    return samples


def measure_warm(services: Mapping[str, Service], rounds: int, calls: int, samples: Samples) -> None:
    """Measure the latencies of started processes, called as Lambda calls them, and their memory afterwards."""
    with ExitStack() as stack:
        event = TRANSACTION.event()
        processes = {name: stack.enter_context(FunctionProcess(service, event)) for name, service in services.items()}
        for workload in (TRANSACTION, REFUND):
            check_answers(processes, workload)
        for workload in (TRANSACTION, REFUND, EXPLAINED, BATCHED):
            events, n_calls = [workload.event()], max(calls // workload.batch, LEAST_CALLS)
            # The first turn warms up.
            for turn in tqdm(range(-1, rounds), unit="warm round"):
                for name in in_turn(workload.services, turn):
                    cuts = quantiles(processes[name].call(events, n_calls).seconds, n=100, method="inclusive")
                    for percent, what in workload.figures.items() if turn >= 0 else ():
                        scale = {"µs": 1e6, "ms": 1e3}[FIGURES[what].unit]
                        samples[what][name][turn] = cuts[percent - 1] * scale / workload.batch
        for name, process in processes.items():
            samples["resident memory after the warm rounds"][name][0] = process.resident_mb()


def check_answers(processes: Mapping[str, FunctionProcess], workload: Workload) -> None:
    """Raise SystemExit if the scoring services give the same request different probabilities."""
    answers = {}
    for name in set(workload.services) - {"echo"}:
        body = json.loads(processes[name].call([workload.event()], 1).answer["body"])
        answers[name] = body["fraud_probability"] if "fraud_probability" in body else body["confidence"]
    if max(answers.values()) - min(answers.values()) > 1e-9:  # noqa: PLR2004 - exp() is the platform's
        raise SystemExit(
            f"{workload.scorer}: the services' answers differ, {answers}; run `make build` to package this model"
        )


def measure_cold(services: Mapping[str, Service], rounds: int, log: Path, samples: Samples) -> None:
    """Measure a start in AWS's Runtime Interface Emulator and in a process of its own, and the memory after it."""
    event = TRANSACTION.event()
    for turn in tqdm(range(rounds), unit="cold round"):
        for name in in_turn(services, turn):
            init = init_milliseconds(services[name], event, log)
            with FunctionProcess(services[name], event) as process:
                seconds, memory = process.first_answer_seconds, process.resident_mb()
            inside = process.import_seconds + seconds
            samples["cold start: init in AWS's runtime emulator"][name][turn] = init
            samples["cold start: first import to first answer"][name][turn] = inside * 1e3
            samples["cold start: first answer alone"][name][turn] = seconds * 1e3
            samples["resident memory after the first answer"][name][turn] = memory


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
    """Measure, print the table, keep it, and end with an error if a budget is exceeded."""
    options = options_of("serving.speed", __doc__, SIZES, arguments)
    samples = measure(checkout_service() if options.smallest else built_service(), options)
    models = {name: Booster(model_file=ROOT / BUNDLES / name / "model.ubj") for name in SCORERS}
    report = {
        "machine": machine(),
        "effort": {size: getattr(options, size) for size in SIZES},
        # The times depend on the number of trees.
        "trees": {name: model.num_boosted_rounds() for name, model in models.items()},
        "rows": rows_of(samples),
    }
    print(f"{speed_caption(report)}\n\n{speed_table(report)}")
    keep("serving", report, options, excesses(report["rows"]))


if __name__ == "__main__":
    main()
