"""The handbook's protocol: a week to learn from, a week in which labels are late, a week to be judged on."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from training.declaration import ScorerDeclaration
from training.model.folds import Positions
from training.params import SECONDS_A_DAY

# Day 0 of the data, which count seconds from its midnight.
FIRST_DAY = pd.Timestamp("2018-04-01")
WEEK_DAYS = 7


def weekly_positions(rows: pd.DataFrame, scorer: ScorerDeclaration, start: str) -> tuple[Positions, Positions]:
    """The positions of the training week that begins on a day, and of the test week, which follows after the delay.

    Each test day is without the customers whose fraud of the training week or later was known by then: one that was
    caught is not paid for twice.
    """
    day = rows[scorer.time].to_numpy() // SECONDS_A_DAY
    first = (pd.Timestamp(start) - FIRST_DAY).days
    delay = round(scorer.split.label_delay_days)
    tested_from = first + WEEK_DAYS + delay
    known_from = _first_fraud_day(rows, scorer, day, first) + delay + 1
    learned = (day >= first) & (day < first + WEEK_DAYS)
    # A customer without a fraud has NaN, which no day has reached.
    tested = (day >= tested_from) & (day < tested_from + WEEK_DAYS) & ~(day >= known_from)
    return np.flatnonzero(learned), np.flatnonzero(tested)


def _first_fraud_day(
    rows: pd.DataFrame, scorer: ScorerDeclaration, day: npt.NDArray[np.int64], since: int
) -> npt.NDArray[np.float64]:
    """Per row the day of its customer's first fraud from a day on, NaN where there is none."""
    is_fraud = (rows[scorer.label].to_numpy() == 1) & (day >= since)
    first = pd.Series(day[is_fraud]).groupby(rows[scorer.entity].to_numpy()[is_fraud]).min()
    found: npt.NDArray[np.float64] = rows[scorer.entity].map(first).to_numpy(dtype=np.float64)
    return found
