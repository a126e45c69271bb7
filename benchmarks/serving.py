"""Speed and weight of the function beside an empty one, XGBoost's Python package, and joblib + pandas: `make bench`.

Everything is measured turn by turn, so that a slow moment of the machine weighs on all. The server side stays on one
core, the client side on another where there is one.
"""

import argparse
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tqdm import tqdm
from xgboost import Booster

from benchmarks.cold import cold_rows
from benchmarks.function import Child
from benchmarks.load import WRK_MISSING, has_wrk, load_rows
from benchmarks.machine import CLIENT_CORE, machine, pinned
from benchmarks.subjects import ARTIFACT, BUNDLES, Subject, artifact_mb, make_subjects
from benchmarks.table import Limit, Row, print_table
from benchmarks.warm import check_answers, warm_rows
from benchmarks.workloads import TRANSACTION, WORKLOADS
from training.delivery.artifact import MAX_BYTES
from training.run.files import BUILD, REPORTS, write_json

RESULT = BUILD / "benchmarks" / "serving.json"
# What the README quotes; tests/test_pages.py holds the two together.
RECORDED = REPORTS / "serving.json"
# Of Lambda's 250 MB.
ARTIFACT_LIMIT = Limit(MAX_BYTES / 1e6)


@dataclass(frozen=True, slots=True)
class Effort:
    """How often to measure."""

    cold_rounds: int
    warm_rounds: int
    calls: int
    load_rounds: int
    load_seconds: int


# Many short rounds: a shared machine changes its speed within seconds.
FULL = Effort(cold_rounds=21, warm_rounds=21, calls=400, load_rounds=11, load_seconds=3)
QUICK = Effort(cold_rounds=3, warm_rounds=5, calls=100, load_rounds=3, load_seconds=1)


def measure(effort: Effort) -> list[Row]:
    """Every row of the table."""
    load_rounds = effort.load_rounds if has_wrk() else 0
    steps = effort.cold_rounds + len(WORKLOADS) * effort.warm_rounds + load_rounds
    with TemporaryDirectory() as name, pinned(CLIENT_CORE), tqdm(total=steps, unit="round") as progress:
        folder = Path(name)
        subjects = make_subjects(folder)
        # First, because it finds out whether the answers agree.
        *warm, memory_later = _warm_rows(subjects, effort, progress)
        *cold, memory = cold_rows(subjects, effort.cold_rounds, folder / "emulator.log", progress)
        load = load_rows(subjects, load_rounds, effort.load_seconds, folder, progress) if load_rounds else []
    weights = {name: {0: found} for name, found in artifact_mb().items()}
    artifact = Row("artifact, unzipped", "MB", weights, (ARTIFACT_LIMIT,))
    return [*cold, *warm, *load, memory, memory_later, artifact]


def _warm_rows(subjects: Mapping[str, Subject], effort: Effort, progress: "tqdm[None]") -> list[Row]:
    """The warm latencies, then the memory of the processes after them."""
    with ExitStack() as stack:
        event = TRANSACTION.event()
        children = {name: stack.enter_context(Child(subject, event)) for name, subject in subjects.items()}
        check_answers(children)
        rows = warm_rows(children, effort.warm_rounds, effort.calls, progress)
        memory = {name: {0: child.resident_mb()} for name, child in children.items()}
    return [*rows, Row("resident memory after the warm rounds", "MB", memory)]


def trees() -> dict[str, int]:
    """How many trees each scorer's model has, on which its times depend."""
    models = sorted((ARTIFACT / BUNDLES).glob("*/model.ubj"))
    return {path.parent.name: Booster(model_file=path).num_boosted_rounds() for path in models}


def main() -> None:
    """Measure, print the table, write it to `RESULT`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds: enough to see that it runs")
    parser.add_argument("--record", action="store_true", help=f"keep the medians in {RECORDED}, for the README")
    asked = parser.parse_args()
    if asked.quick and asked.record:
        parser.error("--record keeps a full run; leave --quick out")
    effort = QUICK if asked.quick else FULL
    if not (ARTIFACT / BUNDLES).is_dir():
        raise SystemExit(f"{ARTIFACT} is not built; run `make build`")
    about = {"machine": machine(), "effort": asdict(effort), "trees": trees()}
    rows = measure(effort)
    for what, facts in about.items():
        print(f"{what}: " + ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in facts.items()))
    print("medians (quartiles) of rounds; a ratio is the median of the rounds' ratios\n")
    print_table(rows)
    if not has_wrk():
        print(WRK_MISSING)
    records = [row.record() for row in rows]
    write_json(RESULT, {**about, "rows": records})
    if asked.record:
        short = [{key: value for key, value in record.items() if key != "samples"} for record in records]
        write_json(RECORDED, {**about, "rows": short})


if __name__ == "__main__":
    main()
