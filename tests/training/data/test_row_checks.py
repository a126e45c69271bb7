"""Checks of rows: which rows are sampled, which break the contract, and how many may."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.row_checks import check_each_row, check_rows, declared_columns, require_few_bad_rows, sampled_rows
from training.declaration import ScorerDeclaration
from training.errors import DataError


def sampled(scorer: ScorerDeclaration, share: float) -> ScorerDeclaration:
    """The scorer, with this share of its rows sampled."""
    return scorer.model_copy(update={"split": scorer.split.model_copy(update={"sample": share})})


@given(
    cuts=st.lists(st.integers(0, 200), max_size=6).map(lambda cuts: [0, *sorted(cuts), 200]),
    share=st.sampled_from([0.1, 0.5, 0.9, 1.0]),
)
def test_sample_does_not_depend_on_where_rows_are_cut(
    mini_scorer: ScorerDeclaration, cuts: list[int], share: float
) -> None:
    """Rows sampled part by part are those sampled at once."""
    rows, scorer = pd.DataFrame({"place": range(200)}), sampled(mini_scorer, share)
    parts = [sampled_rows(rows[start:stop], scorer, start) for start, stop in pairwise(cuts)]
    pd.testing.assert_frame_equal(pd.concat(parts), sampled_rows(rows, scorer))


def test_sample_is_that_of_numpys_generator(mini_scorer: ScorerDeclaration) -> None:
    """The sample is the one that earlier releases drew."""
    rows = pd.DataFrame({"place": range(200)})
    expected = np.flatnonzero(np.random.default_rng(mini_scorer.seed).random(200) < 0.3)
    assert sampled_rows(rows, sampled(mini_scorer, 0.3))["place"].tolist() == expected.tolist()


def test_columns_stand_in_the_order_of_the_roles(mini_scorer: ScorerDeclaration) -> None:
    """The id and the entity first, then time, fields and label."""
    declared = mini_scorer.model_copy(update={"entity": "account"})
    assert declared_columns(declared) == ["row_id", "account", "at", *mini_scorer.fields, "is_fraud"]


def test_a_chunk_is_read_as_declared(mini_rows: pd.DataFrame, mini_scorer: ScorerDeclaration) -> None:
    """A column of dates takes no seconds and a column of seconds no dates, even if a chunk holds nothing else."""
    seconds = mini_rows.assign(at=np.arange(len(mini_rows), dtype=float))
    assert len(check_each_row(seconds, mini_scorer, is_number=True).clean) == len(mini_rows)
    checked = check_each_row(seconds, mini_scorer, is_number=False)
    assert set(checked.quarantined["rejected_because"]) == {"at is not a time"}
    assert len(check_each_row(mini_rows, mini_scorer, is_number=True).clean) == 0


def test_any_number_of_rows_of_a_chunk_may_be_bad(mini_rows: pd.DataFrame, mini_scorer: ScorerDeclaration) -> None:
    """Only the share of bad rows over all chunks counts."""
    bad = mini_rows.assign(amount=-1.0)
    assert len(check_each_row(bad, mini_scorer, is_number=False).clean) == 0
    with pytest.raises(DataError, match=r"1,500 of 1,500 rows \(100.00%\) break the contract"):
        check_rows(bad, mini_scorer)


def test_enough_rows_are_sound(mini_scorer: ScorerDeclaration) -> None:
    """The declared share itself is allowed; above it, the message counts the bad rows by reason."""
    require_few_bad_rows(200, 2, Counter(), mini_scorer)
    with pytest.raises(DataError) as caught:
        require_few_bad_rows(200, 3, {"amount: is below 0": 2, "the line is broken": 1}, mini_scorer)
    assert str(caught.value) == (
        "3 of 200 rows (1.50%) break the contract; quarantine.max_share allows 1.00%. "
        "amount: is below 0 in 2 rows; the line is broken in 1 row"
    )
