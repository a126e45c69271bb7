"""Compare model candidates (kinds of model) on the prequential folds of the training window."""

import pickle
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from training.data.window import read_training
from training.declaration import ScorerDeclaration
from training.evaluation.metrics import average_precision, rank, roc_auc
from training.model.candidates import CANDIDATES, SHIPPED, score
from training.model.chosen import chosen_resampling, chosen_scorer
from training.model.folds import Fold, resample_folds, training_folds
from training.run.command import run
from training.run.files import BUILD, REPORTS, write_json, write_table
from training.run.matrix import Floats, Matrix
from training.run.processes import on_all_cores
from training.run.progress import say

LATENCY_CALLS = 100


def compare_candidates(folds: Sequence[Fold], scorer: ScorerDeclaration) -> tuple[dict[str, Any], pd.DataFrame]:
    """The selection's report: each candidate's ROC AUC, average precision and size in kB; and a table of latencies.

    The folds' training rows are used as they are; resample them first if that is declared.
    """
    tasks = [(_evaluated, name, fold, scorer) for name in CANDIDATES for fold in folds]
    results = on_all_cores(tasks, "candidates x folds")
    report: dict[str, Any] = {}
    latencies = []
    for position, name in enumerate(CANDIDATES):
        of_candidate = results[position * len(folds) : (position + 1) * len(folds)]
        models, sizes, areas, precisions = zip(*of_candidate, strict=True)
        report[name] = {
            "roc_auc": candidate_summary(areas),
            "average_precision": candidate_summary(precisions),
            "size_kb": sizes[-1],
        }
        latencies.append({"candidate": name, **_latency(models[-1], folds[-1].validate)})
    return report, pd.DataFrame(latencies)


def _evaluated(name: str, fold: Fold, scorer: ScorerDeclaration) -> tuple[Any, int, float, float]:
    """A model candidate fitted on a fold, its size in kB, its ROC AUC and its average precision there.

    The size is measured in the process that fitted the model, because its pickle grows when it is passed to another.
    """
    model = CANDIDATES[name](scorer, fold.train_label).fit(fold.train, fold.train_label)
    counts = rank(score(model, fold.validate), fold.validate_label).counts()
    return model, _size_kb(model), roc_auc(*counts), average_precision(*counts)


def candidate_summary(values: Sequence[float]) -> dict[str, Any]:
    """A candidate's mean and spread (sample standard deviation) over the selection's folds, and each fold's value."""
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)), "folds": list(values)}


def _size_kb(model: Any) -> int:  # noqa: ANN401 - scikit-learn has no types
    """A model candidate's size in kB: in XGBoost's own format or, for the others, as a pickle."""
    content = model.get_booster().save_raw("ubj") if hasattr(model, "get_booster") else pickle.dumps(model)
    return round(len(content) / 1000)


def _latency(model: Any, rows: Matrix) -> dict[str, float]:  # noqa: ANN401 - as above
    """The time to score one row with the model candidate's Python code, in milliseconds: median and 95th percentile."""
    times = []
    for row in rows[np.arange(LATENCY_CALLS) % len(rows)]:
        start = time.perf_counter()
        score(model, row.reshape(1, -1))
        times.append((time.perf_counter() - start) * 1000)
    return {"p50_ms": float(np.percentile(times, 50)), "p95_ms": float(np.percentile(times, 95))}


def describe_lead(report: dict[str, Any]) -> str:
    """One sentence on whether the selection found a model that beats the shipped one by more than folds differ."""
    shipped = np.array(report[SHIPPED]["average_precision"]["folds"])
    leads: dict[str, Floats] = {
        name: np.array(candidate["average_precision"]["folds"]) - shipped
        for name, candidate in report.items()
        if name != SHIPPED
    }
    best = max(leads, key=lambda name: float(leads[name].mean()))
    mean, spread = leads[best].mean(), leads[best].std(ddof=1)
    if mean == 0:
        return f"{SHIPPED} and {best} share the highest average precision"
    if mean < 0:
        return f"{SHIPPED} has the highest average precision; {best} follows, {-mean:.4f} +- {spread:.4f} behind"
    if mean <= spread:
        lead = f"{best} is ahead of {SHIPPED} by {mean:.4f} +- {spread:.4f} average precision"
        return f"{lead}: within the spread between folds"
    return (
        f"{best} BEATS {SHIPPED}, which ships, by {mean:.4f} +- {spread:.4f} average precision, more than the spread "
        f"between folds; with few frauds that is often chance, with many check the features before you trust {SHIPPED}"
    )


def main(name: str) -> None:
    """Compare the model candidates for one scorer: `python -m training.select refund`."""
    scorer = chosen_scorer(name)
    scorer = scorer.model_copy(
        update={"model": scorer.model.model_copy(update={"rounds": chosen_resampling(name).rounds})}
    )
    window, catalogue = read_training(scorer, name)
    folds = resample_folds(training_folds(window, scorer, catalogue), scorer)
    report, latencies = compare_candidates(folds, scorer)
    table = pd.DataFrame(
        {
            "candidate": list(report),
            "average_precision": [candidate["average_precision"]["mean"] for candidate in report.values()],
            "std": [candidate["average_precision"]["std"] for candidate in report.values()],
            "roc_auc": [candidate["roc_auc"]["mean"] for candidate in report.values()],
            "size_kb": [candidate["size_kb"] for candidate in report.values()],
        }
    )
    write_table(REPORTS / name / "selection.csv", table)
    write_json(REPORTS / name / "selection.json", {"verdict": describe_lead(report), "candidates": report})
    # Times do not reproduce, so this file is not an output of the stage in dvc.yaml.
    write_table(BUILD / name / "latency.csv", latencies)
    say(table.merge(latencies).to_string(index=False, float_format="%.4g"))
    say(describe_lead(report))


if __name__ == "__main__":
    run(main)
