"""Drifts after a model was trained: per drift the log of the changed rows, and how often each is drawn."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.command import ROOT
from benchmarks.monitoring.steady_log import LabelledRows, log_of
from training.monitoring.log import Log
from training.run.files import BUILD

SEED = 11


class Drifted(NamedTuple):
    """A log with a drift."""

    log: Log
    weight: npt.NDArray[np.float64]
    """How much more often than another each prediction is drawn."""


def _evenly(log: Log) -> Drifted:
    return Drifted(log, np.ones(len(log.time)))


def _scaled(labelled: LabelledRows, _steady: Log) -> Drifted:
    rows = labelled.steady
    name = labelled.declared.costs.amount if labelled.declared.costs else labelled.declared.label
    return _evenly(log_of(labelled, rows.assign(**{name: (rows[name] * 1.3).round(2)})))


def _shifted(labelled: LabelledRows, steady: Log) -> Drifted:
    """Four times the weight for requests of one chain, or for items of one category."""
    return Drifted(steady, np.where(_is_of_one_category(labelled.steady), 4.0, 1.0))


def _is_of_one_category(rows: pd.DataFrame) -> npt.NDArray[np.bool_]:
    if "chain" in rows:
        return np.array(rows["chain"] == "TRON")
    catalogue = pd.read_csv(ROOT / BUILD / "refund" / "catalogue.csv")
    return np.array(rows["item"].isin(catalogue.loc[catalogue["category"] == "Electronics", "name"]))


def _doubled(_labelled: LabelledRows, steady: Log) -> Drifted:
    return Drifted(steady, np.where(steady.outcome_label == 1, 2.0, 1.0))


def _missing(labelled: LabelledRows, _steady: Log) -> Drifted:
    name = "address_age_days" if "address_age_days" in labelled.rows else "refunds"
    return _evenly(log_of(labelled, labelled.steady.assign(**{name: np.nan})))


def _shuffled(_labelled: LabelledRows, steady: Log) -> Drifted:
    return _evenly(replace(steady, outcome_label=np.random.default_rng(SEED).permutation(steady.outcome_label)))


DRIFTS: Mapping[str, Callable[[LabelledRows, Log], Drifted]] = {
    "the amount times 1.3": _scaled,
    "one category four times as frequent": _shifted,
    "twice as many frauds": _doubled,
    "a field that is always missing": _missing,
    "labels rewired, features unchanged": _shuffled,
}
