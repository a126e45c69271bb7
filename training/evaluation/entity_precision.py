"""The precision of reviewing the highest-scored cards or accounts of each day."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from handler.scoring.fields import SECONDS_A_DAY
from training.errors import StageError
from training.evaluation.intervals import DRAWS, interval, share_of_sample_interval
from training.run.matrix import Floats, Labels

TOP = (10, 50, 100)


def precision_at_top(entity: npt.NDArray[np.object_], seconds: Floats, score: Floats, label: Labels, top: int) -> float:
    """The mean over days of `daily_precision`."""
    return float(daily_precision(entity, seconds, score, label, top).mean())


def daily_precision(entity: npt.NDArray[np.object_], seconds: Floats, score: Floats, label: Labels, top: int) -> Floats:
    """Per day the share of frauds among the `top` entities with the highest score of the day: (n_days,).

    This is the card precision of Le Borgne et al. (Fraud Detection Handbook, 2022): an entity counts as fraud if
    any of its rows of the day is, and one that was found on an earlier day is not reviewed again. On a day with fewer
    entities than `top` the divisor is still `top`. Raises StageError if no row has an entity.
    """
    rows = pd.DataFrame({"day": seconds // SECONDS_A_DAY, "entity": entity, "score": score, "is_fraud": label}).dropna(
        subset="entity"
    )
    if rows.empty:
        raise StageError("the entity column has no value in the test window; declare entity: null, or another column")
    found_entities: set[object] = set()
    shares = []
    for _, day in rows.groupby("day"):
        entities = day[~day["entity"].isin(found_entities)].groupby("entity")[["score", "is_fraud"]].max()
        reviewed = entities.sort_values("score", ascending=False, kind="stable").head(top)
        caught = reviewed.index[reviewed["is_fraud"] == 1]
        found_entities.update(caught)
        shares.append(len(caught) / top)
    return np.array(shares)


def daily_precision_interval(daily: Floats, top: int, seed: int) -> list[float]:
    """The 95 % bootstrap interval of the mean of daily precisions among `top` entities; days are drawn."""
    days = np.random.default_rng(seed).integers(0, len(daily), (DRAWS, len(daily)))
    (bounds,) = interval(daily[days].mean(axis=1, keepdims=True))
    return list(share_of_sample_interval(bounds, float(daily.mean()), len(daily) * top))
