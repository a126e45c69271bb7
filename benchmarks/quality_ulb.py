"""Real card payments (ULB/Worldline), the last fifth by time: the published numbers beside ours."""

import numpy as np
import pandas as pd

from benchmarks.quality_part import Line, Part
from benchmarks.quality_sets import declared_set
from training.compare import variant_name
from training.data.catalogue import read_catalogues
from training.data.row_checks import check_rows, sample_of
from training.data.split import split_by_time
from training.declaration import ScorerDeclaration
from training.evaluate import Evaluation, measure
from training.evaluation.calibration import calibrated
from training.model.fit import fit_pipeline, margins
from training.params import Resampling
from training.run.progress import say

ARMS = (Resampling(method="none"), Resampling(method="smote"))
# Amazon's Fraud Dataset Benchmark (arXiv 2208.14417) on the same rows; its average precision is not published, the
# span is that of other people's XGBoost.
PUBLISHED = {
    "roc_auc": "0.985 to 0.992",
    "average_precision": "0.79 to 0.805",
    "recall_at_1pct_fpr": "0.853 to 0.88",
}


def first_and_last(scorer: ScorerDeclaration, rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The checked rows before the test window, training and calibration together, and those of the test window."""
    windows = split_by_time(check_rows(sample_of(rows, scorer), scorer).clean, scorer)
    return pd.concat([windows["train"], windows["calibrate"]], ignore_index=True), windows["test"]


def tested(scorer: ScorerDeclaration, first: pd.DataFrame, last: pd.DataFrame) -> Line:
    """The PUBLISHED metrics of the scorer's pipeline on the last rows, with their 95 % intervals."""
    pipeline = fit_pipeline(scorer, scorer.model, read_catalogues(scorer), first)
    # The ranking is all that is measured here: the probability need not be calibrated, the threshold not chosen.
    probability = calibrated(margins(pipeline, last), {"slope": 1.0, "intercept": 0.0})
    metrics, intervals, _ = measure(Evaluation(probability, last[scorer.label].to_numpy(), [0.5]), seed=scorer.seed)
    return {metric: (metrics[metric], *intervals[metric]) for metric in PUBLISHED}


def ulb() -> Part:
    """Each metric as published, without resampling, and with the default SMOTE."""
    scorer, rows = declared_set("ulb")
    first, last = first_and_last(scorer, rows)
    lines: list[Line] = [{"measured": metric, "published": span} for metric, span in PUBLISHED.items()]
    for arm in ARMS:
        say(f"ulb: {variant_name(arm)}")
        found = tested(scorer.model_copy(update={"resampling": arm}), first, last)
        for line in lines:
            name = variant_name(arm)
            line |= dict(zip((name, f"{name} low", f"{name} high"), found[line["measured"]], strict=True))
    frauds = int(np.sum(last[scorer.label]))
    return Part(lines, [f"test: {len(last):,} rows, {frauds} frauds; low and high are 95 % intervals (bootstrap)"])
