"""The encoder: the function's features for whole tables, and a vocabulary learned only from the given rows."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from handler.scoring.contract import Contract
from handler.scoring.features import build_features
from handler.scoring.fields import DeclaredField
from training.data.requests import field_values
from training.data.window import Window
from training.declaration import ScorerDeclaration
from training.model import encoder
from training.model.encoder import FeatureEncoder, encode_rows, learn_vocabulary
from training.params import Compute
from training.run.matrix import Positions
from training.run.processes import Workers

Frames = dict[str, pd.DataFrame]
NewEncoder = Callable[[], FeatureEncoder]
WindowOf = Callable[..., Window]
NO_CATALOGUE = pd.DataFrame({"field": [], "name": [], "category": []}, dtype=str)


def countries(labels: list[str | None], *, min_rows: int) -> list[str]:
    """The vocabulary learned from a column of countries."""
    fields = {"country": DeclaredField(type="category", min_rows=min_rows)}
    contract = Contract(route="/x", answer="decision", id=None, fields=fields, features={})
    learned: list[str] = learn_vocabulary(pd.DataFrame({"country": labels}), contract, NO_CATALOGUE)["country"]
    return learned


def one_by_one(rows: pd.DataFrame, contract: Contract, vocabulary: dict[str, Any]) -> np.ndarray:
    """The features that the function computes, one row at a time."""
    features = build_features(contract, vocabulary)
    values = zip(*field_values(rows, contract), strict=True)
    return np.array([features.encode(row) for row in values], dtype=np.float32)


@pytest.fixture
def new_encoder(mini_scorer: ScorerDeclaration, mini_catalogue: pd.DataFrame) -> NewEncoder:
    """Makes an encoder of the mini scorer that has learned nothing yet."""
    return lambda: FeatureEncoder(mini_scorer.contract, mini_catalogue)


def test_matrix_equals_the_function_row_by_row(
    mini_windows: Frames, mini_scorer: ScorerDeclaration, new_encoder: NewEncoder
) -> None:
    """Every entry equals what the function computes for that row, missing values and unseen categories included."""
    fitted = new_encoder().fit(mini_windows["train"])
    later = mini_windows["test"]
    rows = later.assign(country=later["country"].where(later.index != 0, "Atlantis"))
    matrix = fitted.transform(rows)
    expected = one_by_one(rows, mini_scorer.contract, fitted.vocabulary_)
    assert matrix.dtype == np.float32
    assert matrix.shape == (len(rows), len(mini_scorer.fields) + len(mini_scorer.features))
    np.testing.assert_array_equal(matrix, expected)
    country = list(mini_scorer.fields).index("country")
    assert matrix[0, country] == 0
    assert np.isnan(matrix).any(axis=0).tolist() == [False, True, True, False, True, True, True, True]


def test_missing_values_are_those_of_a_request(mini_scorer: ScorerDeclaration, mini_catalogue: pd.DataFrame) -> None:
    """A row with only its required values gives NaN for every missing one."""
    rows = pd.DataFrame(
        {"amount": [5.0], "speed": [np.nan], "visits": [np.nan], "country": ["DE"], "is_new": [np.nan], "item": [None]}
    )
    vocabulary = learn_vocabulary(rows, mini_scorer.contract, mini_catalogue)
    matrix = encode_rows(rows, mini_scorer.contract, vocabulary)
    assert np.isnan(matrix[0]).tolist() == [False, True, True, False, True, True, True, True]


def test_categories_by_frequency_then_name() -> None:
    """Levels are sorted by frequency, then by name; a missing value is not a level."""
    assert countries(["b"] * 3 + ["c"] * 5 + ["a"] * 3 + [None] * 30, min_rows=1) == ["c", "a", "b"]


def test_rare_categories_share_the_code_of_other(mini_scorer: ScorerDeclaration) -> None:
    """Levels with fewer rows than min_rows are not learned and share code 0 with those never seen."""
    assert countries(["a"] * 20 + ["b"] * 19, min_rows=20) == ["a"]
    fields = {"country": mini_scorer.fields["country"]}
    contract = Contract(route="/x", answer="decision", id=None, fields=fields, features={})
    features = build_features(contract, {"country": ["a"]})
    assert [features.encode([value]) for value in ("a", "b", "never")] == [[1.0], [0.0], [0.0]]


def test_vocabulary_knows_the_given_rows_only(mini_windows: Frames, new_encoder: NewEncoder) -> None:
    """Fitting on training rows learns nothing from later ones, and transforming learns nothing at all."""
    fitted = new_encoder().fit(mini_windows["train"])
    learned = list(fitted.vocabulary_["country"])
    fitted.transform(mini_windows["test"].assign(country="Atlantis"))
    assert fitted.vocabulary_["country"] == learned
    counts = mini_windows["train"]["country"].value_counts()
    assert set(learned) == set(counts[counts >= 20].index)
    assert "rare" not in learned


@pytest.mark.usefixtures("two_processes")
def test_chunks_change_nothing(mini_windows: Frames, new_encoder: NewEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks encoded by several processes are the same matrix as one chunk."""
    rows = pd.concat(mini_windows.values(), ignore_index=True)
    fitted = new_encoder().fit(rows)
    whole = fitted.transform(rows)
    monkeypatch.setattr(encoder, "CHUNK_ROWS", 400)
    np.testing.assert_array_equal(fitted.transform(rows), whole)


