"""What each step of training is worth on the test window: more rows, early stopping with tuning, chosen resampling."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.command import ROOT
from benchmarks.quality.sets import Line, declared_set, window_of
from benchmarks.tables import SCORERS, number, table, with_interval
from training.compare import compare_variants
from training.data.catalogue import read_catalogues
from training.data.past_features import read_with_past_features
from training.data.row_checks import check_rows
from training.data.split import split_by_time
from training.declaration import ScorerDeclaration, declared_scorer
from training.evaluation.intervals import entity_groups
from training.evaluation.measure import Evaluation, measure
from training.model.folds import resample_folds, training_folds
from training.monitoring.dated_model import model_at
from training.params import Folds, Model, Resampling
from training.run.progress import say
from training.tune import best_of, search

# The declaration and the defaults before these steps: fixed rounds, SMOTE, and a fifth of the rows for calibration.
BEFORE = Model(
    rounds=200, max_depth=5, learning_rate=0.08, min_child_weight=5, subsample=0.8, colsample_bytree=0.8, reg_lambda=1
)
MOST_ROWS = 150_000
SMOTE = Resampling(method="smote", ratio=0.1)
STEPS = (
    "a calibration window, SMOTE 0.1, 200 rounds",
    "learns from every row before the test window",
    "early stopping and tuning",
    "resampling chosen by the folds",
)
METRICS = {
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "recall_at_1pct_fpr": "recall at 1 % FPR",
    "expected_calibration_error": "calibration error",
    "recall": "recall at the threshold",
}


def checked_set(name: str, one_in: int) -> tuple[ScorerDeclaration, pd.DataFrame]:
    """A shipped scorer or benchmark set, and its checked rows in order of time: the frauds and one in `one_in` others.

    For a benchmark set with entities, it is the rows of one in `one_in` entities instead.
    """
    if name in SCORERS:
        scorer = declared_scorer(name, ROOT / "params.yaml")
        rows = read_with_past_features(scorer)
        return scorer, rows[(rows[scorer.label] == 1) | (rows.index % one_in == 0)].reset_index(drop=True)
    scorer, rows = declared_set(name, one_in)
    clean = check_rows(rows, scorer).clean
    return scorer, clean.sort_values(scorer.time, kind="stable", ignore_index=True)


def with_calibration_window(scorer: ScorerDeclaration) -> ScorerDeclaration:
    """The scorer with a calibration window as long as its test window."""
    split = scorer.split
    lengths = {"calibrate": split.test, "calibrate_days": split.test_days}
    return scorer.model_copy(update={"split": split.model_copy(update=lengths)})


def steps_of(
    scorer: ScorerDeclaration, train: pd.DataFrame, trials: int
) -> Iterator[tuple[str, ScorerDeclaration, Model]]:
    """Per step, its name, the scorer as it would be declared, and the model's parameters."""
    before = scorer.model_copy(update={"resampling": SMOTE})
    yield STEPS[0], with_calibration_window(before), BEFORE
    yield STEPS[1], before, BEFORE
    tuning = scorer.tuning.model_copy(update={"mode": "tpe", "trials": trials})
    open_model = Model.model_validate({name: getattr(scorer.model, name) for name in {"max_bin"} & scorer.model.pinned})
    automatic = scorer.model_copy(
        update={"resampling": Resampling(method="auto"), "tuning": tuning, "model": open_model}
    )
    with window_of(train) as window:
        folds = training_folds(window, automatic, read_catalogues(scorer))
    for name, resampling in ((STEPS[2], SMOTE), (STEPS[3], compare_variants(folds, automatic)[1].resampling)):
        resampled = automatic.model_copy(update={"resampling": resampling})
        finished = search(resample_folds(folds, resampled), resampled)
        yield name, resampled, best_of(finished).model


def steps(name: str, one_in: int, trials: int) -> list[Line]:
    """Per step, the METRICS on the set's test window, with their 95 % intervals."""
    scorer, rows = checked_set(name, one_in)
    scorer = scorer.model_copy(update={"folds": sampled(len(rows), scorer.folds)})
    train = split_by_time(rows, scorer)["train"]
    lines = []
    for step, declared, parameters in steps_of(scorer, train, trials):
        model = model_at(np.inf, rows, declared, parameters, read_catalogues(scorer))
        scored = model.scored(model.window, declared)
        groups = entity_groups(model.window[scorer.entity]) if scorer.entity else None
        evaluation = Evaluation(scored.probability, scored.label, [model.threshold], groups=groups)
        metrics, intervals, _ = measure(evaluation, seed=scorer.seed)
        line = {"set": name, "step": step, "resampling": f"{declared.resampling.method} {declared.resampling.ratio:g}"}
        line |= {"rounds": parameters.rounds, "rows": len(scored.label), "frauds": int(scored.label.sum())}
        for metric in METRICS:
            low, high = intervals[metric]
            line |= {metric: metrics[metric], f"{metric}_low": low, f"{metric}_high": high}
        say(f"{name}: {step}: average precision {metrics['average_precision']:.4f}")
        lines.append(line)
    return lines


def sampled(n_rows: int, folds: Folds) -> Folds:
    """The folds of a set, with at most MOST_ROWS rows to choose by."""
    return folds.model_copy(update={"sample": min(folds.sample, MOST_ROWS / n_rows)})


def all_steps(one_in: Mapping[str, int], trials: int) -> list[Line]:
    """The steps of each set or shipped scorer, on one in `one_in` of its rows."""
    return [line for name, of_them in one_in.items() for line in steps(name, of_them, trials)]


def steps_table(report: Mapping[str, Any]) -> str:
    """The steps of every set, in their order."""
    rows = []
    for line in report["steps"]["lines"]:
        cells = [line["set"], line["step"]]
        for metric in METRICS:
            bounds = [line[f"{metric}_low"], line[f"{metric}_high"]]
            is_error = metric == "expected_calibration_error"
            cells.append(number(line[metric]) if is_error else with_interval(line[metric], bounds))
        rows.append(cells)
    return table(["set", "step, added to the line above", *METRICS.values()], rows)
