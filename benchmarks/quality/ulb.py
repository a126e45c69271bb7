"""Real card payments (ULB/Worldline), the last fifth by time: the published numbers beside ours."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from benchmarks.quality.sets import Line, declared_set
from benchmarks.tables import table, with_interval
from training.data.catalogue import read_catalogues
from training.data.row_checks import check_rows, sampled_rows
from training.data.split import split_by_time
from training.declaration import ScorerDeclaration
from training.evaluation.calibration import calibrated
from training.evaluation.measure import Evaluation, measure
from training.model.fit import fit_pipeline, margins
from training.model.resampling import variant_name
from training.params import Resampling
from training.run.progress import say

VARIANTS = (Resampling(method="none"), Resampling(method="smote"))
# From Amazon's Fraud Dataset Benchmark (arXiv 2208.14417) on the same rows. It does not publish an average precision;
# that range is from other published XGBoost models.
PUBLISHED = {
    "roc_auc": "0.985 to 0.992",
    "average_precision": "0.79 to 0.805",
    "recall_at_1pct_fpr": "0.853 to 0.88",
}

TITLES = {
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "recall_at_1pct_fpr": "recall at 1 % false positive rate",
}


def first_and_last(scorer: ScorerDeclaration, rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The checked rows before the test window, and those of the test window."""
    windows = split_by_time(check_rows(sampled_rows(rows, scorer), scorer).clean, scorer)
    return windows["train"], windows["test"]


def tested(scorer: ScorerDeclaration, first: pd.DataFrame, last: pd.DataFrame) -> Line:
    """The PUBLISHED metrics of the scorer's pipeline on the last rows, with their 95 % intervals."""
    pipeline = fit_pipeline(scorer, scorer.model, read_catalogues(scorer), first)
    # Only the ranking is measured here, so the probability is not calibrated and no threshold is chosen.
    probability = calibrated(margins(pipeline, last), {"slope": 1.0, "intercept": 0.0})
    metrics, intervals, _ = measure(Evaluation(probability, last[scorer.label].to_numpy(), [0.5]), seed=scorer.seed)
    return {metric: (metrics[metric], *intervals[metric]) for metric in PUBLISHED}


def ulb(one_in: int) -> list[Line]:
    """Each metric as published, without resampling, and with SMOTE."""
    scorer, rows = declared_set("ulb", one_in)
    first, last = first_and_last(scorer, rows)
    lines: list[Line] = [{"measured": metric, "published": span} for metric, span in PUBLISHED.items()]
    for resampling in VARIANTS:
        name = variant_name(resampling)
        say(f"ulb: {name}")
        metrics = tested(scorer.model_copy(update={"resampling": resampling}), first, last)
        for line in lines:
            line |= dict(zip((name, f"{name} low", f"{name} high"), metrics[line["measured"]], strict=True))
    return lines


def ulb_table(report: Mapping[str, Any]) -> str:
    """Our metrics on the last fifth of ULB beside the published ones."""
    rows = [
        [TITLES[line["measured"]], line["published"]]
        + [
            with_interval(line[variant], [line[f"{variant} low"], line[f"{variant} high"]])
            for variant in ("none", "smote 0.1")
        ]
        for line in report["ulb"]["lines"]
    ]
    return table(["ULB, the last fifth", "published", "no resampling", "SMOTE 0.1"], rows)
