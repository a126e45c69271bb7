"""AutoGluon on one set, in the environment .venv-automl: `python automl.py PLAN`, where PLAN is JSON.

Of `train` and `test`, two Parquet files, it learns the former and scores the latter within a folder, unless that has
its facts already; what a row takes is measured each time. It uses nothing of this repository, whose own packages that
environment does not have.
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
    """Fit, and write scores.parquet, facts.json and, as a user would deploy it, the folder `deployed`."""
    start = perf_counter()
    fitted = TabularPredictor(
        plan["label"], problem_type="binary", eval_metric="average_precision", path=folder / "fitted"
    )
    train = pd.read_parquet(plan["train"])
    fitted.fit(train, presets=plan["presets"], time_limit=plan["seconds"], num_cpus=plan["cores"])
    seconds = perf_counter() - start
    usage = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    # Without the data, and without the models that the best one does not need.
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
    """Fit where the plan's folder has no facts, and write what a row takes into row.json."""
    folder = Path(plan["folder"])
    if not (folder / "facts.json").is_file():
        fit(plan, folder)
    deployed = TabularPredictor.load(folder / "deployed")
    row = {"row_cpu_seconds": row_cpu_seconds(deployed, pd.read_parquet(plan["test"]).drop(columns=plan["label"]))}
    (folder / "row.json").write_text(json.dumps(row), encoding="utf-8")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
