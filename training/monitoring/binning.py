"""Binning: recorded values -> the bins in which the baseline counted its own."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from handler.records.record import keyed_hash

# A feature that the record does not hold, because it is private or the version that scored had another contract.
UNRECORDED = 65_535
_ABSENT = object()


@dataclass(frozen=True)
class Binning:
    """How values of the baseline's features become bins: 0 where missing, then as `training.baseline` counts them."""

    features: Mapping[str, Mapping[str, Any]]
    hash_key: bytes = b""
    """What private values were hashed with."""
    hashed: frozenset[str] = frozenset()

    def bins(self, name: str, values: Sequence[Any]) -> npt.NDArray[np.uint16]:
        """Each recorded value's bin; a label that the baseline does not have counts as "other", the first one."""
        described = self.features[name]
        if "edges" in described:
            numbers = np.array(
                [value if isinstance(value, float | int) else math.nan for value in values], dtype=np.float64
            )
            places = 1 + np.searchsorted(np.array(described["edges"]), numbers, side="left")
            return np.where(np.isnan(numbers), 0, places).astype(np.uint16)
        labels = described["labels"]
        if name in self.hashed:
            labels = [keyed_hash(label, self.hash_key) for label in labels]
        codes = {label: code for code, label in enumerate(labels, start=1)}
        codes[None] = 0
        return np.array([codes.get(value, 1) for value in values], dtype=np.uint16)

    def matrix(self, recorded: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.uint16]:
        """(n_predictions, n_features), in the baseline's order; UNRECORDED where a prediction holds no such feature."""
        found = np.full((len(recorded), len(self.features)), UNRECORDED, dtype=np.uint16)
        for index, name in enumerate(self.features):
            values = [features.get(name, _ABSENT) for features in recorded]
            is_there = np.array([value is not _ABSENT for value in values], dtype=bool)
            if is_there.any():
                found[is_there, index] = self.bins(name, [value for value in values if value is not _ABSENT])
        return found
