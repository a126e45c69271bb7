"""The candidate models that selection compares, each with the preparation that it needs."""

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import AdaBoostClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from handler.scoring.features import feature_types
from training.declaration import ScorerDeclaration
from training.model.encoder import numbers_and_codes
from training.model.fit import build_model
from training.model.resampling import MISSING_CODE, fraud_weight
from training.run.matrix import Floats, Labels, Matrix

SHIPPED = "xgboost"
MOST_SORTED = 50


def signed_log(values: Matrix) -> Matrix:
    """The logarithm of 1 + the magnitude, with the sign kept, because heavy tails mislead a linear model."""
    return np.sign(values) * np.log1p(np.abs(values))


class WithoutEmptyColumns(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A pipeline step that makes a column constant if the training rows hold no value in it.

    scikit-learn's histogram boosting accepts missing values, but not a column without any value.
    """

    def fit(self, X: Matrix, y: object = None) -> Self:  # noqa: ARG002, N803 - scikit-learn's signature
        """Remember which columns are empty."""
        self.is_empty_ = np.isnan(X).all(axis=0)
        return self

    def transform(self, X: Matrix) -> Matrix:  # noqa: N803 - scikit-learn's name
        """The rows, with 0 in the empty columns."""
        return np.where(self.is_empty_, np.float32(0), X)


def linear_candidate(scorer: ScorerDeclaration) -> Pipeline:
    """The candidate that is linear: logistic regression on imputed, scaled numbers and one-hot categories."""
    numbers, codes = numbers_and_codes(feature_types(scorer.contract))
    scaled = make_pipeline(
        FunctionTransformer(signed_log),
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler(),
    )
    one_hot = make_pipeline(
        SimpleImputer(strategy="constant", fill_value=MISSING_CODE, keep_empty_features=True),
        OneHotEncoder(handle_unknown="ignore"),
    )
    columns = ColumnTransformer([("numbers", scaled, numbers), ("codes", one_hot, codes)], sparse_threshold=0)
    return make_pipeline(columns, LogisticRegression(solver="newton-cholesky", max_iter=200))


def trees(scorer: ScorerDeclaration, model: BaseEstimator) -> Pipeline:
    """A tree ensemble on imputed numbers and on category codes, which are ordered by frequency."""
    numbers, codes = numbers_and_codes(feature_types(scorer.contract))
    imputed = SimpleImputer(strategy="median", keep_empty_features=True)
    coded = SimpleImputer(strategy="constant", fill_value=MISSING_CODE, keep_empty_features=True)
    return make_pipeline(ColumnTransformer([("numbers", imputed, numbers), ("codes", coded, codes)]), model)


def small_tree(scorer: ScorerDeclaration) -> DecisionTreeClassifier:
    """A tree of depth 2; each split considers at most MOST_SORTED features, because it sorts all rows by each."""
    n_features = len(feature_types(scorer.contract))
    return DecisionTreeClassifier(max_depth=2, max_features=MOST_SORTED if n_features > MOST_SORTED else None)


# Each function makes an unfitted model from the scorer and the labels that it will be fitted on. scikit-learn
# recommends its histogram boosting from 10,000 rows on; early stopping is off, because SMOTE's synthetic frauds would
# decide when to stop.
CANDIDATES: dict[str, Callable[[ScorerDeclaration, Labels], Any]] = {
    "logistic_regression": lambda scorer, _: linear_candidate(scorer),
    "random_forest": lambda scorer, _: trees(
        scorer, RandomForestClassifier(n_estimators=50, min_samples_leaf=5, random_state=scorer.seed)
    ),
    "gradient_boosting": lambda scorer, _: make_pipeline(
        WithoutEmptyColumns(), HistGradientBoostingClassifier(early_stopping=False, random_state=scorer.seed)
    ),
    "adaboost": lambda scorer, _: trees(
        scorer, AdaBoostClassifier(small_tree(scorer), n_estimators=50, random_state=scorer.seed)
    ),
    SHIPPED: lambda scorer, label: build_model(
        scorer.model.on_one_core, scorer.contract, seed=scorer.seed, fraud_weight=fraud_weight(scorer.resampling, label)
    ),
}


def score(model: Any, rows: Matrix) -> Floats:  # noqa: ANN401 - scikit-learn has no types
    """The fraud score of encoded rows, (n_rows,): XGBoost's margin, the other candidates' probability."""
    is_booster = hasattr(model, "get_booster")
    scores: Floats = model.predict(rows, output_margin=True) if is_booster else model.predict_proba(rows)[:, 1]
    return scores
