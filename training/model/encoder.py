"""The pipeline step that encodes a table of rows as a feature matrix, with the function's own code."""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, Self

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, TransformerMixin

from handler.scoring.contract import OTHER, Contract
from handler.scoring.features import build_features
from training.data.requests import feature_columns, field_values
from training.data.window import RowGroup, Window
from training.model.categoriser import learn_categoriser
from training.run.matrix import FeatureMatrix, Matrix, Positions
from training.run.processes import Workers

# Below this, starting processes costs more than it saves.
CHUNK_ROWS = 250_000


class FeatureEncoder(BaseEstimator, TransformerMixin):  # type: ignore[misc]  # scikit-learn has no types
    """Learns the vocabulary of categories and texts, then encodes rows with `handler.scoring.features`."""

    def __init__(self, contract: Contract, catalogue: pd.DataFrame) -> None:
        """Keep the contract and the catalogue of texts (columns field, name, category)."""
        self.contract = contract
        self.catalogue = catalogue

    def fit(self, X: pd.DataFrame, y: object = None) -> Self:  # noqa: ARG002, N803 - scikit-learn's signature
        """Learn the vocabulary from these rows, which must be training rows."""
        self.vocabulary_ = learn_vocabulary(X, self.contract, self.catalogue)
        return self

    def fit_window(self, window: Window, workers: Workers, positions: Positions | None = None) -> Self:
        """Learn the vocabulary from a window's rows, or from those at some positions."""
        parts, names = window.parts(positions), _categories(self.contract)
        counts: dict[str, pd.Series] = {}
        if names:
            tasks = [(_counted, part, names) for part in parts]
            counted = workers.spread(
                tasks,
                "categories",
                n_tasks=len(tasks),
                n_rows=sum(part.n_rows for part in parts),
                size=lambda result: result[0],
            )
            counts = reduce(_added, (counts_of_part for _, counts_of_part in counted))
        self.vocabulary_ = vocabulary_of(counts, self.contract, self.catalogue)
        return self

    def encoded(self, window: Window, workers: Workers, positions: Positions | None = None) -> FeatureMatrix:
        """The features of a window's rows, or of those at some positions."""
        parts = window.parts(positions)
        tasks = [(_encoded, part, self.contract, self.vocabulary_) for part in parts]
        n_features = len(build_features(self.contract, self.vocabulary_).names)
        return workers.encoded(tasks, [part.n_rows for part in parts], n_features)

    def transform(self, X: pd.DataFrame) -> Matrix:  # noqa: N803 - scikit-learn's name
        """The features: (n_rows, n_features), float32, NaN = missing."""
        rows = X[list(self.contract.inputs)]
        chunks = [slice(start, start + CHUNK_ROWS) for start in range(0, len(X), CHUNK_ROWS)]
        jobs = (delayed(encode_rows)(rows.iloc[chunk], self.contract, self.vocabulary_) for chunk in chunks)
        return np.concatenate(Parallel(n_jobs=-1 if len(chunks) > 1 else 1)(jobs))


def encode_rows(rows: pd.DataFrame, contract: Contract, vocabulary: Mapping[str, Any]) -> Matrix:
    """The features of rows: (n_rows, n_features), float32."""
    features = build_features(contract, vocabulary)
    values = field_values(rows, contract)
    matrix = np.empty((len(rows), len(features.names)), dtype=np.float32)
    for index, column in enumerate(feature_columns(features, values)):
        matrix[:, index] = column
    return matrix


def _encoded(part: RowGroup, contract: Contract, vocabulary: Mapping[str, Any]) -> Matrix:
    return encode_rows(part.read(contract.inputs), contract, vocabulary)


def _categories(contract: Contract) -> list[str]:
    return [name for name, field in contract.fields.items() if field.type == "category"]


def _counted(part: RowGroup, names: list[str]) -> tuple[int, dict[str, pd.Series]]:
    rows = part.read(names)
    return len(rows), {name: rows[name].value_counts() for name in names}


def _added(left: dict[str, pd.Series], right: dict[str, pd.Series]) -> dict[str, pd.Series]:
    return {name: left[name].add(right[name], fill_value=0) for name in left}


def learn_vocabulary(rows: pd.DataFrame, contract: Contract, catalogue: pd.DataFrame) -> dict[str, Any]:
    """The encoder's vocabulary from training rows; see `vocabulary_of`."""
    counts = {name: rows[name].value_counts() for name in _categories(contract)}
    return vocabulary_of(counts, contract, catalogue)


def vocabulary_of(counts: Mapping[str, pd.Series], contract: Contract, catalogue: pd.DataFrame) -> dict[str, Any]:
    """Each category field's levels, most frequent first, and each text's model; `counts` has each level's row count."""
    vocabulary: dict[str, Any] = {}
    for name, field in contract.fields.items():
        if field.type == "category":
            levels = counts[name]
            # A level that is really called "other" shares the code of the rest.
            kept = levels[(levels >= field.min_rows) & (levels.index != OTHER)].items()
            vocabulary[name] = [level for level, _ in sorted(kept, key=lambda item: (-item[1], item[0]))]
        elif field.type == "text":
            names = catalogue[catalogue["field"] == name]
            vocabulary[name] = learn_categoriser(names["name"].tolist(), names["category"].tolist())
    return vocabulary


def numbers_and_codes(feature_types: Sequence[str]) -> tuple[list[int], list[int]]:
    """The positions of the encoder's numeric features, and of the category codes."""
    numbers, codes = ([i for i, kind in enumerate(feature_types) if kind == wanted] for wanted in "qc")
    return numbers, codes
