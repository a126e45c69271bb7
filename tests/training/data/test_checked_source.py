"""Source: declared files are read by chunks, some rows once more, and unusable files are refused."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from training.data.checked_source import CheckedChunk, Source, check_source, open_source, read_checked
from training.declaration import ScorerDeclaration
from training.errors import DataError
from training.run.processes import Workers

Opened = Callable[[str], Source]
Change = Callable[[pd.DataFrame], pd.DataFrame]


@pytest.fixture
def opened(working_folder: Path, in_chunks: Callable[[int], ScorerDeclaration]) -> Opened:
    """Open a file or a folder below data/ as the mini scorer's data, in chunks of 1,000 rows."""
    (working_folder / "data").mkdir()
    return lambda name: open_source(in_chunks(1_000).model_copy(update={"data": f"data/{name}"}))


def checked(source: Source) -> list[CheckedChunk]:
    """All chunks, checked."""
    return list(check_source(source, Workers(source.scorer.compute)))


def write_folder(rows: pd.DataFrame, *sizes: int) -> Path:
    """Write a folder of Parquet files with these numbers of rows."""
    folder = Path("data/parts")
    folder.mkdir()
    cuts = np.cumsum([0, *sizes])
    for number, (start, stop) in enumerate(pairwise(cuts)):
        rows[start:stop].to_parquet(folder / f"part-{number}.parquet", index=False)
    return folder


def test_chunks_know_their_place(many_rows: pd.DataFrame, opened: Opened) -> None:
    """Each row has its place among all rows, and its chunk knows the place at which its file begins."""
    write_folder(many_rows, 1_500, 600, 3_900)
    chunks = checked(opened("parts"))
    assert [(len(chunk), chunk.part, chunk.first) for chunk in chunks] == [
        *((1_000, 0, 0), (500, 0, 0), (600, 1, 1_500)),
        *((1_000, 2, 2_100), (1_000, 2, 2_100), (1_000, 2, 2_100), (900, 2, 2_100)),
    ]
    clean = pd.concat([chunk.clean for chunk in chunks])
    assert clean.index.tolist() == list(range(6_000))
    assert clean["row_id"].tolist() == many_rows["row_id"].tolist()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_rows_are_read_once_more(many_rows: pd.DataFrame, opened: Opened, kind: str) -> None:
    """Rows are read again as they are in the file, and those of one chunk come together."""
    path = Path(f"data/rows.{kind}")
    opened_later = many_rows.assign(is_new=many_rows["is_new"].astype(float))
    opened_later.to_csv(path, index=False) if kind == "csv" else opened_later.to_parquet(path, index=False)
    places = np.array([0, 999, 1_000, 4_321], dtype=np.int64)
    reread = list(opened(path.name).rows_at(places))
    assert [again.rows.index.tolist() for again in reread] == [[0, 999], [1_000], [4_321]]
    assert {(again.part, again.first) for again in reread} == {(0, 0)}
    together = pd.concat([again.rows for again in reread])
    assert together["row_id"].tolist() == [f"row-{place}" for place in places]
    assert together["amount"].astype(float).tolist() == many_rows["amount"][places].tolist()


def test_no_file_is_read_for_no_places(many_rows: pd.DataFrame, opened: Opened) -> None:
    """If no row is requested, the file need not even exist any more."""
    many_rows.to_parquet("data/rows.parquet")
    source = opened("rows.parquet")
    Path("data/rows.parquet").unlink()
    assert list(source.rows_at(np.empty(0, np.int64))) == []


def test_a_code_has_one_spelling_in_all_chunks(many_rows: pd.DataFrame, opened: Opened) -> None:
    """Numbers in a category are whole or not by all rows of the column, not by those of one chunk."""
    codes = np.where(many_rows.index == 5_000, 0.5, 5_411.0)
    many_rows.assign(country=codes).to_parquet("data/rows.parquet")
    countries = pd.concat([chunk.clean["country"] for chunk in checked(opened("rows.parquet"))])
    assert set(countries) == {"5411.0", "0.5"}
    many_rows.assign(country=np.where(many_rows.index < 1_000, np.nan, 5_411.0)).to_parquet("data/rows.parquet")
    countries = pd.concat([chunk.clean["country"] for chunk in checked(opened("rows.parquet"))])
    assert set(countries) == {"5411"}


def test_a_wrong_label_is_named(many_rows: pd.DataFrame, opened: Opened) -> None:
    """The message names the file and the rows of the chunk, counted within the file."""
    many_rows.assign(is_fraud=many_rows["is_fraud"].mask(many_rows.index == 2_345, 2)).to_csv("data/rows.csv")
    with pytest.raises(DataError) as caught:
        checked(opened("rows.csv"))
    assert str(caught.value) == (
        "data/rows.csv, rows 2,001 to 3,000: column is_fraud holds '2' (1 rows); every label must be 0 or 1"
    )
    write_folder(many_rows.assign(is_fraud=many_rows["is_fraud"].mask(many_rows.index == 5_999, 7)), 2_500, 3_500)
    with pytest.raises(DataError, match=r"^data/parts/part-1.parquet, rows 3,001 to 3,500: column is_fraud holds 7 "):
        checked(opened("parts"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rows: rows.assign(amount=rows["amount"].astype(str)),
            "has column amount as large_string; part-0.parquet has it as double",
        ),
        (lambda rows: rows.drop(columns="speed"), "has no column speed; part-0.parquet has it as double"),
        (lambda rows: rows.assign(new=1.0), "has column new as double; part-0.parquet has none"),
    ],
    ids=["type", "missing", "more"],
)
def test_a_part_of_another_schema(many_rows: pd.DataFrame, opened: Opened, change: Change, message: str) -> None:
    """Parts whose columns differ are refused before a row is read, and both files are named."""
    write_folder(many_rows, 100, 100)
    change(many_rows).to_parquet("data/parts/part-1.parquet", index=False)
    with pytest.raises(DataError) as caught:
        opened("parts")
    assert str(caught.value).startswith(f"data/parts/part-1.parquet {message}")


