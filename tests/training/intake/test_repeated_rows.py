"""Repeated rows: rows that overlapping exports contain twice count once."""

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
    """Rows that are equal in every column are dropped and reported, with or without TIME."""
    rows = payments()
    twice = pd.concat([rows[:400], rows[300:]], ignore_index=True)
    for time in ("at", None):
        file = infer(twice, "y", time)
        assert len(file.rows) == N
        assert file.rows["y"].sum() == rows["y"].sum()
        assert "100 rows are in the file twice (equal in every column) and count once" in file.notices


def test_last_label_counts() -> None:
    """If a later export has another label for the same row, the later label counts."""
    rows = payments()
    twice = pd.concat([rows.assign(y=0)[:50], rows], ignore_index=True)
    file = infer(twice, "y", "at")
    assert file.rows["y"].sum() == rows["y"].sum()
    assert "50 rows are in the file twice (equal in every column but the label) and count once" in file.notices


def test_same_id_and_time_is_the_same_row() -> None:
    """A row that was changed later is recognised by its id and time; a customer's other rows are kept."""
    rows = payments()
    twice = pd.concat([rows[:30].assign(amount=0.0), rows], ignore_index=True)
    is_repeated, notices = repeated_rows(twice, {"y"}, "at")
    assert is_repeated.sum() == 30
    assert is_repeated[:30].all()
    assert notices == ["payment_id: 30 rows have the same id and time as a later row; only the last one counts"]


def test_rows_that_nothing_tells_apart_are_kept() -> None:
    """Without an id or a precise time, equal rows may be different payments, so they are kept and reported."""
    rows = pd.DataFrame({"band": np.arange(N) % 3, "shop": np.arange(N) % 5, "y": np.arange(N) % 7 == 0})
    is_repeated, [notice] = repeated_rows(rows, {"y"}, None)
    assert not is_repeated.any()
    assert notice.startswith("585 rows are equal to another in every column, but kept")


def test_lists_are_compared_too() -> None:
    """Values that cannot be hashed, such as a Parquet file's lists, are compared as well."""
    rows = payments().assign(items=[[number] for number in range(N)])
    assert repeated_rows(pd.concat([rows, rows[:5]], ignore_index=True), {"y"}, "at")[0].sum() == 5
