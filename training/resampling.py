"""Resampling of training rows: SMOTE that leaves the original rows untouched and tolerates missing values."""

import numpy as np
import numpy.typing as npt
from imblearn.over_sampling import SMOTE, SMOTENC
from imblearn.under_sampling import RandomUnderSampler
from sklearn.base import BaseEstimator
from sklearn.impute import SimpleImputer
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from training.settings import Resampling
from training.stage import StageError

Matrix = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float64]

# SMOTE refuses NaN; a missing category is a category of its own while neighbours are sought.
MISSING_CODE = -1.0


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
        resampled = X, y
        n_frauds = int(y.sum())
        if n_frauds < self.declared.ratio * (len(y) - n_frauds):
            if self.declared.method == "smote":
                resampled = self._with_synthetic(X, y)
            elif self.declared.method == "undersample":
                resampled = self._undersampled(X, y)
        self.n_rows_ = len(resampled[1])
        return resampled

    def _undersampled(self, rows: Matrix, label: Labels) -> tuple[Matrix, Labels]:
        """All frauds and a random part of the legitimate rows, in their order."""
        sampler = RandomUnderSampler(sampling_strategy=self.declared.ratio, random_state=self.seed)
        sampler.fit_resample(label.reshape(-1, 1), label)
        kept = np.sort(sampler.sample_indices_)
        return rows[kept], label[kept]

    def _with_synthetic(self, rows: Matrix, label: Labels) -> tuple[Matrix, Labels]:
        """The rows as they are, followed by synthetic frauds up to the declared ratio (SMOTE: Chawla 2002)."""
        if (n_frauds := int(label.sum())) <= self.declared.neighbours:
            raise StageError(
                f"{n_frauds} frauds in the training rows; SMOTE with {self.declared.neighbours} neighbours needs more"
            )
        codes = [index for index, kind in enumerate(self.feature_types) if kind == "c"]
        numbers = [index for index, kind in enumerate(self.feature_types) if kind == "q"]
        if not numbers:
            raise StageError("SMOTE needs at least one numeric feature; declare resampling: {method: none}")
        # keep_empty_features: a column that is missing throughout stays in place, constant.
        scaler = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
        scaled = rows.astype(np.float64)
        scaled[:, numbers] = scaler.fit_transform(scaled[:, numbers])
        scaled[:, codes] = np.where(np.isnan(scaled[:, codes]), MISSING_CODE, scaled[:, codes])
        # SMOTE looks at frauds alone. Handed one legitimate row instead of all, it gives the same frauds to the bit,
        # ten times sooner.
        seen = np.append(np.flatnonzero(label == 0)[:1], np.flatnonzero(label))
        n_wanted = int(self.declared.ratio * (len(label) - n_frauds))
        synthetic = self._sampler(codes, n_wanted).fit_resample(scaled[seen], label[seen])[0][len(seen) :]
        synthetic[:, numbers] = scaler[-1].inverse_transform(synthetic[:, numbers])
        synthetic[:, codes] = np.where(synthetic[:, codes] == MISSING_CODE, np.nan, synthetic[:, codes])
        labels = np.concatenate([label, np.ones(len(synthetic), dtype=label.dtype)])
        return np.concatenate([rows, synthetic.astype(np.float32)]), labels

    def _sampler(self, codes: list[int], n_wanted: int) -> SMOTE:
        neighbours, wanted = self.declared.neighbours, {1: n_wanted}
        if codes:
            return SMOTENC(codes, sampling_strategy=wanted, k_neighbors=neighbours, random_state=self.seed)
        # A k-d tree computes distances without BLAS, so every processor finds the same neighbours.
        tree = NearestNeighbors(n_neighbors=neighbours + 1, algorithm="kd_tree")
        return SMOTE(sampling_strategy=wanted, k_neighbors=tree, random_state=self.seed)
