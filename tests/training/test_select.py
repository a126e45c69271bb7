"""Selection: candidates on the same folds, their report, and the sentence about the shipped one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from ruamel.yaml import YAML
from sklearn.metrics import average_precision_score, roc_auc_score
from threadpoolctl import threadpool_limits

from training import select
from training.declaration import ScorerDeclaration
from training.model.candidates import CANDIDATES, SHIPPED, score
from training.model.folds import Fold
from training.select import candidate_summary, compare_candidates, describe_lead

DVC = Path(__file__).parents[2] / "dvc.yaml"
Read = Callable[[str], Any]


def report_of(**precisions: list[float]) -> dict[str, Any]:
    """A report in which each candidate has these average precisions."""
    return {name: {"average_precision": candidate_summary(values)} for name, values in precisions.items()}


@pytest.mark.parametrize(
    ("precisions", "sentence"),
    [
        (
            {"xgboost": [0.5, 0.7], "adaboost": [0.2, 0.3], "random_forest": [0.45, 0.63]},
            "xgboost has the highest average precision; random_forest follows, 0.0600 +- 0.0141 behind",
        ),
        (
            {"xgboost": [0.5, 0.7], "adaboost": [0.6, 0.68], "random_forest": [0.1, 0.1]},
            "adaboost is ahead of xgboost by 0.0400 +- 0.0849 average precision: within the spread between folds",
        ),
        # Folds that are hard for both candidates do not widen the spread of their difference.
        (
            {"xgboost": [0.1, 0.5, 0.9], "adaboost": [0.12, 0.53, 0.92], "logistic_regression": [0.1, 0.2, 0.3]},
            (
                "adaboost BEATS xgboost, which ships, by 0.0233 +- 0.0058 average precision, more than the "
                "spread between folds; with few frauds that is often chance, with many check the features "
                "before you trust xgboost"
            ),
        ),
        (
            {"xgboost": [0.5, 0.7], "adaboost": [0.5, 0.7]},
            "xgboost and adaboost share the highest average precision",
        ),
    ],
    ids=["shipped ahead", "another ahead within the spread", "another ahead beyond the spread", "tie"],
)
def test_the_lead_is_described(precisions: dict[str, list[float]], sentence: str) -> None:
    """The sentence names the best other candidate and compares its lead with the spread over folds."""
    assert describe_lead(report_of(**precisions)) == sentence


def test_summary_is_of_the_sample() -> None:
    """A summary has the mean, the sample standard deviation and the folds' values."""
    assert candidate_summary((0.2, 0.4)) == {
        "mean": pytest.approx(0.3),
        "std": pytest.approx(0.1414214),
        "folds": [0.2, 0.4],
    }


def drawn_fold(seed: int, n_validated: int) -> Fold:
    """A fold of 200 encoded training rows in the mini scorer's eight columns, a fifth of them frauds."""
    rng = np.random.default_rng(seed)
    label = (rng.random(200 + n_validated) < 0.2).astype(np.int8)
    matrix = rng.normal(size=(len(label), 8)).astype(np.float32)
    matrix[:, 0] += 1.5 * label
    matrix[:, [3, 4, 5]] = rng.integers(0, 2, (len(label), 3))
    return Fold(matrix[:200], label[:200], matrix[200:], label[200:])


@pytest.fixture
def folds(monkeypatch: pytest.MonkeyPatch) -> list[Fold]:
    """Two folds, the last with fewer rows than latency calls."""
    monkeypatch.setattr(select, "LATENCY_CALLS", 60)
    return [drawn_fold(1, 100), drawn_fold(2, 50)]


def test_every_candidate_is_evaluated_on_every_fold(folds: list[Fold], mini_scorer: ScorerDeclaration) -> None:
    """Each candidate has the metrics that scikit-learn computes for it on each fold, a size and latencies."""
    # Run joblib's tasks in this process, on one core.
    with parallel_config(backend="sequential"), threadpool_limits(1):
        report, latencies = compare_candidates(folds, mini_scorer)
    assert list(report) == latencies["candidate"].tolist() == list(CANDIDATES)
    assert all(scores["size_kb"] > 0 for scores in report.values())
    assert (latencies["p95_ms"] >= latencies["p50_ms"]).all()
    assert (latencies["p50_ms"] > 0).all()
    for name in ("logistic_regression", SHIPPED):
        for position, fold in enumerate(folds):
            model = CANDIDATES[name](mini_scorer, fold.train_label).fit(fold.train, fold.train_label)
            scores = score(model, fold.validate)
            expected = roc_auc_score(fold.validate_label, scores), average_precision_score(fold.validate_label, scores)
            reported = (report[name][metric]["folds"][position] for metric in ("roc_auc", "average_precision"))
            assert tuple(reported) == pytest.approx(expected)


def test_stage_reports_every_candidate(reported: Read) -> None:
    """The report has a sentence, and each candidate's mean, spread and folds of both metrics, and its size.

    The table has a line for each candidate, with the report's numbers and no times.
    """
    report, table = reported("selection.json"), reported("selection.csv")
    assert report["verdict"] == describe_lead(report["candidates"])
    assert list(report["candidates"]) == table["candidate"].tolist() == list(CANDIDATES)
    assert table.columns.tolist() == ["candidate", "average_precision", "std", "roc_auc", "size_kb"]
    for candidate, roc_auc in zip(report["candidates"].values(), table["roc_auc"], strict=True):
        assert set(candidate) == {"roc_auc", "average_precision", "size_kb"}
        precision = candidate["average_precision"]
        assert len(precision["folds"]) == 3
        assert precision["mean"] == pytest.approx(np.mean(precision["folds"]), rel=1e-5)
        assert candidate["roc_auc"]["mean"] == pytest.approx(roc_auc, rel=1e-5)


def test_stage_prints_table_and_verdict(trained_output: tuple[Path, dict[str, str]], reported: Read) -> None:
    """The stage ends with its sentence, below a table that also has the latencies."""
    _, printed = trained_output
    lines = printed["select"].splitlines()
    assert lines[-1] == reported("selection.json")["verdict"]
    assert [line.split()[0] for line in lines[-6:-1]] == list(CANDIDATES)
    assert {"p50_ms", "p95_ms"} <= set(lines[-7].split())


def test_latencies_are_no_output_of_dvc(trained: Path) -> None:
    """Latencies, which are never reproduced, are in a file that no stage declares, alone or within a folder."""
    table = pd.read_csv(trained / "build" / "mini" / "latency.csv")
    assert table.columns.tolist() == ["candidate", "p50_ms", "p95_ms"]
    stages = YAML(typ="safe", pure=True).load(DVC)["stages"]
    declared = [
        next(iter(entry)) if isinstance(entry, dict) else entry
        for stage in stages.values()
        for kind in ("outs", "metrics", "plots")
        for entry in stage["do"].get(kind, [])
    ]
    paths = [Path(path.replace("${key}", "mini")) for path in declared]
    latency = Path("build/mini/latency.csv")
    assert not {latency, *latency.parents} & set(paths)
    assert Path("reports/mini/selection.json") in paths
    assert Path("reports/mini/selection.csv") in paths
