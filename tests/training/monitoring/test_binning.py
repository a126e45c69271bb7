"""Binning: a recorded value gets the bin in which the baseline counted it."""

from typing import Any

import numpy as np
import pytest

from handler.records.record import keyed_hash
from tests.training.monitoring.log_lines import BINNING, FEATURES
from training.monitoring.binning import UNRECORDED, Binning, unread_hashes


@pytest.mark.parametrize(
    ("feature", "values", "bins"),
    [
        ("amount", [None, -9.0, 0.0, 0.5, 1, 2.0, 2.1], [0, 1, 1, 2, 2, 3, 4]),
        ("amount", ["1.5"], [0]),
        ("country", [None, "other", "DE", "NA", "never seen"], [0, 1, 2, 3, 1]),
    ],
    ids=["numbers", "text for a number", "labels"],
)
def test_values_fall_into_the_baselines_bins(feature: str, values: list[Any], bins: list[int]) -> None:
    """A number's bin includes its upper edge, an unknown level is "other", and the first bin is for missing values."""
    assert BINNING.bins(feature, values).tolist() == bins


@pytest.mark.parametrize(("key", "expected"), [(b"secret", [2, 3, 1, 0]), (b"another", [1, 1, 1, 0])])
def test_hashed_labels_join_by_their_key(key: bytes, expected: list[int]) -> None:
    """Hashed levels are recognised with the key that hashed them, and are "other" with any other key."""
    labels = [keyed_hash(label, b"secret") for label in ("DE", "NA", "FR")]
    binning = Binning(FEATURES, key, frozenset({"country"}))
    assert binning.bins("country", [*labels, None]).tolist() == expected


@pytest.mark.parametrize(
    ("counts", "bins", "unread"),
    [
        # Counts of missing, other and known; of 40 recorded values, 30 should be known.
        ([5, 1, 3], [1] * 40 + [0] * 9 + [UNRECORDED] * 9, ["country"]),
        ([5, 1, 3], [1] * 40 + [2], []),
        # Only 10 of 40, or 19.5 of 26, would be expected to be known: too few to tell.
        ([5, 3, 1], [1] * 40, []),
        ([5, 1, 3], [1] * 26, []),
        ([5, 1, 3], [0] * 40, []),
        ([5, 1, 0], [1] * 40, []),
        ([0, 0, 0], [1] * 40, []),
    ],
)
def test_hashes_of_another_key_are_known(counts: list[int], bins: list[int], unread: list[str]) -> None:
    """Hashes are of another key if none is a known level's, although many should be."""
    features = {"amount": {"counts": [1, 1, 1]}, "country": {"counts": counts}}
    matrix = np.array([[1, code] for code in bins], dtype=np.uint16)
    assert unread_hashes(matrix, features, ("country",)) == unread
    assert unread_hashes(matrix, features, ()) == []


@pytest.mark.parametrize(
    ("recorded", "bins"),
    [
        ([{"country": "DE"}, {"amount": None}], [[UNRECORDED, 2], [0, UNRECORDED]]),
        ([{"amount": 1.5, "country": "DE", "gone": 7}], [[3, 2]]),
    ],
    ids=["features that were not recorded", "a feature that the baseline does not know"],
)
def test_matrix_has_the_baselines_features(recorded: list[dict[str, Any]], bins: list[list[int]]) -> None:
    """An omitted feature is unrecorded rather than missing, and a feature of another version is ignored."""
    assert BINNING.matrix(recorded).tolist() == bins


def test_matrix_of_nothing_has_its_columns() -> None:
    """Without any prediction, the matrix still has a column for each feature."""
    assert BINNING.matrix([]).shape == (0, 2)
