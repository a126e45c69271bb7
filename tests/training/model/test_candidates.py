"""Candidates: each one learns from encoded rows as they are, and the shipped one is the declared model."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from threadpoolctl import threadpool_limits

from training.declaration import ScorerDeclaration
from training.evaluation.metrics import rank, roc_auc
from training.model.candidates import CANDIDATES, SHIPPED, score, signed_log
from training.model.fit import build_model
from training.params import Model, Resampling
from training.run.matrix import Labels, Matrix

N_ROWS = 400
COUNTRY, KIND = 3, 5
AMOUNT, SPEED = 0, 1

every_candidate = pytest.mark.parametrize("name", CANDIDATES)


@pytest.fixture(autouse=True)
def one_core() -> Iterator[None]:
    """Limit each candidate to one core, as selection does."""
    with threadpool_limits(1):
        yield


def drawn(seed: int, *, noise: float = 1.0) -> tuple[Matrix, Labels]:
    """Encoded rows of the mini scorer, (n_rows, 8), 5 % missing per column; frauds have higher amounts and speeds."""
    rng = np.random.default_rng(seed)
    label = (rng.random(N_ROWS) < 0.2).astype(np.int8)
    columns: list[npt.NDArray[Any]] = [
        rng.lognormal(3 + 2 * label, noise),
        rng.normal(10 + 10 * label, 5 * noise),
        rng.poisson(3, N_ROWS),
        np.where((label == 1) & (rng.random(N_ROWS) < 0.6), 1, rng.integers(0, 4, N_ROWS)),
        rng.integers(0, 2, N_ROWS),
        rng.integers(0, 4, N_ROWS),
        rng.lognormal(2, 1, N_ROWS),
        rng.normal(100, 50, N_ROWS),
    ]
    matrix = np.stack(columns, axis=1).astype(np.float32)
    matrix[rng.random(matrix.shape) < 0.05] = np.nan
    return matrix, label


def area(model: Any, rows: Matrix, label: Labels) -> float:  # noqa: ANN401 - scikit-learn has no types
    """The area under the ROC curve of a fitted candidate."""
    return roc_auc(*rank(score(model, rows), label).counts())


def test_candidates_are_five_and_the_shipped_is_among_them() -> None:
    """Selection compares a linear model, three ensembles and the model that ships."""
    assert list(CANDIDATES) == ["logistic_regression", "random_forest", "gradient_boosting", "adaboost", SHIPPED]


@every_candidate
def test_ranking_is_learned(name: str, mini_scorer: ScorerDeclaration) -> None:
    """A candidate ranks later frauds far above chance, and far below it if the labels are inverted.

    Fitted twice on the same rows, it gives the same scores to the last bit.
    """
    matrix, label = drawn(1)
    first, again = (CANDIDATES[name](mini_scorer, label).fit(matrix, label) for _ in range(2))
    assert area(first, *drawn(2)) > 0.9
    assert score(first, matrix).tobytes() == score(again, matrix).tobytes()
    inverted = CANDIDATES[name](mini_scorer, 1 - label).fit(matrix, 1 - label)
    assert area(inverted, *drawn(2)) < 0.1


@every_candidate
def test_unusual_values_are_scored(name: str, mini_scorer: ScorerDeclaration) -> None:
    """Rows with only missing values, codes that training did not see, or the largest numbers have finite scores."""
    matrix, label = drawn(1)
    matrix[:, COUNTRY] = np.where(matrix[:, COUNTRY] == 3, 2, matrix[:, COUNTRY])
    matrix[:, KIND] = np.where(np.isnan(matrix[:, KIND]), 0, matrix[:, KIND])
    # A ratio may be as large as float32 holds.
    matrix[0, 6], matrix[1, 7] = np.finfo(np.float32).max, np.finfo(np.float32).min
    model = CANDIDATES[name](mini_scorer, label).fit(matrix, label)
    rows, _ = drawn(2)
    rows[0] = np.nan
    rows[1:20, COUNTRY] = 3
    rows[20:40, KIND] = np.nan
    scores = score(model, np.concatenate([rows, matrix[:2]]))
    assert scores.shape == (N_ROWS + 2,)
    assert np.isfinite(scores).all()


@every_candidate
def test_a_column_without_a_value_stops_nothing(name: str, mini_scorer: ScorerDeclaration) -> None:
    """Fitting works if a number or a category is missing in every training row, even if later rows have it."""
    matrix, label = drawn(1)
    matrix[:, [SPEED, KIND]] = np.nan
    model = CANDIDATES[name](mini_scorer, label).fit(matrix, label)
    assert area(model, *drawn(2)) > 0.8


@pytest.mark.parametrize("types", [["amount", "speed"], ["country"]], ids=["numbers alone", "categories alone"])
@every_candidate
def test_features_of_one_kind(name: str, types: list[str], mini_scorer: ScorerDeclaration) -> None:
    """All candidates also work for a scorer without categories, or without numbers."""
    fields = {field: mini_scorer.fields[field] for field in types}
    scorer = mini_scorer.model_copy(update={"fields": fields, "features": {}})
    positions = [list(mini_scorer.fields).index(field) for field in types]
    matrix, label = drawn(1)
    model = CANDIDATES[name](scorer, label).fit(matrix[:, positions], label)
    later, later_label = drawn(2)
    assert area(model, later[:, positions], later_label) > 0.6


def test_logistic_regression_is_the_same_in_another_unit(mini_scorer: ScorerDeclaration) -> None:
    """Codes of a category are levels to the linear model: another numbering gives the same scores."""
    matrix, label = drawn(1)
    renumbered = matrix.copy()
    renumbered[:, COUNTRY] = 3 - matrix[:, COUNTRY]
    first, other = (
        score(CANDIDATES["logistic_regression"](mini_scorer, label).fit(rows, label), rows)
        for rows in (matrix, renumbered)
    )
    np.testing.assert_allclose(first, other, rtol=1e-4)


def test_shipped_candidate_is_the_declared_model(mini_scorer: ScorerDeclaration) -> None:
    """XGBoost is compared with the declared parameters and the declared weight of frauds, on one core."""
    label = np.array([1] * 10 + [0] * 90, dtype=np.int8)
    model = CANDIDATES[SHIPPED](mini_scorer, label)
    declared = build_model(mini_scorer.model.on_one_core, mini_scorer.contract, seed=mini_scorer.seed)
    # Compared as text, because NaN for `missing` does not equal itself.
    assert str(model.get_params()) == str(declared.get_params())
    assert (model.n_estimators, model.max_depth, model.learning_rate, model.n_jobs) == (20, 3, 0.3, 1)
    weighted = mini_scorer.model_copy(update={"resampling": Resampling(method="class_weight", ratio=0.5)})
    assert CANDIDATES[SHIPPED](weighted, label).scale_pos_weight == 4.5


def test_shipped_candidate_is_scored_by_its_margin(mini_scorer: ScorerDeclaration) -> None:
    """XGBoost is ranked by its margin, which has no ties caused by rounded probabilities."""
    matrix, label = drawn(1)
    model = CANDIDATES[SHIPPED](mini_scorer, label).fit(matrix, label)
    margin = score(model, matrix)
    np.testing.assert_allclose(1 / (1 + np.exp(-margin)), model.predict_proba(matrix)[:, 1], rtol=1e-5)


def test_shipped_candidate_may_be_exact(mini_scorer: ScorerDeclaration) -> None:
    """If no field is a category, the exact tree method is compared as it would ship."""
    fields = {name: mini_scorer.fields[name] for name in ("amount", "speed")}
    update = {"fields": fields, "features": {}, "model": Model(rounds=10, tree_method="exact")}
    scorer = mini_scorer.model_copy(update=update)
    matrix, label = drawn(1)
    model = CANDIDATES[SHIPPED](scorer, label).fit(matrix[:, [AMOUNT, SPEED]], label)
    assert area(model, matrix[:, [AMOUNT, SPEED]], label) > 0.9


def test_signed_log_shortens_both_tails() -> None:
    """The signed logarithm keeps sign, order, zero and missing values."""
    values = np.array([[-1e6, -1.0, 0.0, 1.0, 1e6, np.nan]], dtype=np.float32)
    scaled = signed_log(values)
    np.testing.assert_allclose(scaled, [[-13.815512, -0.693147, 0, 0.693147, 13.815512, np.nan]], rtol=1e-5)
