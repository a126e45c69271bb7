"""The handbook's 1.75 million rows, as a declared scorer, through `dvc repro`: `make bench-repro`.

A project of its own, with this one's code and dvc.yaml, the scorer that benchmarks/quality.yaml declares, and its
file, which the environment variable BENCHMARK_DATA finds.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq
from ruamel.yaml import YAML

from benchmarks.machine import machine
from benchmarks.quality_sets import FOLDER, PARAMS
from benchmarks.readme_table import table
from benchmarks.served import ROOT
from benchmarks.steps import steps_of
from training.run.files import BUILD, write_json

RECORDED = ROOT / "reports" / "repro.json"
SCORER = "handbook"
# The folds of the benchmark are the handbook's own; here they are those that a user would declare.
FOLDS = {"count": 4, "validate_share": 0.5, "sample": 0.2}
TRIALS = 15


def make_project(folder: Path, rows: Path) -> None:
    """A project with one scorer and its rows, under Git and DVC."""
    for name in ("handler", "training", "dvc.yaml"):
        (folder / name).symlink_to(ROOT / name)
    yaml = YAML(typ="safe", pure=True)
    declared = yaml.load(PARAMS)["scorers"][SCORER]
    declared |= {"folds": FOLDS, "tuning": {"mode": "tpe", "trials": TRIALS}, "quarantine": {"max_share": 0.01}}
    yaml.dump({"scorers": {SCORER: declared}}, folder / "params.yaml")
    (folder / "data").mkdir()
    shutil.copy(rows, folder / declared["data"])
    dvc = str(Path(sys.executable).with_name("dvc"))
    for command in (["git", "init", "--quiet"], [dvc, "init", "--quiet"], [dvc, "add", "--quiet", "data"]):
        subprocess.run(command, cwd=folder, check=True)


def main() -> None:
    """Run it, and print what each stage took."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.repro", description=__doc__)
    parser.add_argument("--record", action="store_true", help=f"keep the results in {RECORDED}, for the README")
    asked = parser.parse_args()
    rows = FOLDER / "handbook_simulated.parquet"
    if not rows.is_file():
        raise SystemExit(f"{rows} is absent; the environment variable BENCHMARK_DATA names its folder")
    with TemporaryDirectory(dir=ROOT / BUILD) as name:
        folder = Path(name)
        make_project(folder, rows)
        taken = steps_of(folder, "", r"Running stage '(\w+)@", str(Path(sys.executable).with_name("dvc")), "repro")
        metrics = YAML(typ="safe", pure=True).load(folder / "reports" / SCORER / "metrics.json")
    found = {
        "rows": pq.read_metadata(rows).num_rows,
        "stages": taken,
        "average_precision": metrics["average_precision"],
    }
    print(shown(found))
    if asked.record:
        write_json(RECORDED, {"machine": machine(), **found})


def shown(found: dict[str, object]) -> str:
    """What was measured, as a table."""
    stages: dict[str, dict[str, float]] = found["stages"]  # type: ignore[assignment]
    lines = [[stage, f"{of['seconds']:,.0f} s", f"{of['GB']:.2f} GB"] for stage, of in stages.items()]
    total, most = sum(of["seconds"] for of in stages.values()), max(of["GB"] for of in stages.values())
    return table(["stage", "time", "memory"], [*lines, ["all", f"{total:,.0f} s", f"{most:.2f} GB"]])


if __name__ == "__main__":
    main()
