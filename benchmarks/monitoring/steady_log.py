"""A shipped scorer's labelled rows as its model scored them, from which further windows are drawn."""

from dataclasses import dataclass
from math import inf

import joblib
import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.command import ROOT
from handler.scoring.scorer import load_scorer
from training.declaration import ScorerDeclaration, declared_scorer
from training.monitoring.dated_model import DatedModel, ScoredRows, state_of
from training.params import SECONDS_A_DAY
from training.run.files import BUILD, BUNDLES

# Before it: the transaction rows get a new chain on day 140, both their late fraud on day 150.
STEADY_UNTIL_DAY = 140


@dataclass(frozen=True)
class Labelled:
    """A scorer's declaration and model, and labelled rows that it was not trained on, by time."""

    declared: ScorerDeclaration
    model: DatedModel
    rows: pd.DataFrame
    began: float
    """When the training rows begin, in seconds: day 0."""
    rows_a_day: int

    @property
    def steady(self) -> pd.DataFrame:
        """The rows of the days on which nothing drifts."""
        return self.rows[self.rows[self.declared.time] < self.began + STEADY_UNTIL_DAY * SECONDS_A_DAY]

    @property
    def rows_a_block(self) -> int:
        """How many requests come in a block."""
        return round(self.rows_a_day * self.declared.monitoring.block_days)

    def scored(self, rows: pd.DataFrame) -> ScoredRows:
        """Rows as the model scores them."""
        return self.model.scored(rows, self.declared)

    def drawn(self, scored: ScoredRows, index: npt.NDArray[np.intp]) -> ScoredRows:
        """Some of the rows, one after the other at the rows' pace."""
        seconds = np.arange(len(index)) * (SECONDS_A_DAY / self.rows_a_day)
        kept = {name: getattr(scored, name)[index] for name in ("label", "probability", "flagged", "bins")}
        return ScoredRows(time=seconds, **kept)

    def state(self, scored: ScoredRows) -> str:
        """The monitor's state after these rows, all of whose labels are known."""
        return state_of([scored], self.model, self.declared, inf)

    def states(self, scored: ScoredRows) -> list[str]:
        """The monitor's state after each block."""
        seconds = scored.time - scored.time[0]
        block = self.declared.monitoring.block_days * SECONDS_A_DAY
        ends = np.searchsorted(seconds, block * np.arange(1, seconds[-1] // block + 2))
        return [self.state(ScoredRows(**{name: column[:end] for name, column in vars(scored).items()})) for end in ends]


def labelled_rows(name: str, every: int = 1) -> Labelled:
    """The calibration and test rows of a shipped scorer, or one of so many."""
    declared, scorer = declared_scorer(name, ROOT / "params.yaml"), load_scorer(ROOT / BUNDLES / name)
    folder = ROOT / BUILD / name
    rows = pd.concat([pd.read_parquet(folder / "rows" / f"{window}.parquet") for window in ("calibrate", "test")])
    rows = rows.iloc[::every].sort_values(declared.time, kind="stable", ignore_index=True)
    began = float(pd.read_parquet(folder / "rows" / "train.parquet", columns=[declared.time])[declared.time].min())
    model = DatedModel(
        at=began,
        learned_until=began,
        pipeline=joblib.load(folder / "pipeline.joblib"),
        calibration=scorer.bundle.manifest["calibration"],
        threshold=scorer.threshold,
        baseline=scorer.bundle.baseline,
        window=rows,
    )
    rows_a_day = round(len(rows) / (np.ptp(rows[declared.time]) / SECONDS_A_DAY))
    return Labelled(declared, model, rows, began, rows_a_day)