EVERY_THIRD = np.arange(1, 900, 3)
# Without any row of the second of five row groups.
WITHOUT_A_GROUP = np.concatenate([np.arange(150), np.arange(450, 880)])


# One pool for all windows, so that its processes start only once.
WORKERS = Workers(Compute())


@pytest.mark.parametrize("positions", [None, EVERY_THIRD, WITHOUT_A_GROUP], ids=["all", "some", "not of every group"])
@pytest.mark.parametrize("group_rows", [200, 900], ids=["five row groups", "one row group"])
@pytest.mark.usefixtures("working_folder")
def test_a_window_is_encoded_as_its_rows(
    mini_windows: Frames, new_encoder: NewEncoder, window_of: WindowOf, group_rows: int, positions: Positions | None
) -> None:
    """Encoding by row groups gives the vocabulary and features of the whole table, to the bit."""
    rows = mini_windows["train"]
    window = window_of(rows, group_rows)
    encoder = new_encoder().fit_window(window, WORKERS, positions)
    chosen = rows if positions is None else rows.iloc[positions]
    expected = new_encoder().fit(chosen)
    assert encoder.vocabulary_ == expected.vocabulary_
    matrix = encoder.encoded(window, WORKERS, positions)
    assert matrix.shape == (len(chosen), 8)
    np.testing.assert_array_equal(matrix[:], expected.transform(chosen))


def test_a_scorer_without_categories_has_nothing_to_count(window_of: WindowOf) -> None:
    """If no vocabulary is needed, no row is read."""
    contract = Contract(route="/x", answer="decision", id=None, fields={"n": DeclaredField(type="count")}, features={})
    window = window_of(pd.DataFrame({"n": [1.0, 2.0]}))
    window.paths[0].unlink()
    assert FeatureEncoder(contract, NO_CATALOGUE).fit_window(window, Workers(Compute())).vocabulary_ == {}


def test_stage_keeps_the_learned_vocabulary(trained: Path, trained_rows: Callable[[str], pd.DataFrame]) -> None:
    """The vocabulary that the stage wrote is that of the training window's rows alone."""
    counts = trained_rows("train")["country"].value_counts()
    vocabulary = json.loads((trained / "build" / "mini" / "vocabulary.json").read_text())
    assert vocabulary["country"] == counts[counts >= 20].index.tolist()
    assert list(vocabulary) == ["country", "item"]
