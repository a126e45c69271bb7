"""Early stopping: fits end once later rows gain nothing, and all folds share the best number of trees."""

from collections.abc import Sequence

import numpy as np
import pytest

from tests.training.made_folds import made_fold
from training.declaration import ScorerDeclaration
from training.evaluation.metrics import average_precision, rank
from training.model.early_stopping import (
    EVERY,
    NEIGHBOURS,
    PATIENCE,
    PrecisionOnLaterRows,
    common_rounds,
    fit_fold,
    fit_folds,
)
from training.model.fit import build_model
from training.model.folds import Fold
from training.params import Model, Resampling

# Trees that learn everything within a few rounds.
QUICK = Model(max_depth=2, learning_rate=0.3, subsample=0.9)
NONE = Resampling(method="none")

Scorer = ScorerDeclaration


@pytest.fixture(scope="module")
def folds() -> list[Fold]:
    """Two folds with 12 % frauds, each validated on 150 rows."""
    return [made_fold(seed, 450, 150, fraud_rate=0.12) for seed in (1, 2)]


@pytest.fixture(scope="module")
def scorer(mini_scorer: Scorer) -> Scorer:
    """The mini scorer without resampling."""
    return mini_scorer.model_copy(update={"resampling": NONE})


@pytest.mark.parametrize(
    ("curves", "rounds"),
    [
        # Equal values take the fewest trees, even if they differ after the sixth digit.
        ([[0.2] * 8], 10),
        ([[0.2, 0.2, 0.2000001, 0.2000001]], 10),
        # Averaged over two neighbours on each side, 80 trees have .5, and the lucky .9 of 30 trees counts as .26.
        ([[0.1, 0.1, 0.9, 0.1, 0.1, 0.5, 0.5, 0.5, 0.5, 0.5]], 80),
        # The mean of the folds counts: .3 up to 50 trees, then .25.
        ([[0.5] * 5 + [0.2] * 5, [0.1] * 5 + [0.3] * 5], 10),
        # The second fit ended after 10 trees and keeps its .2: the means are .15, then .25.
        ([[0.1] * 5 + [0.3] * 5, [0.2]], 80),
    ],
)
def test_common_rounds(curves: Sequence[Sequence[float]], rounds: int) -> None:
    """The highest mean over the folds gives the number of trees; a fit that ended early counts with its last value."""
    assert (EVERY, NEIGHBOURS) == (10, 2)
    assert common_rounds(curves) == rounds


def test_a_fit_ends_when_nothing_is_gained(folds: list[Fold], scorer: Scorer) -> None:
    """The last gain is followed by PATIENCE measurements without one, and by no further tree."""
    for fold in folds:
        fitted, curve = fit_fold(fold, scorer, QUICK, NONE)
        assert len(curve) < QUICK.rounds // EVERY
        assert fitted.get_booster().num_boosted_rounds() == EVERY * len(curve)
        assert len(curve) - 1 - int(np.argmax(curve)) == PATIENCE


def test_a_fit_has_no_more_than_the_limit(folds: list[Fold], scorer: Scorer) -> None:
    """If every tree helps, the default number of trees is the limit."""
    slow = Model(max_depth=1, learning_rate=0.001, subsample=1.0, colsample_bytree=1.0)
    assert fit_folds(folds, scorer, slow).rounds <= slow.rounds == 500


def test_the_curve_is_that_of_whole_predictions(folds: list[Fold], scorer: Scorer) -> None:
    """Margins added up ten trees at a time, and their precision, equal those of a whole prediction."""
    fold, measured = folds[0], PrecisionOnLaterRows(folds[0])
    fitted = build_model(QUICK, scorer.contract, seed=scorer.seed)
    fitted.set_params(callbacks=[measured]).fit(fold.train, fold.train_label)
    for number, precision in enumerate(measured.curve, start=1):
        margin = fitted.predict(fold.validate, output_margin=True, iteration_range=(0, EVERY * number))
        assert precision == pytest.approx(average_precision(*rank(margin, fold.validate_label).counts()), abs=1e-6)
    whole = fitted.predict(fold.validate, output_margin=True)
    np.testing.assert_allclose(measured._margin, whole, atol=1e-6)  # noqa: SLF001 - the test is about the running sum


def test_all_folds_are_cut_at_one_number(folds: list[Fold], scorer: Scorer) -> None:
    """Margins and precisions equal those of models that are fitted directly with the common number of trees."""
    fits = fit_folds(folds, scorer, QUICK)
    curves = [fit_fold(fold, scorer, QUICK, NONE)[1] for fold in folds]
    assert fits.rounds == common_rounds(curves)
    for fold, curve, margin, precision in zip(folds, curves, fits.margins, fits.precisions, strict=True):
        # A fit that ended earlier has fewer.
        model = QUICK.model_copy(update={"rounds": min(fits.rounds, EVERY * len(curve))})
        by_hand = build_model(model, scorer.contract, seed=scorer.seed).fit(fold.train, fold.train_label)
        np.testing.assert_allclose(margin, by_hand.predict(fold.validate, output_margin=True), atol=1e-6)
        assert precision == average_precision(*rank(margin, fold.validate_label).counts())
    assert fits.mean == round(float(np.mean(fits.precisions)), 6)


def test_declared_rounds_are_kept(folds: list[Fold], scorer: Scorer) -> None:
    """A declared number of trees is neither reduced nor measured along the way."""
    declared = QUICK.model_copy(update={"rounds": 73})
    fitted, curve = fit_fold(folds[0], scorer, declared, NONE)
    assert (fitted.get_booster().num_boosted_rounds(), curve) == (73, [])
    assert fit_folds(folds, scorer, declared).rounds == 73


def test_one_seed_one_fit(folds: list[Fold], scorer: Scorer) -> None:
    """Folds that are fitted twice give the same margins to the bit, with any number of threads."""
    first, again = (fit_folds(folds, scorer, model) for model in (QUICK, QUICK.model_copy(update={"threads": 2})))
    assert [margin.tobytes() for margin in first.margins] == [margin.tobytes() for margin in again.margins]
    assert (first.rounds, first.precisions) == (again.rounds, again.precisions)
