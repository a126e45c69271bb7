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

from training.errors import StageError, counted
from training.model.encoder import numbers_and_codes
from training.params import Compute, Resampling
from training.run.matrix import FeatureMatrix, Floats, Labels, Matrix, Positions, by_chunk
from training.run.processes import Task, Workers

# SMOTE refuses NaN; for the neighbour search a missing category is a category of its own.
MISSING_CODE = -1.0
# The neighbour search takes two seconds for this many frauds, and minutes for ten times as many.
MOST_FRAUDS = 5_000
# The memory for distances, in MB.
WORKING_MB = 128


def fraud_weight(declared: Resampling, label: Labels) -> float:
    """The resampling's weight of each fraud in the loss; class_weight gives all frauds together the declared ratio."""
    n_frauds = int(label.sum())
    if declared.method != "class_weight":
        return 1.0
    return max(declared.ratio * (len(label) - n_frauds) / n_frauds, 1.0)


def variant_name(variant: Resampling) -> str:
    """The name of a resampling variant in reports, such as "smote 0.1" or "none"."""
    return "none" if variant.method == "none" or not variant.ratio else f"{variant.method} {variant.ratio:g}"


class Resampler(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A pipeline step that rebalances the rows that it is fitted on, and no others."""

    def __init__(self, declared: Resampling, feature_types: list[str], seed: int) -> None:
        """Keep the declaration; `feature_types` says which columns are category codes ("c")."""
        self.declared = declared
        self.feature_types = feature_types
        self.seed = seed

    def fit_resample(self, X: Matrix, y: Labels) -> tuple[Matrix, Labels]:  # noqa: N803 - scikit-learn's names
        """The rows after resampling; SMOTE keeps all of them unchanged and appends synthetic frauds.

        Rows that already have the declared ratio of frauds stay unchanged. Raises StageError if there are too few
        frauds for SMOTE's number of neighbours.
        """
        # In this process, because callers already use every core.
        kept, synthetic = self.resample(X, y, Workers(Compute(), n_processes=1))
        if kept is not None:
            return X[kept], y[kept]
        if not len(synthetic):
            return X, y
        return np.concatenate([X, synthetic[:]]), np.append(y, np.ones(len(synthetic), dtype=y.dtype))

    def resample(
        self, matrix: Matrix | FeatureMatrix, label: Labels, workers: Workers
    ) -> tuple[Positions | None, FeatureMatrix]:
        """The positions of the kept rows, None if all are kept, and the synthetic frauds to append."""
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
                f"the training rows have {counted(n_frauds, 'fraud')}; SMOTE with {self.declared.neighbours} "
                f"neighbours needs at least {self.declared.neighbours + 1}: lower resampling.neighbours, or declare "
                "another resampling.method"
            )
        if (n_wanted := int(self.declared.ratio * (len(label) - n_frauds)) - n_frauds) < 1:
            return _none_of(matrix, workers)
        numbers, codes = numbers_and_codes(self.feature_types)
        medians = np.array([_median(matrix[:, index]) for index in numbers])
        mean, scale = _joined(by_chunk(matrix, partial(_moments, numbers, medians)))
        # SMOTE uses the frauds only. With one legitimate row instead of all, it returns the same frauds to the bit in a
        # tenth of the time.
        rows = np.append(np.argmin(label), np.flatnonzero(label))
        scaled = matrix[rows].astype(np.float64)
        scaled[:, numbers] = (_imputed(scaled, numbers, medians) - mean) / scale
        scaled[:, codes] = np.where(np.isnan(scaled[:, codes]), MISSING_CODE, scaled[:, codes])
        # The neighbour search is quadratic in the frauds. Above MOST_FRAUDS they are dealt into interleaved pools,
        # whose neighbours are a little further apart.
        n_pools, chunk_rows = ceil(n_frauds / MOST_FRAUDS), workers.compute.chunk_rows
        sizes: list[int] = []
        tasks: list[Task] = []
        for pool in range(n_pools):
            frauds = np.append(scaled[:1], scaled[1 + pool :: n_pools], axis=0)
            n_of_pool = n_wanted // n_pools + (pool < n_wanted % n_pools)
            for start in range(0, n_of_pool, chunk_rows):
                sizes.append(min(chunk_rows, n_of_pool - start))
                tasks.append((self._portion, sizes[-1], len(tasks), frauds, (mean, scale)))
        return workers.encoded(tasks, sizes, matrix.shape[1], "synthetic frauds")

    def _portion(self, size: int, number: int, scaled: Floats, moments: tuple[Floats, Floats]) -> Matrix:
        """`size` synthetic frauds; `scaled` is a legitimate row followed by frauds, imputed and scaled."""
        numbers, codes = numbers_and_codes(self.feature_types)
        label = np.append(np.zeros(1, np.int8), np.ones(len(scaled) - 1, np.int8))
        sampler = self._sampler(codes, len(scaled) - 1 + size, self.seed + number)
        with config_context(working_memory=WORKING_MB):
            synthetic = sampler.fit_resample(scaled, label)[0][len(scaled) :]
        mean, scale = moments
        synthetic[:, numbers] = synthetic[:, numbers] * scale + mean
        synthetic[:, codes] = np.where(synthetic[:, codes] == MISSING_CODE, np.nan, synthetic[:, codes])
        portion: Matrix = synthetic.astype(np.float32)
        return portion

    def _sampler(self, codes: list[int], n_wanted: int, seed: int) -> SMOTE:
        neighbours, wanted = self.declared.neighbours, {1: n_wanted}
        if codes:
            return SMOTENC(codes, sampling_strategy=wanted, k_neighbors=neighbours, random_state=seed)
        # A k-d tree computes distances without BLAS, so every processor finds the same neighbours.
        tree = NearestNeighbors(n_neighbors=neighbours + 1, algorithm="kd_tree")
        return SMOTE(sampling_strategy=wanted, k_neighbors=tree, random_state=seed)


def _none_of(matrix: Matrix | FeatureMatrix, workers: Workers) -> FeatureMatrix:
    """A matrix without rows and with as many columns as another."""
    return FeatureMatrix(np.empty((0, matrix.shape[1]), np.float32), workers.compute.chunk_rows)


def _median(column: Matrix) -> float:
    """The median of the present values; 0 without any, so that an empty column keeps its position as a constant."""
    present = column[~np.isnan(column)]
    return float(np.median(present.astype(np.float64))) if len(present) else 0.0


def _imputed(rows: npt.NDArray[Any], numbers: Sequence[int], medians: Floats) -> Floats:
    chosen = rows[:, numbers].astype(np.float64)
    return np.where(np.isnan(chosen), medians, chosen)


def _moments(numbers: Sequence[int], medians: Floats, rows: Matrix) -> StandardScaler:
    """The means and variances of a chunk's numbers, with missing values imputed."""
    return StandardScaler().fit(_imputed(rows, numbers, medians))


def _joined(scalers: Sequence[StandardScaler]) -> tuple[Floats, Floats]:
    """Mean and scale of all chunks' rows together (Chan, Golub and LeVeque 1979)."""
    if len(scalers) == 1:
        return scalers[0].mean_, scalers[0].scale_
    counts = np.array([scaler.n_samples_seen_ for scaler in scalers], dtype=np.float64)
    means, variances = (np.stack([getattr(scaler, name) for scaler in scalers]) for name in ("mean_", "var_"))
    mean: Floats = np.average(means, axis=0, weights=counts)
    deviation: Floats = np.sqrt(np.average(variances + (means - mean) ** 2, axis=0, weights=counts))
    return mean, np.where(deviation > 0, deviation, 1.0)
