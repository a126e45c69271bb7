"""Precision among the riskiest entities of each day, worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from training.errors import StageError
from training.evaluation.entity_precision import precision_at_top

DAY = 86_400.0
Row = tuple[float, str | None, float, int]

# Two days; each row has its time in days, its entity, its score and its label.
TWO_DAYS: list[Row] = [
    (0.0, "ann", 0.9, 1),
    (0.1, "bob", 0.8, 0),
    (0.2, "cid", 0.3, 1),
    (0.9, "bob", 0.1, 0),
    (1.0, "ann", 0.95, 1),
    (1.1, "cid", 0.7, 1),
    (1.2, "dan", 0.6, 0),
    (1.9, "eva", 0.5, 1),
]


def precision(rows: list[Row], top: int) -> float:
    """The precision among the `top` riskiest entities of each day."""
    days, entity, score, label = (np.array(column) for column in zip(*rows, strict=True))
    return precision_at_top(entity.astype(object), days * DAY, score, label.astype(np.int8), top)


@pytest.mark.parametrize(
    ("rows", "top", "expected"),
    [
        # On day one, one of ann and bob is a fraud; on day two ann is known already, and one of cid and dan is a fraud.
        (TWO_DAYS, 2, 1 / 2),
        # The rows may come in any order of time.
        (TWO_DAYS[::-1], 2, 1 / 2),
        # With one review a day, ann is found on day one and leaves day two's review to cid.
        (TWO_DAYS, 1, 1.0),
        # A fraud that was found is not reviewed again.
        ([(0.0, "ann", 0.9, 1), (1.0, "ann", 0.95, 1)], 1, 1 / 2),
        # An entity that was reviewed and legitimate on one day may be a fraud on the next.
        ([(0.0, "bob", 0.9, 0), (1.0, "bob", 0.9, 1)], 1, 1 / 2),
        # A defrauded entity that was not reviewed can be found on a later day.
        ([(0.0, "ann", 0.9, 0), (0.1, "bob", 0.1, 1), (1.0, "bob", 0.9, 1)], 1, 1 / 2),
        # On a day whose two entities are both frauds, 8 of 10 reviews still find nothing.
        ([(0.0, "ann", 0.9, 1), (0.1, "bob", 0.8, 1)], 10, 2 / 10),
        # An entity has its highest row's score, and is a fraud if any of its rows is, even another one.
        ([(0.0, "ann", 0.9, 0), (0.1, "ann", 0.1, 1), (0.2, "bob", 0.8, 0)], 1, 1.0),
        # A row without an entity is not reviewed, and a day with no other rows does not count.
        ([(0.0, None, 0.99, 1), (0.1, "ann", 0.5, 1), (1.0, None, 0.9, 0)], 1, 1.0),
        # The last second of a day does not belong to the next day.
        ([(1 - 1 / DAY, "ann", 0.9, 0), (1.0, "bob", 0.8, 1)], 1, 1 / 2),
    ],
)
def test_worked_case(rows: list[Row], top: int, expected: float) -> None:
    """The mean over days of the share of frauds among the riskiest entities, without frauds found earlier."""
    assert precision(rows, top) == expected


@pytest.mark.parametrize("top", [1, 3])
def test_table_of_texts(top: int) -> None:
    """A text column as Parquet gives it, with missing texts, gives the same as an array of objects."""
    table = pd.DataFrame(TWO_DAYS, columns=["day", "card", "score", "is_fraud"])
    measured = precision_at_top(
        table["card"].astype("string").to_numpy(),
        (table["day"] * DAY).to_numpy(),
        table["score"].to_numpy(),
        table["is_fraud"].to_numpy(np.int8),
        top,
    )
    assert measured == precision(TWO_DAYS, top)


def test_a_column_without_an_entity_is_refused() -> None:
    """Without any entity there is no day to take the mean over."""
    with pytest.raises(StageError, match="declare entity: null"):
        precision([(0.0, None, 0.9, 1), (1.0, None, 0.8, 0)], 1)
