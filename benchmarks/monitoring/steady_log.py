"""A shipped scorer's labelled rows as the log of a function that scored them, from which further logs are drawn."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.command import ROOT
from handler.scoring.scorer import Scorer, load_scorer
from training.data.requests import requests_of
from training.declaration import ScorerDeclaration, declared_scorer
from training.monitoring.binning import Binning
from training.monitoring.blocks import blocks_of, join_outcomes
from training.monitoring.log import Log
from training.monitoring.verdict import judge_block, state_after
from training.params import SECONDS_A_DAY
from training.run.files import BUILD, BUNDLES

# Before it: the transaction rows get a new chain on day 140, both their late fraud on day 150.
STEADY_UNTIL_DAY = 140


@dataclass(frozen=True)
class LabelledRows:
    """A scorer, its declaration, and labelled rows that it was not trained on, by time."""

    scorer: Scorer
    declared: ScorerDeclaration
    rows: pd.DataFrame
    began: float
    """When the training rows begin, in seconds: day 0."""
    rows_a_day: int
    """How many requests come in a day."""

    @property
    def days(self) -> npt.NDArray[np.float64]:
        """On which day each row came."""
        since: npt.NDArray[np.float64] = self.rows[self.declared.time].to_numpy(np.float64) - self.began
        return since / SECONDS_A_DAY

    @property
    def steady(self) -> pd.DataFrame:
        """The rows of the days on which nothing drifts, in the order of `rows`, of which they are the first."""
        return self.rows[self.days < STEADY_UNTIL_DAY]

    @property
    def rows_a_block(self) -> int:
        """How many requests come in a block."""
        return round(self.rows_a_day * self.declared.monitoring.block_days)


def labelled_rows(name: str, every: int = 1) -> LabelledRows:
    """The calibration and test rows of a shipped scorer, or one of so many."""
    declared = declared_scorer(name, ROOT / "params.yaml")
    folder = ROOT / BUILD / name / "rows"
    rows = pd.concat([pd.read_parquet(folder / f"{window}.parquet") for window in ("calibrate", "test")])
    rows = rows.iloc[::every].sort_values(declared.time, kind="stable", ignore_index=True)
    began = float(pd.read_parquet(folder / "train.parquet", columns=[declared.time])[declared.time].min())
    rows_a_day = round(len(rows) / (np.ptp(rows[declared.time]) / SECONDS_A_DAY))
    return LabelledRows(load_scorer(ROOT / BUNDLES / name), declared, rows, began, rows_a_day)


def log_of(labelled: LabelledRows, rows: pd.DataFrame) -> Log:
    """The log of rows at their own times, each with its outcome."""
    scorer, binning = labelled.scorer, Binning(labelled.scorer.bundle.baseline["features"])
    requests = [scorer.request_model.model_validate(request) for request in requests_of(rows, scorer.contract)]
    scored = scorer.scores(requests)
    columns = {
        name: [scorer.display(index, score.vector[index]) for score in scored]
        for index, name in enumerate(scorer.bundle.features.names)
    }
    n, seconds = len(scored), rows[labelled.declared.time].to_numpy(np.float64)
    ids = np.arange(1, n + 1, dtype=np.uint64)
    return Log(
        time=seconds,
        probability=np.array([score.probability for score in scored]),
        flagged=np.array([score.is_flagged for score in scored]),
        n_warnings=np.zeros(n, dtype=np.uint8),
        milliseconds=np.zeros(n),
        weight=np.ones(n),
        id=ids,
        version=np.zeros(n, dtype=np.intp),
        bins=np.stack([binning.bins(name, values) for name, values in columns.items()], axis=1),
        versions=[scorer.version],
        outcome_time=seconds,
        outcome_id=ids,
        outcome_label=rows[labelled.declared.label].to_numpy(np.int8),
        counts={},
    )


def resampled(labelled: LabelledRows, log: Log, index: npt.NDArray[np.intp]) -> Log:
    """The log of some of its predictions, one after the other at the pace of the rows."""
    seconds = np.arange(len(index), dtype=np.float64) * (SECONDS_A_DAY / labelled.rows_a_day)
    ids = np.arange(1, len(index) + 1, dtype=np.uint64)
    columns = ("probability", "flagged", "n_warnings", "milliseconds", "weight", "version", "bins")
    kept = {name: getattr(log, name)[index] for name in columns}
    labels = log.outcome_label[index]
    return replace(log, **kept, time=seconds, id=ids, outcome_time=seconds, outcome_id=ids, outcome_label=labels)


def states(labelled: LabelledRows, log: Log) -> list[str]:
    """The state after each block."""
    policy = labelled.declared.monitoring
    label = join_outcomes(log, policy, labelled.declared.split.label_delay_days).label
    blocks = blocks_of(log, label, labelled.scorer.bundle.baseline, policy, labelled.scorer.threshold)
    verdicts = [judge_block(block, policy) for block in blocks]
    return [state_after(verdicts[:end], policy) for end in range(1, len(verdicts) + 1)]
