"""The function with XGBoost's Python package, and therefore numpy and scipy, in place of its C library.

The rest is the handler's own code. This module replaces `handler.scoring.booster`, so that the C library is never
loaded directly.
"""

import sys
from collections.abc import Sequence

import numpy as np
import xgboost

BoosterError = xgboost.core.XGBoostError


def library_version() -> str:
    """The version of XGBoost."""
    version: str = xgboost.__version__
    return version


class Booster:
    """A loaded model; scores float32 rows one at a time or together."""

    def __init__(self, model: bytes, feature_types: Sequence[str]) -> None:
        """Load a model from the bytes of its UBJSON file."""
        self._booster = xgboost.Booster({"nthread": 1})
        self._booster.load_model(bytearray(model))
        self._types = list(feature_types)

    def margin(self, vector: list[float]) -> float:
        """The model's raw margin for one vector."""
        return self.margins([vector])[0]

    def margins(self, vectors: Sequence[Sequence[float]]) -> list[float]:
        """The margins of several vectors, in order."""
        rows = np.array(vectors, dtype=np.float32)
        margins: list[float] = self._booster.inplace_predict(rows, predict_type="margin").tolist()
        return margins

    def contributions(self, vectors: Sequence[Sequence[float]]) -> list[list[float]]:
        """Per vector its features' exact contributions to the margin, then the bias."""
        rows = np.array(vectors, dtype=np.float32)
        matrix = xgboost.DMatrix(rows, feature_types=self._types, nthread=1)
        contributions: list[list[float]] = self._booster.predict(matrix, pred_contribs=True).tolist()
        return contributions


sys.modules["handler.scoring.booster"] = sys.modules[__name__]

from handler.app import app, handler  # noqa: E402 - imported once the booster is replaced

__all__ = ["app", "handler"]
