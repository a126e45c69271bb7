"""Repeated rows: what exports that overlap hold twice counts once."""

import numpy as np
import pandas as pd

from training.intake.infer import infer
from training.intake.repeated_rows import repeated_rows

N = 600


def payments() -> pd.DataFrame:
    """Rows with an id, a time and an amount that customers often repeat."""
    return pd.DataFrame(
        {
            "payment_id": [f"p{number}" for number in range(N)],
            "customer_id": [f"c{number % 400}" for number in range(N)],
            "at": pd.Timestamp("2025-01-01") + pd.to_timedelta(np.arange(N) // 6, unit="D"),
            "amount": np.arange(N) % 9 + 0.5,
            "y": (np.arange(N) % 20 == 0).astype(int),
        }
    )


def test_overlapping_exports_count_once() -> None:
    """Rows that are equal in every column are told and dropped, without TIME too."""
    rows = payments()
    twice = pd.concat([rows[:400], rows[300:]], ignore_index=True)
    for time in ("at", None):
        file = infer(twice, "y", time)
        assert len(file.rows) == N
        assert file.rows["y"].sum() == rows["y"].sum()
        assert "100 rows are in the file twice (equal in every column) and count once" in file.notices


def test_last_label_counts() -> None:
    """Where a later export has another label for the same row, that one counts."""
    rows = payments()
    twice = pd.concat([rows.assign(y=0)[:50], rows], ignore_index=True)
    file = infer(twice, "y", "at")
    assert file.rows["y"].sum() == rows["y"].sum()
    assert "50 rows are in the file twice (equal in every column but the label) and count once" in file.notices


def test_same_id_and_time_is_the_same_row() -> None:
    """A row whose other columns were changed later is the same by its id; a customer's other rows are not."""
    rows = payments()
    twice = pd.concat([rows[:30].assign(amount=0.0), rows], ignore_index=True)
    is_repeated, notices = repeated_rows(twice, {"y"}, "at")
    assert is_repeated.sum() == 30
    assert is_repeated[:30].all()
    assert notices == ["payment_id: 30 rows have the id and time of a later row, of which only the last counts"]


def test_rows_that_nothing_tells_apart_are_kept() -> None:
    """Without an id or a fine time equal rows may well be different payments; they are kept and told."""
    rows = pd.DataFrame({"band": np.arange(N) % 3, "shop": np.arange(N) % 5, "y": np.arange(N) % 7 == 0})
    is_repeated, [notice] = repeated_rows(rows, {"y"}, None)
    assert not is_repeated.any()
    assert notice.startswith("585 rows are equal to another in every column and kept")


def test_lists_are_compared_too() -> None:
    """Values that cannot be hashed, as Parquet holds them, are no obstacle."""
    rows = payments().assign(items=[[number] for number in range(N)])
    assert repeated_rows(pd.concat([rows, rows[:5]], ignore_index=True), {"y"}, "at")[0].sum() == 5
