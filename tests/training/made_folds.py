"""Encoded folds in the mini scorer's eight columns."""

import numpy as np

from training.model.folds import Fold


def made_fold(seed: int, n_rows: int, n_validated: int, *, fraud_rate: float, shift: float = 2.0) -> Fold:
    """A fold whose frauds are among the other rows, and higher in the first column by `shift` standard deviations."""
    rng = np.random.default_rng(seed)
    label = (rng.random(n_rows + n_validated) < fraud_rate).astype(np.int8)
    matrix = rng.normal(size=(len(label), 8)).astype(np.float32)
    matrix[:, 0] += shift * label
    matrix[:, [3, 4, 5]] = rng.integers(0, 2, (len(label), 3))
    return Fold(matrix[:n_rows], label[:n_rows], matrix[n_rows:], label[n_rows:])
