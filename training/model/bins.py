"""Bins of a feature's values, the first one for missing values."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from training.run.matrix import Matrix, Positions

# Twenty bins with equal shares of the training rows: fine enough to show a shift by a tenth of the spread, coarse
# enough for the rows of one day.
QUANTILES = np.linspace(0, 1, 21)[1:-1]
# One value in a thousand on each side is rare.
RARE = (0.001, 0.999)


def number_bins(numbers: npt.NDArray[np.floating], edges: npt.ArrayLike) -> Positions:
    """Each number's bin: 0 where it is NaN, else 1 and up; a bin includes its upper edge, and the last one has none.

    >>> number_bins(np.array([np.nan, 0.5, 1.0, 7.0]), [1.0, 2.0]).tolist()
    [0, 1, 1, 3]
    """
    places = 1 + np.searchsorted(np.asarray(edges, dtype=np.float64), numbers.astype(np.float64), side="left")
    return np.where(np.isnan(numbers), 0, places)


def label_bins(codes: npt.NDArray[np.floating]) -> Positions:
    """The bin of each level's code: 0 where it is NaN, else the code plus 1."""
    return np.where(np.isnan(codes), -1, codes).astype(np.intp) + 1


def just_above(values: Matrix) -> list[float]:
    """Halfway from each number to the next float32, so that the float64 of the same decimal lies below it too.

    The float32 of 9.99 is 9.989999771118164, which is below 9.99; that of 1/3 is 0.3333333432674408, which is above.
    """
    nearest = values.astype(np.float32)
    halfway: list[float] = ((nearest.astype(np.float64) + np.nextafter(nearest, np.float32(np.inf))) / 2).tolist()
    return halfway


def binned(column: Matrix, labels: Sequence[str] | None) -> dict[str, Any]:
    """A feature's bins and the number of rows in each; the first bin holds the missing values.

    A number's bins end at its `edges`, and the last one is open; a category has a bin for each of its levels, `labels`.
    """
    if labels is not None:
        counts = np.bincount(label_bins(column), minlength=1 + len(labels))
        return {"labels": list(labels), "counts": counts.tolist()}
    present = column[~np.isnan(column)]
    edges = just_above(np.unique(np.quantile(present, QUANTILES, method="lower"))) if len(present) else []
    counts = np.bincount(number_bins(column, edges), minlength=len(edges) + 2)
    rare: list[float] = []
    if len(present):
        low, high = np.quantile(present, RARE, method="lower").astype(np.float32)
        rare = [*(-edge for edge in just_above(np.array([-low]))), *just_above(np.array([high]))]
    return {"edges": edges, "rare": rare, "counts": counts.tolist()}
