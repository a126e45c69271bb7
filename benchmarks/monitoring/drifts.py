"""Drifts after a model was trained: per drift the log of the changed rows, and how often each is drawn."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.command import ROOT
from benchmarks.monitoring.steady_log import LabelledRows, log_of
from training.monitoring.log import Log
from training.run.files import BUILD

SEED = 11
AMOUNT = {"transaction": "amount_usd", "refund": "amount"}
MISSING = {"transaction": "address_age_days", "refund": "refunds"}


def drifts(labelled: LabelledRows, steady: Log) -> Iterator[tuple[str, Log, npt.NDArray[np.float64]]]:
    """Each drift's name, its log, and how much more often than another each prediction is drawn."""
    rows, evenly, name = labelled.steady, np.ones(len(steady.time)), labelled.scorer.bundle.scorer
    amounts = {AMOUNT[name]: (rows[AMOUNT[name]] * 1.3).round(2)}
    yield "the amount times 1.3", log_of(labelled, rows.assign(**amounts)), evenly
    yield "one category four times as frequent", steady, np.where(_is_of_one_category(rows), 4.0, 1.0)
    yield "twice as many frauds", steady, np.where(steady.outcome_label == 1, 2.0, 1.0)
    yield "a field that is always missing", log_of(labelled, rows.assign(**{MISSING[name]: np.nan})), evenly
    shuffled = np.random.default_rng(SEED).permutation(steady.outcome_label)
    yield "labels rewired, features unchanged", replace(steady, outcome_label=shuffled), evenly


def _is_of_one_category(rows: pd.DataFrame) -> "pd.Series[bool]":
    """Whether a request is of one chain, or of one category of items."""
    if "chain" in rows:
        return rows["chain"] == "TRON"
    catalogue = pd.read_csv(ROOT / BUILD / "refund" / "catalogue.csv")
    return rows["item"].isin(catalogue["name"][catalogue["category"] == "Electronics"])
