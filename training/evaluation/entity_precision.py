"""Entities: how many of the cards or accounts that a team would look at each day are really defrauded."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from training.errors import StageError
from training.params import SECONDS_A_DAY
from training.run.matrix import Floats, Labels

TOP = (10, 50, 100)


def precision_at_top(entity: npt.NDArray[np.object_], seconds: Floats, score: Floats, label: Labels, top: int) -> float:
    """The mean of `daily_precision` over the days."""
    return float(daily_precision(entity, seconds, score, label, top).mean())


def daily_precision(entity: npt.NDArray[np.object_], seconds: Floats, score: Floats, label: Labels, top: int) -> Floats:
    """Per day the share of frauds among the `top` entities with the highest score of the day: (n_days,).

    This is the card precision of Le Borgne et al. (Fraud Detection Handbook, 2022): an entity counts as fraud where
    any of its rows of the day is, and one that was found on an earlier day is looked at no more. A day with fewer
    entities than `top` is still divided by `top`. Raises StageError where no row has an entity.
    """
    rows = pd.DataFrame({"day": seconds // SECONDS_A_DAY, "entity": entity, "score": score, "is_fraud": label}).dropna(
        subset="entity"
    )
    if rows.empty:
        raise StageError("the entity column has no value in the test window; declare entity: null, or another column")
    found: set[object] = set()
    shares = []
    for _, of_day in rows.groupby("day"):
        entities = of_day[~of_day["entity"].isin(found)].groupby("entity")[["score", "is_fraud"]].max()
        first = entities.sort_values("score", ascending=False, kind="stable").head(top)
        caught = first.index[first["is_fraud"] == 1]
        found.update(caught)
        shares.append(len(caught) / top)
    return np.array(shares)
