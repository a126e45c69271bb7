"""Fits on prequential folds, with the number of trees at which average precision on the later rows is highest."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xgboost
from joblib import Parallel, delayed

from training.declaration import ScorerDeclaration
from training.evaluation.metrics import average_precision, rank
from training.model.fit import build_model
from training.model.folds import Fold
from training.model.resampling import fraud_weight
from training.params import Model, Resampling
from training.run.files import rounded_floats
from training.run.matrix import Matrix

# Average precision moves by chance from tree to tree; every tenth is enough to find where it stops rising.
EVERY = 10
# The fit ends after this many measurements without a higher value.
PATIENCE = 6
NEIGHBOURS = 2


@dataclass(frozen=True)
class FoldFits:
    """Models with the same parameters on all folds, cut at the same number of trees."""

    rounds: int
    margins: tuple[Matrix, ...]
    """The margins of each fold's validation rows."""
    precisions: tuple[float, ...]
    """The average precision of each fold's margins."""

    @property
    def mean(self) -> float:
        """The mean over the folds, rounded as it is reported, so that a choice is the same on every processor."""
        return float(rounded_floats(float(np.mean(self.precisions))))


class PrecisionOnLaterRows(xgboost.callback.TrainingCallback):
    """Measures a fold's validation rows after every EVERY trees, and ends the fit once more trees no longer help."""

    def __init__(self, fold: Fold) -> None:
        """Keep the fold."""
        self._fold = fold
        self._margin: Matrix = np.zeros(len(fold.validate_label), np.float32)
        self.curve: list[float] = []
        """The average precision after EVERY trees, after twice as many, and so on."""

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:  # noqa: ANN401, ARG002 - XGBoost's signature
        """Whether to stop."""
        n_trees = epoch + 1
        if n_trees % EVERY:
            return False
        # Margins add up over trees, so only the new trees need to predict.
        self._margin = model.inplace_predict(
            self._fold.validate,
            iteration_range=(n_trees - EVERY, n_trees),
            predict_type="margin",
            base_margin=self._margin,
        )
        self.curve.append(average_precision(*rank(self._margin, self._fold.validate_label).counts()))
        return len(self.curve) - 1 - int(np.argmax(self.curve)) >= PATIENCE


Fit = tuple[xgboost.XGBClassifier, list[float]]
"""A fitted model, and its average precision after every EVERY trees; no values if the number of trees is declared."""


def fit_folds(folds: Sequence[Fold], scorer: ScorerDeclaration, model: Model) -> FoldFits:
    """Models with these parameters, fitted on the folds' training rows as they are, all cut at one number of trees."""
    # XGBoost releases the GIL while it trains.
    fits = Parallel(n_jobs=-1, prefer="threads")(
        delayed(fit_fold)(fold, scorer, model, scorer.resampling) for fold in folds
    )
    return cut(fits, folds, model)


def fit_fold(fold: Fold, scorer: ScorerDeclaration, model: Model, resampling: Resampling) -> Fit:
    """A model with these parameters, fitted on a fold, and its curve; `resampling` gives the weight of its frauds."""
    weight, device = fraud_weight(resampling, fold.train_label), scorer.compute.device
    fitted = build_model(model.on_one_core, scorer.contract, seed=scorer.seed, fraud_weight=weight, device=device)
    if "rounds" in model.pinned:
        return fitted.fit(fold.train, fold.train_label), []
    measured = PrecisionOnLaterRows(fold)
    fitted.set_params(callbacks=[measured]).fit(fold.train, fold.train_label)
    return fitted.set_params(callbacks=None), measured.curve


def cut(fits: Sequence[Fit], folds: Sequence[Fold], model: Model) -> FoldFits:
    """The fits of all folds at one number of trees: the declared one, or the best over all folds."""
    rounds = model.rounds if "rounds" in model.pinned else common_rounds([curve for _, curve in fits])
    margins = []
    for (fitted, _), fold in zip(fits, folds, strict=True):
        n_trees = min(rounds, fitted.get_booster().num_boosted_rounds())
        margins.append(fitted.predict(fold.validate, output_margin=True, iteration_range=(0, n_trees)))
    precisions = [
        average_precision(*rank(margin, fold.validate_label).counts())
        for margin, fold in zip(margins, folds, strict=True)
    ]
    return FoldFits(rounds, tuple(margins), tuple(precisions))


def common_rounds(curves: Sequence[Sequence[float]]) -> int:
    """The number of trees with the highest mean average precision; a fit that ended early keeps its last value.

    Each value is averaged with its NEIGHBOURS on both sides, because the highest single one is often a lucky one.
    """
    longest = max(map(len, curves))
    extended = [[*curve, *[curve[-1]] * (longest - len(curve))] for curve in curves]
    mean = np.mean(extended, axis=0)
    smoothed = [mean[max(place - NEIGHBOURS, 0) : place + NEIGHBOURS + 1].mean() for place in range(longest)]
    return EVERY * (1 + int(np.argmax(np.round(smoothed, 6))))
