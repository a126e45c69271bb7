"""The handbook's 1.75 million rows, as a declared scorer, through `dvc repro`: `make bench-repro`.

A project of its own, with this one's code and dvc.yaml, the scorer that benchmarks/quality/sets.yaml declares, and its
file, which the environment variable BENCHMARK_DATA finds.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq
from ruamel.yaml import YAML

from benchmarks.command import ROOT, keep, options_of
from benchmarks.machine import machine
from benchmarks.quality.part import AbsentError
from benchmarks.quality.sets import PARAMS, set_path
from benchmarks.tables import table
from benchmarks.training.step_times import step_times
from training.run.files import BUILD

SCORER = "handbook"
# The folds of the benchmark are the handbook's own; here they are those that a user would declare.
FOLDS = {"count": 4, "validate_share": 0.5, "sample": 0.2}
SIZES = {"trials": (15, 1)}
DVC = str(Path(sys.executable).with_name("dvc"))


def make_project(folder: Path, rows: Path, trials: int) -> None:
    """A project with one scorer and its rows, under Git and DVC."""
    for name in ("handler", "training", "dvc.yaml", "requirements-model.lock"):
        (folder / name).symlink_to(ROOT / name)
    yaml = YAML(typ="safe", pure=True)
    declared = yaml.load(PARAMS)["scorers"][SCORER]
    declared |= {"folds": FOLDS, "tuning": {"mode": "tpe", "trials": trials}, "quarantine": {"max_share": 0.01}}
    yaml.dump({"scorers": {SCORER: declared}}, folder / "params.yaml")
    (folder / "data").mkdir()
    shutil.copy(rows, folder / declared["data"])
    for command in (["git", "init", "--quiet"], [DVC, "init", "--quiet"], [DVC, "add", "--quiet", "data"]):
        subprocess.run(command, cwd=folder, check=True)


def measure(rows: Path, trials: int, *, smallest: bool) -> dict[str, Any]:
    """What each stage takes, and the average precision; the smallest run only lists the first stages."""
    with TemporaryDirectory(dir=ROOT / BUILD) as name:
        folder = Path(name)
        make_project(folder, rows, trials)
        command = [DVC, "repro", *(["--dry", f"catalogue@{SCORER}", f"prepare@{SCORER}"] if smallest else [])]
        stages = step_times(folder, "", r"Running stage '(\w+)@", *command)
        metrics = {} if smallest else json.loads((folder / "reports" / SCORER / "metrics.json").read_text())
    return {"stages": stages, "average_precision": metrics.get("average_precision")}


def repro_table(report: Mapping[str, Any]) -> str:
    """What each stage took."""
    stages = report["stages"]
    lines = [[stage, f"{of['seconds']:,.0f} s", f"{of['GB']:.2f} GB"] for stage, of in stages.items()]
    seconds, memory = _totals(stages)
    return table(["stage", "time", "memory"], [*lines, ["all", f"{seconds:,.0f} s", f"{memory:.2f} GB"]])


def repro_fact(report: Mapping[str, Any]) -> str:
    """The handbook's rows through `dvc repro`."""
    stages = report["stages"]
    seconds, memory = _totals(stages)
    longest = max(stages, key=lambda stage: stages[stage]["seconds"])
    return (
        f"`make bench-repro`: the handbook's {report['rows']:,} rows through `dvc repro` took {seconds / 60:.1f} "
        f"minutes ({longest} {stages[longest]['seconds'] / 60:.1f}) and {memory:.1f} GB"
    )


def _totals(stages: Mapping[str, Mapping[str, float]]) -> tuple[float, float]:
    """The seconds of all stages together, and the most memory of one."""
    return sum(of["seconds"] for of in stages.values()), max(of["GB"] for of in stages.values())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it, and print what each stage took."""
    options = options_of("training.repro", __doc__, SIZES, arguments)
    try:
        rows = set_path("handbook_simulated.parquet")
    except AbsentError as error:
        raise SystemExit(str(error)) from error
    measured = measure(rows, options.trials, smallest=options.smallest)
    report = {"machine": machine(), "rows": pq.read_metadata(rows).num_rows, **measured}
    print(repro_table(report))
    keep("repro", report, options)


if __name__ == "__main__":
    main()
