"""Frames: a column's values are the same wherever the table is cut."""

import pandas as pd
import pyarrow as pa

from training.data.frames import frame_of


def test_a_whole_number_stays_one_beside_a_missing_one() -> None:
    """More digits than a float has are kept, whether a row of the chunk lacks the number or not."""
    table = pa.table({"n": pa.array([2**60 + 1, None], pa.int64())})
    assert frame_of(table)["n"][0] == frame_of(table[:1])["n"][0] == 2**60 + 1
    assert frame_of(table)["n"].isna().tolist() == [False, True]


def test_a_dictionary_is_its_values() -> None:
    """What pandas would read as a category is read as what it stands for."""
    table = pa.table(
        {"a": pa.array(["x", "y", None]).dictionary_encode(), "n": pa.array([1, 2, 1]).dictionary_encode()}
    )
    found = frame_of(table)
    assert found["a"].isna().tolist() == [False, False, True]
    assert found["a"][:2].tolist() == ["x", "y"]
    assert found["n"].tolist() == [1, 2, 1]


def test_fractions_are_not_taken_for_whole() -> None:
    """A column of numbers that name things keeps its decimals in a chunk in which all happen to be whole."""
    table = pa.table({"code": [5411.0, 742.0], "amount": [1.0, 2.0]})
    found = frame_of(table, {"code"})
    assert found["code"].dtype == object
    assert list(map(str, found["code"])) == ["5411.0", "742.0"]
    assert found["amount"].dtype == float


def test_an_index_of_pandas_does_not_come_back() -> None:
    """Rows stand by their place, whatever pandas noted in the file."""
    rows = pd.DataFrame({"a": [1.0, 2.0]}, index=pd.Index(["x", "y"], name="key"))
    found = frame_of(pa.Table.from_pandas(rows))
    assert found.index.tolist() == [0, 1]
    assert list(found.columns) == ["a", "key"]
