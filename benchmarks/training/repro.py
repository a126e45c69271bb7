"""The handbook's 1.75 million rows, as a declared scorer, through `dvc repro`: `make bench-repro`.

It runs in a project of its own, with this project's code and dvc.yaml, and the scorer that benchmarks/quality/sets.yaml
declares. The environment variable BENCHMARK_DATA names the folder of its file.
"""

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
from benchmarks.quality.sets import PARAMS, AbsentError, set_path
from benchmarks.training.step_times import step_times
from training.run.files import BUILD

SCORER = "handbook"
# `make quality` uses the handbook's own folds; these are folds that a user would declare.
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


def repro_fact(report: Mapping[str, Any]) -> str:
    """The handbook's rows through `dvc repro`: the time, the longest stage, and the most memory of one."""
    stages = report["stages"]
    minutes = {stage: of["seconds"] / 60 for stage, of in stages.items()}
    longest = max(minutes, key=lambda stage: minutes[stage])
    return (
        f"`make bench-repro`: the handbook's {report['rows']:,} rows through `dvc repro` took "
        f"{sum(minutes.values()):.1f} minutes ({longest} {minutes[longest]:.1f}) and "
        f"{max(of['GB'] for of in stages.values()):.1f} GB"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it, and print what it took."""
    options = options_of("training.repro", __doc__, SIZES, arguments)
    try:
        rows = set_path("handbook_simulated.parquet")
    except AbsentError as error:
        raise SystemExit(str(error)) from error
    # The smallest run only lists the first stages.
    only = ["--dry", f"catalogue@{SCORER}", f"prepare@{SCORER}"] if options.smallest else []
    with TemporaryDirectory(dir=ROOT / BUILD) as name:
        make_project(Path(name), rows, options.trials)
        stages = step_times(Path(name), "", DVC, "repro", *only, marker=r"Running stage '(\w+)@")
    report = {"machine": machine(), "rows": pq.read_metadata(rows).num_rows, "stages": stages}
    print(repro_fact(report))
    keep("repro", report, options)


if __name__ == "__main__":
    main()
