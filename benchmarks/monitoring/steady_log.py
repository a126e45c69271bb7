"""A shipped scorer's labelled rows, scored by a model of earlier rows, from which windows are drawn."""

from contextlib import chdir
from dataclasses import dataclass
from math import inf

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.command import ROOT
from handler.scoring.fields import SECONDS_A_DAY
from training.data.catalogue import read_catalogues
from training.data.past_features import read_with_past_features
from training.declaration import ScorerDeclaration
from training.model.chosen import chosen_model, chosen_scorer
from training.monitoring.dated_model import DatedModel, ScoredRows, dated_declaration, model_at, state_of

# Nothing drifts before this day: the transactions get a new chain on day 140, both scorers their late fraud on day 150.
STEADY_UNTIL_DAY = 140
# The model is trained as of this day, which leaves five weeks in which nothing drifts.
MODEL_DAY, TEST_DAYS = 105, 7.0


@dataclass(frozen=True)
class Labelled:
    """A scorer's declaration and model, and labelled rows that the model was not trained on, in order of time."""

    declared: ScorerDeclaration
    model: DatedModel
    rows: pd.DataFrame
    began: float
    """When the scorer's rows begin (day 0), in seconds since 1970."""
    rows_a_day: int

    @property
    def steady(self) -> pd.DataFrame:
        """The rows of the days on which nothing drifts."""
        return self.rows[self.rows[self.declared.time] < self.began + STEADY_UNTIL_DAY * SECONDS_A_DAY]

    @property
    def rows_a_block(self) -> int:
        """The number of requests in a block."""
        return round(self.rows_a_day * self.declared.monitoring.block_days)

    def scored(self, rows: pd.DataFrame) -> ScoredRows:
        """Rows as the model scores them."""
        return self.model.scored(rows, self.declared)

    def drawn(self, scored: ScoredRows, index: npt.NDArray[np.intp]) -> ScoredRows:
        """The rows at `index`, with new, evenly spaced timestamps at the rows' mean rate."""
        seconds = np.arange(len(index)) * (SECONDS_A_DAY / self.rows_a_day)
        kept = {name: getattr(scored, name)[index] for name in ("label", "probability", "flagged", "blocked", "bins")}
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
    """One in `every` rows from MODEL_DAY on, and the model that a retraining on that day would have produced."""
    declared = chosen_scorer(name, ROOT)
    with chdir(ROOT):
        rows = read_with_past_features(declared)
        catalogue = read_catalogues(declared)
    seconds, is_fraud = rows[declared.time], rows[declared.label] == 1
    began = float(seconds.iloc[0])
    at = began + MODEL_DAY * SECONDS_A_DAY
    kept = (rows.index % every == 0) | is_fraud
    model = model_at(
        at, rows[kept & (seconds < at)], dated_declaration(declared, TEST_DAYS), chosen_model(name, ROOT), catalogue
    )
    later = rows[seconds >= at].iloc[::every].reset_index(drop=True)
    rows_a_day = round(len(later) / (np.ptp(later[declared.time]) / SECONDS_A_DAY))
    return Labelled(declared, model, later, began, rows_a_day)
