"""Inference: a whole file becomes a declaration."""

import numpy as np
import pandas as pd
import pytest

from handler.scoring.fields import DeclaredField
from training.errors import DataError
from training.intake.infer import infer

N = 400


def texts(*values: str | None) -> pd.Series:
    """The values, repeated to N rows, as a CSV's column."""
    return pd.Series([values[i % len(values)] for i in range(N)], dtype="str")


def test_many_labels_leave_the_rare_ones_to_other() -> None:
    """Only frequent ones of hundreds of levels are learned: each level is a column of the linear candidate."""
    names = [f"m{number}" for number in range(150) for _ in range(50 + number)]
    rows = pd.DataFrame({"merchant": names}).sample(frac=1, random_state=7, ignore_index=True)
    inferred = infer(rows.assign(y=np.arange(len(names)) % 2), "y", None)
    counts = rows["merchant"].iloc[: len(names) * 8 // 10].value_counts()
    min_rows = inferred.fields["merchant"].min_rows
    assert 90 <= (counts >= min_rows).sum() <= 100
    assert not [notice for notice in inferred.notices if notice.startswith("merchant")]


def test_what_other_swallows_is_told() -> None:
    """If most rows have a rare value in a field, the notice says how many levels are learned."""
    frequent, rare = ["shop 1", "shop 2"] * 400, [f"shop {number}" for number in range(3, 1_203)]
    rows = pd.DataFrame({"merchant": [*frequent, *rare]}).sample(frac=1, random_state=7, ignore_index=True)
    rows["x"] = np.arange(2_000) / 7
    notices = infer(rows.assign(y=[0, 1] * 1_000), "y", None).notices
    assert notices[-1] == "merchant: 2 of 1,202 values are learned, 60% of the rows count as other"


def test_quotes_inside_cells_change_nothing() -> None:
    """A file gives the same declaration and the same rows with or without quotes inside its cells."""
    plain = pd.DataFrame(
        {"age": [*"123456U"] * 99, "category": ["food", "fuel", "toys"] * 231, "y": ["0", "0", "1"] * 231}, dtype="str"
    )
    quoted = plain.map("'{}'".format).astype("str")
    inferred, expected = infer(quoted, "y", None, is_text=True), infer(plain, "y", None, is_text=True)
    assert inferred.fields == expected.fields
    pd.testing.assert_frame_equal(inferred.rows, expected.rows)
    assert inferred.notices[0].startswith("age, category, y: cells are in quotes, such as '1';")


def test_whole_file() -> None:
    """A file becomes fields, time and label; columns of the label and rows without a label are left out."""
    rows = pd.DataFrame(
        {
            "When?": ["31/01/2024", "01/02/2024"] * (N // 2),
            "Amount (USD)": [f"{value % 9}.25" for value in range(N)],
            "status": texts("paid", "chargeback", "paid", None),
        }
    )
    inferred = infer(rows, 'status == "chargeback"', "When?", is_text=True)
    assert list(inferred.rows) == ["when", "amount_usd", "label"]
    assert inferred.fields == {"amount_usd": DeclaredField(type="money", unit="USD", min=0)}
    assert inferred.columns == {"amount_usd": "Amount (USD)"}
    assert (len(inferred.rows), inferred.rows["label"].sum()) == (N * 3 // 4, N // 4)
    assert inferred.notices == [
        "status: left out, because LABEL is computed from it",
        "100 rows are left out: a missing value makes their label unknown",
        "282 rows are equal to another in every column, but kept, because no column identifies a row",
        "When?: read with the day first, as in 31/01/2024",
        "When?: from 2024-01-31 to 2024-02-01",
        "1 column is renamed: 'Amount (USD)' is amount_usd",
    ]


def test_without_time_the_rows_are_the_order() -> None:
    """Without TIME, rows are ordered by their place in the file; the notice says what this means for the metrics."""
    inferred = infer(pd.DataFrame({"x": [1.5, 2.5] * 9, "y": [0, 1] * 9, "row_number": [3, 4] * 9}), "y", None)
    assert inferred.rows["row_number"].tolist() == list(range(18))
    assert list(inferred.fields) == ["x", "row_number_2"]
    assert "the metrics are too optimistic" in inferred.notices[1]


@pytest.mark.parametrize(
    ("label", "time", "why"),
    [
        ("y", "tiem", "TIME is tiem, which is not a column; did you mean time?"),
        ("y", "zzz", "TIME is zzz, which is not a column; the file has time, y, id"),
        ("y", "y", "LABEL and TIME are both y"),
        ("y", "time", "no column is left to learn from: time: holds numbers from 0 to 399 that are not dates"),
    ],
)
def test_impossible_files_are_refused(label: str, time: str, why: str) -> None:
    """A file that cannot become a scorer is refused in one sentence."""
    rows = pd.DataFrame({"time": np.arange(N), "y": [0, 1] * (N // 2), "id": np.arange(N)})
    with pytest.raises(DataError) as refused:
        infer(rows, label, time)
    assert why in str(refused.value)
