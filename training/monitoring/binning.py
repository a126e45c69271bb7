"""The bins of recorded values, as the baseline counts its own."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from handler.records.record import keyed_hash
from training.model.bins import number_bins

# A feature that the record does not hold: it is private, or the version that scored had another contract.
UNRECORDED = 65_535
# With fewer labels to be expected among the hashes than this, that none is recognised may be chance.
SURELY_KNOWN = 20
_ABSENT = object()


@dataclass(frozen=True)
class Binning:
    """How recorded values become bins: 0 where missing, else as `training.model.bins` counts them."""

    features: Mapping[str, Mapping[str, Any]]
    hash_key: bytes = b""
    """The key that private values were hashed with."""
    hashed: frozenset[str] = frozenset()

    def bins(self, name: str, values: Sequence[Any]) -> npt.NDArray[np.uint16]:
        """Each recorded value's bin; a label that the baseline does not have counts as "other", its first label."""
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
        """(n_predictions, n_features), in the baseline's order; UNRECORDED where a prediction holds no such feature."""
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
    """The hashed features of a log of which no hash is one of the baseline's labels: its key is another, or missing.

    `bins` are those of `Binning.matrix`, `features` the baseline's.
    """
    unread = []
    for index, name in enumerate(features):
        recorded = bins[:, index][(bins[:, index] != UNRECORDED) & (bins[:, index] > 0)]
        if name in set(hashed) and (recorded == 1).all():
            _, other, *counts = features[name]["counts"]
            if len(recorded) * sum(counts) >= SURELY_KNOWN * (other + sum(counts)) > 0:
                unread.append(name)
    return unread
