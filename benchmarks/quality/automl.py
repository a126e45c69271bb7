"""AutoGluon on one set, in the environment .venv-automl: `python automl.py PLAN`, where PLAN is JSON.

Of the rows `train` and `test`, two Parquet files, it learns the former and scores the latter within a folder. It uses
nothing of this repository, whose own packages that environment does not have.
"""

import json
import resource
import sys
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import autogluon.tabular
import pandas as pd
from autogluon.tabular import TabularPredictor

LATENCY_CALLS = 50


def row_seconds(predictor: TabularPredictor, rows: pd.DataFrame) -> float:
    """The median time of the prediction of one row, with the models in memory."""
    predictor.persist()
    seconds = []
    for index in range(LATENCY_CALLS):
        row = rows.iloc[[index % len(rows)]]
        start = perf_counter()
        predictor.predict_proba(row)
        seconds.append(perf_counter() - start)
    return median(seconds)


def main(plan: dict[str, Any]) -> None:
    """Fit, score, and write facts.json and scores.parquet into the plan's folder."""
    folder, label = Path(plan["folder"]), plan["label"]
    train, test = pd.read_parquet(plan["train"]), pd.read_parquet(plan["test"]).drop(columns=label)
    start = perf_counter()
    fitted = TabularPredictor(label, problem_type="binary", eval_metric="average_precision", path=folder / "fitted")
    fitted.fit(train, presets=plan["presets"], time_limit=plan["seconds"], num_cpus=plan["cores"])
    seconds = perf_counter() - start
    usage = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    # What a user would deploy: without the data, and without the models that the best one does not need.
    deployed = TabularPredictor.load(fitted.clone_for_deployment(folder / "deployed"))
    deployed.predict_proba(test)[1].rename("score").to_frame().to_parquet(folder / "scores.parquet", index=False)
    board = fitted.leaderboard()
    facts = {
        "version": autogluon.tabular.__version__,
        "presets": plan["presets"],
        "time_limit_seconds": plan["seconds"],
        "cores": plan["cores"],
        "models": board.sort_values("score_val", ascending=False)["model"].tolist(),
        "best": deployed.model_best,
        "seconds": seconds,
        "cpu_seconds": sum(used.ru_utime + used.ru_stime for used in usage),
        "bytes": sum(path.stat().st_size for path in (folder / "deployed").rglob("*") if path.is_file()),
        "row_seconds": row_seconds(deployed, test),
    }
    (folder / "facts.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
