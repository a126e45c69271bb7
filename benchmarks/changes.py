"""What can change after a model was trained: per change the log of the changed rows, and how often each is drawn."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.scene import Scene, log_of
from benchmarks.served import ROOT
from training.monitoring.log import Log
from training.run.files import BUILD

SEED = 11


class Changed(NamedTuple):
    """A log that was changed."""

    log: Log
    weight: npt.NDArray[np.float64]
    """How much more often than another each prediction comes."""


def _evenly(log: Log) -> Changed:
    return Changed(log, np.ones(len(log.time)))


def _scaled(scene: Scene, _steady: Log) -> Changed:
    rows = scene.steady
    name = scene.declared.costs.amount if scene.declared.costs else scene.declared.label
    return _evenly(log_of(scene, rows.assign(**{name: (rows[name] * 1.3).round(2)})))


def _shifted(scene: Scene, steady: Log) -> Changed:
    """Four times the weight for requests of one chain, or for items of one category."""
    return Changed(steady, np.where(_is_of_one_category(scene.steady), 4.0, 1.0))


def _is_of_one_category(rows: pd.DataFrame) -> npt.NDArray[np.bool_]:
    if "chain" in rows:
        return np.array(rows["chain"] == "TRON")
    catalogue = pd.read_csv(ROOT / BUILD / "refund" / "catalogue.csv")
    return np.array(rows["item"].isin(catalogue.loc[catalogue["category"] == "Electronics", "name"]))


def _doubled(_scene: Scene, steady: Log) -> Changed:
    return Changed(steady, np.where(steady.outcome_label == 1, 2.0, 1.0))


def _broken(scene: Scene, _steady: Log) -> Changed:
    name = "address_age_days" if "address_age_days" in scene.rows else "refunds"
    return _evenly(log_of(scene, scene.steady.assign(**{name: np.nan})))


def _rewired(_scene: Scene, steady: Log) -> Changed:
    return _evenly(replace(steady, outcome_label=np.random.default_rng(SEED).permutation(steady.outcome_label)))


CHANGES: Mapping[str, Callable[[Scene, Log], Changed]] = {
    "the amount times 1.3": _scaled,
    "one category four times as frequent": _shifted,
    "twice as many frauds": _doubled,
    "a field that is always missing": _broken,
    "labels rewired, features unchanged": _rewired,
}
