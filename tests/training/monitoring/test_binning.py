"""Binning: a recorded value falls into the bin in which the baseline counted it."""

from typing import Any

import pytest

from handler.records.record import keyed_hash
from training.monitoring.binning import UNRECORDED, Binning

FEATURES: dict[str, Any] = {
    "amount": {"edges": [0.0, 1.0, 2.0], "counts": [1] * 5},
    "country": {"labels": ["other", "DE", "NA"], "counts": [1] * 4},
}
BINNING = Binning(FEATURES)


def test_numbers_fall_into_the_baselines_bins() -> None:
    """A number's bin ends at its edge, which it includes; the first one is for what is missing."""
    assert BINNING.bins("amount", [None, -9.0, 0.0, 0.5, 1, 2.0, 2.1]).tolist() == [0, 1, 1, 2, 2, 3, 4]


def test_text_in_a_numbers_place_is_missing() -> None:
    """A version whose feature of that name was a text gives no number."""
    assert BINNING.bins("amount", ["1.5"]).tolist() == [0]


def test_unknown_label_is_other() -> None:
    """A label that the baseline does not have counts as the first one, "other"; None as missing."""
    assert BINNING.bins("country", [None, "other", "DE", "NA", "never seen"]).tolist() == [0, 1, 2, 3, 1]


@pytest.mark.parametrize(("key", "expected"), [(b"secret", [2, 3, 1, 0]), (b"another", [1, 1, 1, 0])])
def test_hashed_labels_join_by_their_key(key: bytes, expected: list[int]) -> None:
    """Hashed labels are recognised with the key that they were hashed with, and are "other" with any other."""
    labels = [keyed_hash(label, b"secret") for label in ("DE", "NA", "FR")]
    binning = Binning(FEATURES, key, frozenset({"country"}))
    assert binning.bins("country", [*labels, None]).tolist() == expected


def test_omitted_feature_is_unrecorded() -> None:
    """A feature that a line does not hold is unrecorded, which is not missing."""
    assert BINNING.matrix([{"country": "DE"}, {"amount": None}]).tolist() == [[UNRECORDED, 2], [0, UNRECORDED]]


def test_feature_beyond_the_baseline_is_left_out() -> None:
    """A feature of another version, which the baseline does not know, changes nothing."""
    assert BINNING.matrix([{"amount": 1.5, "country": "DE", "gone": 7}]).tolist() == [[3, 2]]


def test_nothing_recorded_has_its_columns() -> None:
    """Without a prediction there is a column for each feature all the same."""
    assert BINNING.matrix([]).shape == (0, 2)
