"""Selection: candidates on the same folds, their report, and the sentence on the shipped one."""

import json
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
from training.select import compare_candidates, describe_lead, summary

DVC = Path(__file__).parents[2] / "dvc.yaml"


def report_of(**precisions: list[float]) -> dict[str, Any]:
    """A report in which each candidate has these average precisions."""
    return {name: {"average_precision": summary(values)} for name, values in precisions.items()}


@pytest.mark.parametrize(
    ("precisions", "sentence"),
    [
        pytest.param(
            {"xgboost": [0.5, 0.7], "adaboost": [0.2, 0.3], "random_forest": [0.45, 0.63]},
            "xgboost has the highest average precision; random_forest follows, 0.0600 +- 0.0141 behind",
            id="shipped ahead",
        ),
        pytest.param(
            {"xgboost": [0.5, 0.7], "adaboost": [0.6, 0.68], "random_forest": [0.1, 0.1]},
            "adaboost is ahead of xgboost by 0.0400 +- 0.0849 average precision: within the spread",
            id="another ahead within the spread",
        ),
        pytest.param(
            {"xgboost": [0.5, 0.7], "adaboost": [0.1, 0.2], "logistic_regression": [0.61, 0.79]},
            "logistic_regression BEATS xgboost, which ships, by 0.1000 +- 0.0141 average precision, more than the "
            "spread between folds; look at the declared model and features before you trust this one",
            id="another ahead beyond the spread",
        ),
        pytest.param(
            {"xgboost": [0.5, 0.7], "adaboost": [0.5, 0.7]},
            "xgboost and adaboost share the highest average precision",
            id="tie",
        ),
    ],
)
def test_the_lead_is_described(precisions: dict[str, list[float]], sentence: str) -> None:
    """The sentence names the best other candidate and compares its lead with the spread over folds."""
    assert describe_lead(report_of(**precisions)) == sentence


def test_the_spread_is_that_of_paired_differences() -> None:
    """Folds that are hard for both candidates do not widen the spread of their difference."""
    report = report_of(xgboost=[0.1, 0.5, 0.9], adaboost=[0.12, 0.53, 0.92])
    assert describe_lead(report).startswith("adaboost BEATS xgboost, which ships, by 0.0233 +- 0.0058")


def test_summary_is_of_the_sample() -> None:
    """Mean, sample standard deviation and the folds' own values."""
    assert summary((0.2, 0.4)) == {"mean": pytest.approx(0.3), "std": pytest.approx(0.1414214), "folds": [0.2, 0.4]}


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
    """Two folds, the last with fewer rows than latency is measured over."""
    monkeypatch.setattr(select, "LATENCY_CALLS", 60)
    return [drawn_fold(1, 100), drawn_fold(2, 50)]


def test_every_candidate_is_evaluated_on_every_fold(folds: list[Fold], mini_scorer: ScorerDeclaration) -> None:
    """Each candidate has the metrics that scikit-learn computes for it on each fold, a size and latencies."""
    # What joblib would do in other processes happens in this one, on one core.
    with parallel_config(backend="sequential"), threadpool_limits(1):
        report, latencies = compare_candidates(folds, mini_scorer)
    assert list(report) == latencies["candidate"].tolist() == list(CANDIDATES)
    assert all(found["size_kb"] > 0 for found in report.values())
    assert (latencies["p95_ms"] >= latencies["p50_ms"]).all()
    assert (latencies["p50_ms"] > 0).all()
    for name in ("logistic_regression", SHIPPED):
        for position, fold in enumerate(folds):
            model = CANDIDATES[name](mini_scorer, fold.train_label).fit(fold.train, fold.train_label)
            found = score(model, fold.validate)
            expected = roc_auc_score(fold.validate_label, found), average_precision_score(fold.validate_label, found)
            reported = (report[name][metric]["folds"][position] for metric in ("roc_auc", "average_precision"))
            assert tuple(reported) == pytest.approx(expected)


def test_stage_reports_every_candidate(trained: Path) -> None:
    """The report has a sentence, and per candidate mean, spread and folds of both metrics, and a size."""
    report = json.loads((trained / "reports" / "mini" / "selection.json").read_text())
    assert report["verdict"] == describe_lead(report["candidates"])
    assert list(report["candidates"]) == list(CANDIDATES)
    for found in report["candidates"].values():
        assert set(found) == {"roc_auc", "average_precision", "size_kb"}
        assert len(found["average_precision"]["folds"]) == 3
        assert found["average_precision"]["mean"] == pytest.approx(
            np.mean(found["average_precision"]["folds"]), rel=1e-5
        )


def test_stage_writes_the_table_that_the_report_holds(trained: Path) -> None:
    """The table has a line per candidate with the report's numbers, and no time of any kind."""
    table = pd.read_csv(trained / "reports" / "mini" / "selection.csv", index_col="candidate")
    assert table.columns.tolist() == ["average_precision", "std", "roc_auc", "size_kb"]
    report = json.loads((trained / "reports" / "mini" / "selection.json").read_text())["candidates"]
    assert {name: found["roc_auc"]["mean"] for name, found in report.items()} == pytest.approx(
        table["roc_auc"].to_dict(), rel=1e-5
    )


def test_stage_says_table_and_verdict(trained_output: tuple[Path, dict[str, str]]) -> None:
    """The stage ends with its sentence, below a table that also has the latencies."""
    folder, printed = trained_output
    lines = printed["select"].splitlines()
    assert lines[-1] == json.loads((folder / "reports" / "mini" / "selection.json").read_text())["verdict"]
    assert [line.split()[0] for line in lines[-6:-1]] == list(CANDIDATES)
    assert {"p50_ms", "p95_ms"} <= set(lines[-7].split())


def test_latencies_are_no_output_of_dvc(trained: Path) -> None:
    """The latencies, which no second run repeats, lie in a file that no stage declares, alone or in a folder."""
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
