"""The bins of recorded values, as the baseline counts its own."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from handler.records.record import keyed_hash
from training.model.bins import number_bins

# The bin of a feature that is not in the record: it is private, or the version that scored had another contract.
UNRECORDED = 65_535
# If fewer of the baseline's values than this are expected among the hashes, finding none of them may be chance.
SURELY_KNOWN = 20
_ABSENT = object()


@dataclass(frozen=True)
class Binning:
    """How recorded values become bins: 0 if missing, else as `training.model.bins` counts them."""

    features: Mapping[str, Mapping[str, Any]]
    hash_key: bytes = b""
    """The key that private values were hashed with."""
    hashed: frozenset[str] = frozenset()

    def bins(self, name: str, values: Sequence[Any]) -> npt.NDArray[np.uint16]:
        """Each recorded value's bin; a level that the baseline lacks counts as "other", the baseline's first level."""
        described = self.features[name]
        if "edges" in described:
            numbers = np.array(
                [value if isinstance(value, float | int) else math.nan for value in values], dtype=np.float64
            )
            return number_bins(numbers, described["edges"]).astype(np.uint16)
        labels = described["labels"]
        if name in self.hashed:
            labels = [keyed_hash(label, self.hash_key) for label in labels]
        codes = {label: code for code, label in enumerate(labels, start=1)}
        codes[None] = 0
        return np.array([codes.get(value, 1) for value in values], dtype=np.uint16)

    def matrix(self, recorded: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.uint16]:
        """The bins, (n_predictions, n_features), in the baseline's order; UNRECORDED if a record lacks the feature."""
        matrix = np.full((len(recorded), len(self.features)), UNRECORDED, dtype=np.uint16)
        for index, name in enumerate(self.features):
            values = [features.get(name, _ABSENT) for features in recorded]
            is_recorded = np.array([value is not _ABSENT for value in values], dtype=bool)
            if is_recorded.any():
                matrix[is_recorded, index] = self.bins(name, [value for value in values if value is not _ABSENT])
        return matrix


def unread_hashes(
    bins: npt.NDArray[np.uint16], features: Mapping[str, Mapping[str, Any]], hashed: Iterable[str]
) -> list[str]:
    """The hashed features none of whose values is a level of the baseline: the log's key is another one, or missing.

    `bins` come from `Binning.matrix`, `features` from the baseline.
    """
    unread = []
    for index, name in enumerate(features):
        recorded = bins[:, index][(bins[:, index] != UNRECORDED) & (bins[:, index] > 0)]
        if name in set(hashed) and (recorded == 1).all():
            _, other, *counts = features[name]["counts"]
            if len(recorded) * sum(counts) >= SURELY_KNOWN * (other + sum(counts)) > 0:
                unread.append(name)
    return unread
