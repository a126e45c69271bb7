"""Resampling of training rows: SMOTE that leaves the original rows untouched and tolerates missing values."""

from collections.abc import Sequence
from functools import partial
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt
from imblearn.over_sampling import SMOTE, SMOTENC
from imblearn.under_sampling import RandomUnderSampler
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from training.errors import StageError
from training.params import Compute, Resampling
from training.run.matrix import FeatureMatrix, Floats, Labels, Matrix, by_chunk
from training.run.processes import Task, Workers

Positions = npt.NDArray[np.intp]

# SMOTE refuses NaN; a missing category is a category of its own while neighbours are sought.
MISSING_CODE = -1.0
# Of so many frauds the neighbours are found in two seconds, of ten times as many in minutes.
MOST_FRAUDS = 5_000
# What distances may take at once, in MB.
WORKING_MB = 128


def fraud_weight(declared: Resampling, label: Labels) -> float:
    """What each fraud counts in the model's loss: with class_weight so much that the frauds' weight is the ratio."""
    n_frauds = int(label.sum())
    if declared.method != "class_weight":
        return 1.0
    return max(declared.ratio * (len(label) - n_frauds) / n_frauds, 1.0)


class Resampler(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A pipeline step that rebalances the rows it is fitted on, and no others."""

    def __init__(self, declared: Resampling, feature_types: list[str], seed: int) -> None:
        """Keep the declaration; `feature_types` says which columns are category codes ("c")."""
        self.declared = declared
        self.feature_types = feature_types
        self.seed = seed

    def fit_resample(self, X: Matrix, y: Labels) -> tuple[Matrix, Labels]:  # noqa: N803 - scikit-learn's names
        """The rows after resampling: with SMOTE all of them as they are, followed by synthetic frauds.

        Rows that already have the declared ratio of frauds stay as they are. Raises StageError where there are too
        few frauds to have neighbours.
        """
        # Whoever calls this has given each core something to do.
        kept, synthetic = self.resample(X, y, Workers(Compute(), n_processes=1))
        if kept is not None:
            return X[kept], y[kept]
        if not len(synthetic):
            return X, y
        return np.concatenate([X, synthetic[:]]), np.append(y, np.ones(len(synthetic), dtype=y.dtype))

    def resample(
        self, matrix: Matrix | FeatureMatrix, label: Labels, workers: Workers
    ) -> tuple[Positions | None, FeatureMatrix]:
        """The positions of the rows that stay, None where all do, and the synthetic frauds to follow them."""
        n_frauds = int(label.sum())
        kept, synthetic = None, _none_of(matrix, workers)
        if n_frauds < self.declared.ratio * (len(label) - n_frauds):
            if self.declared.method == "smote":
                synthetic = self._synthetic(matrix, label, workers)
            elif self.declared.method == "undersample":
                kept = self._undersampled(label)
        self.n_rows_ = len(label if kept is None else kept) + len(synthetic)
        return kept, synthetic

    def _undersampled(self, label: Labels) -> Positions:
        """All frauds and a random part of the legitimate rows, in their order."""
        sampler = RandomUnderSampler(sampling_strategy=self.declared.ratio, random_state=self.seed)
        sampler.fit_resample(label.reshape(-1, 1), label)
        kept: Positions = np.sort(sampler.sample_indices_)
        return kept

    def _synthetic(self, matrix: Matrix | FeatureMatrix, label: Labels, workers: Workers) -> FeatureMatrix:
        """Synthetic frauds up to the declared ratio (SMOTE: Chawla 2002)."""
        if (n_frauds := int(label.sum())) <= self.declared.neighbours:
            raise StageError(
                f"{n_frauds} frauds in the training rows; SMOTE with {self.declared.neighbours} neighbours needs more"
            )
        if (n_wanted := int(self.declared.ratio * (len(label) - n_frauds)) - n_frauds) < 1:
            return _none_of(matrix, workers)
        codes, numbers = self._columns()
        if not numbers:
            raise StageError("SMOTE needs at least one numeric feature; declare resampling: {method: none}")
        medians = np.array([_median(matrix[:, index]) for index in numbers])
        mean, scale = _joined(by_chunk(matrix, partial(_moments, numbers, medians)))
        # SMOTE looks at frauds alone. Handed one legitimate row instead of all, it gives the same frauds to the bit,
        # ten times sooner.
        seen = np.append(np.argmin(label), np.flatnonzero(label))
        scaled = matrix[seen].astype(np.float64)
        scaled[:, numbers] = (_imputed(scaled, numbers, medians) - mean) / scale
        scaled[:, codes] = np.where(np.isnan(scaled[:, codes]), MISSING_CODE, scaled[:, codes])
        # The search for neighbours takes the square of the frauds. So beyond some number of them each pool has every so
        # manieth, which leaves neighbours a little further apart.
        n_pools, most = ceil(n_frauds / MOST_FRAUDS), workers.compute.chunk_rows
        sizes: list[int] = []
        tasks: list[Task] = []
        for pool in range(n_pools):
            frauds = np.append(scaled[:1], scaled[1 + pool :: n_pools], axis=0)
            of_pool = n_wanted // n_pools + (pool < n_wanted % n_pools)
            for start in range(0, of_pool, most):
                sizes.append(min(most, of_pool - start))
                tasks.append((self._portion, sizes[-1], len(tasks), frauds, (mean, scale)))
        return workers.encoded(tasks, sizes, matrix.shape[1], "synthetic frauds")

    def _portion(self, size: int, number: int, scaled: Floats, moments: tuple[Floats, Floats]) -> Matrix:
        """So many synthetic frauds; `scaled` is a legitimate row and frauds, as SMOTE takes them."""
        codes, numbers = self._columns()
        label = np.append(np.zeros(1, np.int8), np.ones(len(scaled) - 1, np.int8))
        sampler = self._sampler(codes, len(scaled) - 1 + size, self.seed + number)
        with config_context(working_memory=WORKING_MB):
            made = sampler.fit_resample(scaled, label)[0][len(scaled) :]
        mean, scale = moments
        made[:, numbers] = made[:, numbers] * scale + mean
        made[:, codes] = np.where(made[:, codes] == MISSING_CODE, np.nan, made[:, codes])
        synthetic: Matrix = made.astype(np.float32)
        return synthetic

    def _columns(self) -> tuple[list[int], list[int]]:
        """The positions of the category codes, and of the numbers."""
        kinds = self.feature_types
        return [i for i, kind in enumerate(kinds) if kind == "c"], [i for i, kind in enumerate(kinds) if kind == "q"]

    def _sampler(self, codes: list[int], n_wanted: int, seed: int) -> SMOTE:
        neighbours, wanted = self.declared.neighbours, {1: n_wanted}
        if codes:
            return SMOTENC(codes, sampling_strategy=wanted, k_neighbors=neighbours, random_state=seed)
        # A k-d tree computes distances without BLAS, so every processor finds the same neighbours.
        tree = NearestNeighbors(n_neighbors=neighbours + 1, algorithm="kd_tree")
        return SMOTE(sampling_strategy=wanted, k_neighbors=tree, random_state=seed)


def _none_of(matrix: Matrix | FeatureMatrix, workers: Workers) -> FeatureMatrix:
    """No row, with the columns of a matrix."""
    return FeatureMatrix(np.empty((0, matrix.shape[1]), np.float32), workers.compute.chunk_rows)


def _median(column: Matrix) -> float:
    """The median of what is known; 0 where nothing is, so that an empty column stays in its place, constant."""
    known = column[~np.isnan(column)]
    return float(np.median(known.astype(np.float64))) if len(known) else 0.0


def _imputed(rows: npt.NDArray[Any], numbers: Sequence[int], medians: Floats) -> Floats:
    chosen = rows[:, numbers].astype(np.float64)
    return np.where(np.isnan(chosen), medians, chosen)


def _moments(numbers: Sequence[int], medians: Floats, rows: Matrix) -> StandardScaler:
    """The means and variances of a chunk's numbers, what is missing imputed."""
    return StandardScaler().fit(_imputed(rows, numbers, medians))


def _joined(scalers: Sequence[StandardScaler]) -> tuple[Floats, Floats]:
    """Mean and scale of all chunks' rows together (Chan, Golub and LeVeque 1979)."""
    if len(scalers) == 1:
        return scalers[0].mean_, scalers[0].scale_
    counts = np.array([scaler.n_samples_seen_ for scaler in scalers], dtype=np.float64)
    means, variances = (np.stack([getattr(one, name) for one in scalers]) for name in ("mean_", "var_"))
    mean: Floats = np.average(means, axis=0, weights=counts)
    deviation: Floats = np.sqrt(np.average(variances + (means - mean) ** 2, axis=0, weights=counts))
    return mean, np.where(deviation > 0, deviation, 1.0)