def test_a_damaged_parquet_file(many_rows: pd.DataFrame, opened: Opened) -> None:
    """A truncated file is refused at once, one with a damaged page when the chunk of that page is read."""
    path = Path("data/rows.parquet")
    many_rows.to_parquet(path, row_group_size=1_000)
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes(4_000) + content[middle + 4_000 :])
    source = opened("rows.parquet")
    message = r"^data/rows.parquet cannot be read; it may be damaged or truncated: "
    with pytest.raises(DataError, match=message):
        checked(source)
    path.write_bytes(content[:-100])
    with pytest.raises(DataError, match=message):
        opened("rows.parquet")


def test_declared_columns_are_missing(many_rows: pd.DataFrame, opened: Opened) -> None:
    """Missing columns are named with those that the file has."""
    many_rows.drop(columns=["speed", "at"]).to_csv("data/rows.csv", index=False)
    with pytest.raises(DataError, match=r"^data/rows.csv has no column at, speed; it has amount, country"):
        opened("rows.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "data/parts is a folder without data files; it must hold .csv or .parquet files"),
        (
            {"notes.md": ""},
            "data/parts holds notes.md, which is not a .csv or .parquet file",
        ),
        ({"a.csv": ""}, "data/parts/a.csv is empty: it has no columns"),
        ({"a.csv": "x,y\n"}, "data/parts holds no rows"),
    ],
    ids=["empty folder", "another file", "empty file", "header alone"],
)
def test_a_folder_that_holds_no_rows(opened: Opened, content: dict[str, str], message: str) -> None:
    """A folder without any rows is refused with the sentence for its case."""
    Path("data/parts").mkdir()
    for name, text in content.items():
        Path("data/parts", name).write_text(text)
    with pytest.raises(DataError) as caught:
        opened("parts")
    assert str(caught.value).startswith(message)


def test_a_csv_without_a_sound_line(many_rows: pd.DataFrame, opened: Opened) -> None:
    """Blank lines are not rows; if every line has too many cells, the message says so."""
    Path("data/rows.csv").write_text(",".join(many_rows.columns) + "\n\n\n")
    with pytest.raises(DataError, match=r"^data/rows.csv holds no rows$"):
        opened("rows.csv")
    header, *lines = many_rows.head(5).to_csv(index=False).splitlines()
    Path("data/rows.csv").write_text("\n".join([header, *(f"{line},x,y" for line in lines)]))
    wrong = "^data/rows.csv holds no row that can be read; for example, the line has 11 cells; the header has 9 names$"
    with pytest.raises(DataError, match=wrong):
        opened("rows.csv")


def test_files_of_other_programs_are_passed_over(many_rows: pd.DataFrame, opened: Opened) -> None:
    """A file whose name begins with a dot or an underscore, such as Spark's _SUCCESS, is skipped."""
    folder = write_folder(many_rows, 3_000, 3_000)
    (folder / "_SUCCESS").touch()
    (folder / ".part-0.parquet.crc").touch()
    assert sum(map(len, checked(opened("parts")))) == 6_000


def test_a_missing_value_does_not_change_a_whole_number(many_rows: pd.DataFrame, opened: Opened) -> None:
    """An id with more digits than a float holds stays exact beside a missing one."""
    ids: Any = pd.array(many_rows.index + 2**60, dtype="Int64")
    ids[17] = pd.NA
    many_rows.assign(row_id=ids).to_parquet("data/rows.parquet")
    clean = checked(opened("rows.parquet"))[0].clean
    assert clean["row_id"][16] == str(2**60 + 16)
    assert pd.isna(clean["row_id"][17])


def test_rows_in_memory_are_those_that_prepare_keeps(
    many_rows: pd.DataFrame, working_folder: Path, in_chunks: Callable[[int], ScorerDeclaration]
) -> None:
    """Rows read at once are those that `prepare` keeps; broken lines, bad rows and repeated ids all count as bad."""
    spoilt = many_rows.assign(
        row_id=many_rows["row_id"].mask(many_rows.index.isin([1_500, 5_400]), "row-10"),
        amount=many_rows["amount"].mask(many_rows.index == 4_000, -5.0),
    )
    (working_folder / "data").mkdir()
    path = working_folder / "data" / "rows.csv"
    path.write_text(spoilt.to_csv(index=False).replace("row-7,", "row-7,,", 1))
    scorer = in_chunks(1_000).model_copy(update={"data": "data/rows.csv"})
    assert read_checked(scorer).index.tolist() == [
        place for place in range(6_000) if place not in {7, 1_500, 4_000, 5_400}
    ]
    quarantine = scorer.quarantine.model_copy(update={"max_share": 0.0})
    with pytest.raises(DataError, match=r"^4 of 6,000 rows .*the line is broken in 1 row.*row_id: was seen in an ear"):
        read_checked(scorer.model_copy(update={"quarantine": quarantine}))
