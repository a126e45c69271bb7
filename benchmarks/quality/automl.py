"""AutoGluon on one set, in the environment .venv-automl: `python automl.py PLAN`, where PLAN is JSON.

The plan names two Parquet files, `train` and `test`, and a folder for the results. AutoGluon learns the former and
scores the latter, unless the folder already has the facts of such a run; the time of a single row is measured each
time. This script imports nothing of this repository, because that environment does not have its packages.
"""

import json
import resource
import shutil
import sys
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import autogluon.tabular
import pandas as pd
from autogluon.tabular import TabularPredictor

LATENCY_CALLS = 50


def fit(plan: dict[str, Any], folder: Path) -> None:
    """Fit, and write scores.parquet, facts.json and the folder `deployed`, which is what a user would deploy."""
    start = perf_counter()
    fitted = TabularPredictor(
        plan["label"], problem_type="binary", eval_metric="average_precision", path=folder / "fitted"
    )
    train = pd.read_parquet(plan["train"])
    fitted.fit(train, presets=plan["presets"], time_limit=plan["seconds"], num_cpus=plan["cores"])
    seconds = perf_counter() - start
    usage = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    # The clone has neither the data nor the models that the best one does not need.
    fitted.clone_for_deployment(folder / "deployed")
    test = pd.read_parquet(plan["test"])
    fitted.predict_proba(test)[1].rename("score").to_frame().to_parquet(folder / "scores.parquet", index=False)
    facts = {
        "version": autogluon.tabular.__version__,
        "presets": plan["presets"],
        "time_limit_seconds": plan["seconds"],
        "cores": plan["cores"],
        "models": fitted.leaderboard()["model"].tolist(),
        "seconds": seconds,
        "cpu_seconds": sum(used.ru_utime + used.ru_stime for used in usage),
        "bytes": sum(path.stat().st_size for path in (folder / "deployed").rglob("*") if path.is_file()),
    }
    shutil.rmtree(folder / "fitted")
    (folder / "facts.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


def row_cpu_seconds(predictor: TabularPredictor, rows: pd.DataFrame) -> float:
    """The median CPU time of the prediction of one row, with the models in memory."""
    predictor.persist()
    seconds = []
    for place in range(LATENCY_CALLS):
        row = rows.iloc[[place % len(rows)]]
        start = process_time()
        predictor.predict_proba(row)
        seconds.append(process_time() - start)
    return median(seconds)


def main(plan: dict[str, Any]) -> None:
    """Fit if the plan's folder has no facts, and write the time of a single row to row.json."""
    folder = Path(plan["folder"])
    if not (folder / "facts.json").is_file():
        fit(plan, folder)
    deployed = TabularPredictor.load(folder / "deployed")
    row = {"row_cpu_seconds": row_cpu_seconds(deployed, pd.read_parquet(plan["test"]).drop(columns=plan["label"]))}
    (folder / "row.json").write_text(json.dumps(row), encoding="utf-8")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
