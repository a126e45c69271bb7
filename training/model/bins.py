"""Bins of a feature's values, the first one for missing values."""

import numpy as np
import numpy.typing as npt

from training.run.matrix import Positions


def number_bins(numbers: npt.NDArray[np.floating], edges: npt.ArrayLike) -> Positions:
    """Each number's bin: 0 where it is NaN, else 1 and up; a bin includes its upper edge, and the last one has none.

    >>> number_bins(np.array([np.nan, 0.5, 1.0, 7.0]), [1.0, 2.0]).tolist()
    [0, 1, 1, 3]
    """
    places = 1 + np.searchsorted(np.asarray(edges, dtype=np.float64), numbers.astype(np.float64), side="left")
    return np.where(np.isnan(numbers), 0, places)


def label_bins(codes: npt.NDArray[np.floating]) -> Positions:
    """Each label's bin by its code: 0 where it is NaN, else the code and 1."""
    return np.where(np.isnan(codes), -1, codes).astype(np.intp) + 1
