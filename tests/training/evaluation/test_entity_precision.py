"""Entities: precision among the first cards of each day, worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from training.errors import StageError
from training.evaluation.entity_precision import precision_at_top

DAY = 86_400.0
Row = tuple[float, str | None, float, int]

# Two days; per row when, whose, score and label.
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
    """The precision among the first of each day."""
    days, entity, score, label = (np.array(column) for column in zip(*rows, strict=True))
    return precision_at_top(entity.astype(object), days * DAY, score, label.astype(np.int8), top)


def test_worked_case() -> None:
    """Day one has ann and bob, one of two; on day two ann is known, and cid and dan are one of two again."""
    assert precision(TWO_DAYS, 2) == (1 / 2 + 1 / 2) / 2


def test_found_entity_is_not_reviewed_again() -> None:
    """With one look a day, ann is found on day one and leaves day two's look to cid."""
    assert precision(TWO_DAYS, 1) == 1.0
    only_ann = [row for row in TWO_DAYS if row[1] == "ann"]
    assert precision(only_ann, 1) == 1 / 2


def test_entity_that_was_cleared_is_reviewed_again() -> None:
    """An entity that was no fraud on one day may be one on the next."""
    assert precision([(0.0, "bob", 0.9, 0), (1.0, "bob", 0.9, 1)], 1) == 1 / 2


def test_fraud_beyond_the_first_is_not_found() -> None:
    """A defrauded entity that was not reviewed can be found on a later day."""
    rows: list[Row] = [(0.0, "ann", 0.9, 0), (0.1, "bob", 0.1, 1), (1.0, "bob", 0.9, 1)]
    assert precision(rows, 1) == 1 / 2


def test_day_with_few_entities_is_divided_by_all_looks() -> None:
    """A day whose two entities are both frauds still has 8 of 10 looks in vain."""
    assert precision([(0.0, "ann", 0.9, 1), (0.1, "bob", 0.8, 1)], 10) == 2 / 10


def test_highest_row_of_the_day_counts() -> None:
    """An entity has the score of its highest row and is a fraud if any row is, be it another one."""
    rows: list[Row] = [(0.0, "ann", 0.9, 0), (0.1, "ann", 0.1, 1), (0.2, "bob", 0.8, 0)]
    assert precision(rows, 1) == 1.0


def test_rows_without_an_entity_are_left_out() -> None:
    """A row without an entity is no card to review, and a day of such rows alone is no day."""
    rows: list[Row] = [(0.0, None, 0.99, 1), (0.1, "ann", 0.5, 1), (1.0, None, 0.9, 0)]
    assert precision(rows, 1) == 1.0


def test_day_ends_at_midnight() -> None:
    """The last second of a day is another day than the next one."""
    rows: list[Row] = [(1 - 1 / DAY, "ann", 0.9, 0), (1.0, "bob", 0.8, 1)]
    assert precision(rows, 1) == 1 / 2


def test_order_of_the_rows_does_not_matter() -> None:
    """The rows may come in any order of time."""
    assert precision(TWO_DAYS[::-1], 2) == precision(TWO_DAYS, 2)


@pytest.mark.parametrize("top", [1, 3])
def test_table_of_texts(top: int) -> None:
    """A column as parquet gives it, with missing texts, is measured like an array of objects."""
    table = pd.DataFrame(TWO_DAYS, columns=["day", "card", "score", "is_fraud"])
    found = precision_at_top(
        table["card"].astype("string").to_numpy(),
        (table["day"] * DAY).to_numpy(),
        table["score"].to_numpy(),
        table["is_fraud"].to_numpy(np.int8),
        top,
    )
    assert found == precision(TWO_DAYS, top)


def test_a_column_without_an_entity_is_refused() -> None:
    """A mean over no day at all would be no number."""
    with pytest.raises(StageError, match="declare entity: null"):
        precision([(0.0, None, 0.9, 1), (1.0, None, 0.8, 0)], 1)
