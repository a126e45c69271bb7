"""Drifts after a model was trained: per drift, the changed rows with their scores, and the rows' weights."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.command import ROOT
from benchmarks.monitoring.steady_log import Labelled
from training.monitoring.dated_model import ScoredRows
from training.run.files import BUILD, read_text_table

SEED = 11


def drifts(labelled: Labelled, steady: ScoredRows) -> Iterator[tuple[str, ScoredRows, npt.NDArray[np.float64]]]:
    """Each drift's name, its rows, and the relative frequency with which each row is drawn."""
    rows, evenly = labelled.steady, np.ones(len(steady.time))
    amount, missing = ("amount_usd", "address_age_days") if "chain" in rows else ("amount", "refunds")
    yield "the amount times 1.3", labelled.scored(rows.assign(**{amount: (rows[amount] * 1.3).round(2)})), evenly
    yield "one category four times as frequent", steady, np.where(_is_of_one_category(rows), 4.0, 1.0)
    yield "twice as many frauds", steady, np.where(steady.label == 1, 2.0, 1.0)
    yield "a field that is always missing", labelled.scored(rows.assign(**{missing: np.nan})), evenly
    shuffled = np.random.default_rng(SEED).permutation(steady.label)
    yield "labels rewired, features unchanged", replace(steady, label=shuffled), evenly


def _is_of_one_category(rows: pd.DataFrame) -> "pd.Series[bool]":
    """Whether each row has a particular chain, or an item of a particular category."""
    if "chain" in rows:
        return rows["chain"] == "TRON"
    catalogue = read_text_table(ROOT / BUILD / "refund" / "catalogue.csv")
    return rows["item"].isin(catalogue["name"][catalogue["category"] == "Electronics"])
