"""New rows are added to the data only if all of them are sound and new."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from handler.scoring.fields import DeclaredField
from training.data.row_checks import check_rows, declared_columns
from training.data.row_reader import read_columns
from training.declaration import ScorerDeclaration
from training.errors import DataError
from training.intake.append import UsedError, append_rows

Frame = pd.DataFrame
Scorer = ScorerDeclaration


@pytest.fixture(autouse=True)
def _in_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the user's project as the working folder."""
    monkeypatch.chdir(project)


@pytest.fixture
def new_rows(mini_rows: Frame) -> Frame:
    """A hundred rows of later days, with new ids."""
    later = mini_rows.head(100).copy()
    later["row_id"] = [f"new-{number}" for number in range(len(later))]
    later["at"] += pd.Timedelta(days=90)
    return later


def rows_of(scorer: Scorer) -> Frame:
    """The rows in the scorer's file, typed by its contract."""
    return check_rows(read_columns(Path(scorer.data), declared_columns(scorer)), scorer).clean.reset_index(drop=True)


def write(rows: Frame, name: str) -> Path:
    """Write rows to a CSV or Parquet file."""
    path = Path(name)
    rows.to_csv(path, index=False) if path.suffix == ".csv" else rows.to_parquet(path, index=False)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
@pytest.mark.parametrize("existing", [".parquet", ".csv"])
def test_new_rows_follow_the_old_ones(
    mini_scorer: Scorer, mini_rows: Frame, new_rows: Frame, suffix: str, existing: str
) -> None:
    """All values arrive as the contract types them, whichever kind of file they are added from and to."""
    scorer = mini_scorer.model_copy(update={"data": f"data/kept{existing}"})
    before = write(mini_rows, scorer.data).read_bytes()
    appended = append_rows(write(new_rows, f"new{suffix}"), scorer)
    assert (appended.rows, appended.frauds, len(appended.quarantined)) == (100, int(new_rows["is_fraud"].sum()), 0)
    both = check_rows(pd.concat([mini_rows, new_rows], ignore_index=True), scorer).clean
    pd.testing.assert_frame_equal(rows_of(scorer), both, check_dtype=False)
    if existing == ".csv":
        assert Path(scorer.data).read_bytes().startswith(before)
    else:
        assert pq.read_schema(scorer.data).equals(pa.Schema.from_pandas(mini_rows, preserve_index=False))


def as_types(rows: Frame) -> Frame:
    """Dates as a database exports them, without a time of day."""
    return rows.assign(opened=rows["opened"].dt.date.astype(object).where(rows["opened"].notna(), None))


def as_texts(rows: Frame) -> Frame:
    """Dates as text."""
    return rows.assign(opened=rows["opened"].dt.strftime("%Y-%m-%dT%H:%M:%S"))


@pytest.mark.parametrize("change", [lambda rows: rows, as_types, as_texts], ids=["timestamps", "dates", "texts"])
@pytest.mark.parametrize("existing", [lambda rows: rows, as_types, as_texts], ids=["timestamps", "dates", "texts"])
@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_dates_arrive_as_the_file_has_them(
    mini_scorer: Scorer,
    new_rows: Frame,
    existing: Callable[[Frame], Frame],
    change: Callable[[Frame], Frame],
    suffix: str,
) -> None:
    """Typed or textual dates are converted to the form that the file has, and missing ones stay missing."""
    fields = {**mini_scorer.fields, "opened": DeclaredField(type="date")}
    scorer = mini_scorer.model_copy(update={"fields": fields, "data": f"data/kept{suffix}"})
    old_rows = new_rows.assign(row_id=new_rows["row_id"] + " before", at=new_rows["at"] - pd.Timedelta(days=90))
    old, new = (
        rows.assign(opened=(rows["at"].dt.floor("D") - pd.Timedelta(days=9)).where(rows.index % 7 > 0))
        for rows in (old_rows, new_rows)
    )
    write(existing(old), scorer.data)
    append_rows(write(change(new), f"new{suffix}"), scorer)
    both = check_rows(pd.concat([old, new], ignore_index=True), scorer).clean
    pd.testing.assert_frame_equal(rows_of(scorer), both, check_dtype=False)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_new_rows_are_written_as_the_file_writes_its_own(
    mini_scorer: Scorer, mini_rows: Frame, new_rows: Frame, encoding: str
) -> None:
    """They are in the file's encoding, with its delimiters, even at the end of a row; a packed file is refused."""
    scorer = mini_scorer.model_copy(update={"data": "data/kept.csv"})
    text = mini_rows.assign(last="").rename(columns={"last": ""}).to_csv(index=False, sep=";")
    Path(scorer.data).write_bytes(text.encode(encoding))
    append_rows(write(new_rows, "new.csv"), scorer)
    both = check_rows(pd.concat([mini_rows, new_rows], ignore_index=True), scorer).clean
    pd.testing.assert_frame_equal(rows_of(scorer), both, check_dtype=False)
    Path(scorer.data).write_bytes(gzip.compress(text.encode(encoding)))
    with pytest.raises(DataError, match="is a gzip file, to which no row can be added; unpack it"):
        append_rows(write(new_rows, "new.csv"), scorer)


def test_undeclared_columns_stay(mini_scorer: Scorer, mini_rows: Frame, new_rows: Frame) -> None:
    """New rows have empty values in columns that only the data have; columns that only the new file has are dropped."""
    write(mini_rows.assign(note="kept", size=1), mini_scorer.data)
    append_rows(write(new_rows.assign(other="dropped", size=range(100)), "new.parquet"), mini_scorer)
    both = pd.read_parquet(mini_scorer.data)
    assert list(both) == [*mini_rows, "note", "size"]
    assert both["note"].head(len(mini_rows)).eq("kept").all()
    assert both["note"].tail(100).isna().all()
    assert both["size"].tail(100).tolist() == list(range(100))


def test_rows_that_are_all_in_the_data_are_nothing_new(mini_scorer: Scorer, mini_rows: Frame) -> None:
    """It has an error class of its own, which a scheduled run may treat as an answer rather than a mistake."""
    new = write(mini_rows.tail(20), "new.csv")
    with pytest.raises(
        UsedError, match=r"all of its 20 rows are already in data/rows\.parquet; run make retrain without ROWS"
    ):
        append_rows(new, mini_scorer)


@pytest.mark.parametrize("existing", [".csv", ".parquet"])
def test_times_are_written_in_one_way(mini_scorer: Scorer, mini_rows: Frame, new_rows: Frame, existing: str) -> None:
    """Mixed dates and seconds are refused: `prepare` would quarantine all rows of the rarer kind."""
    scorer = mini_scorer.model_copy(update={"data": f"data/kept{existing}"})
    write(mini_rows.assign(at=mini_rows["at"].map(pd.Timestamp.isoformat)), scorer.data)
    seconds = (new_rows["at"] - pd.Timestamp(0)) // pd.Timedelta(seconds=1)
    with pytest.raises(DataError, match="column at is written as '17"):
        append_rows(write(new_rows.assign(at=seconds), "new.csv"), scorer)
    assert append_rows(write(new_rows, "new.parquet"), scorer).rows == 100
    assert len(rows_of(scorer)) == len(mini_rows) + 100


Change = Callable[[Frame, Frame], Frame]

REFUSED: dict[str, tuple[Change, list[str]]] = {
    "a row that is in the data": (
        lambda new, old: pd.concat([new, old.head(2)], ignore_index=True),
        ["2 of its 102 rows are already in data/rows.parquet (row-0, row-1); remove them"],
    ),
    "a row without an id that is in the data": (
        lambda new, old: pd.concat([new, old.tail(3).assign(row_id=None)], ignore_index=True),
        ["1 of its 103 rows is already in data/rows.parquet; remove them"],
    ),
    "two rows without an id that are one": (
        lambda new, _old: pd.concat([new, new.tail(1).assign(row_id=None), new.tail(1).assign(row_id=None)]),
        ["1 row is repeated; remove them"],
    ),
    "rows of the future": (
        lambda new, _old: new.assign(at=new["at"] + pd.Timedelta(days=20_000)),
        ["column at has 2080-", "which is in the future; a labelled row must be in the past"],
    ),
    "seconds from a start of their own": (
        lambda new, _old: new.assign(at=np.arange(100.0)),
        ["column at has times from 0 to 99, but in data/rows.parquet they end at 2025-03-0"],
    ),
    "a row twice": (
        lambda new, _old: pd.concat([new, new.head(1)], ignore_index=True),
        ["1 row is repeated (new-0); remove them"],
    ),
    "a column is missing": (lambda new, _old: new.drop(columns="amount"), ["has no column amount"]),
    "a label is neither 0 nor 1": (
        lambda new, _old: new.assign(is_fraud=new["is_fraud"].mask(new.index == 0, 2)),
        ["column is_fraud holds 2", "every label must be 0 or 1"],
    ),
    "more bad rows than the quarantine takes": (
        lambda new, _old: new.assign(amount=new["amount"].mask(new.index < 5, -1.0)),
        ["5 of 100 rows (5.00%) break the contract", "amount: is below 0 in 5 rows"],
    ),
    "no row": (lambda new, _old: new.head(0), ["holds no rows"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_leaves_the_data_as_they_are(
    mini_scorer: Scorer, mini_rows: Frame, new_rows: Frame, case: str
) -> None:
    """The message names the file, the problem and the number of rows concerned; nothing is written."""
    change, parts = REFUSED[case]
    mini_rows.iloc[-1:, mini_rows.columns.get_loc("row_id")] = None
    before = write(mini_rows, mini_scorer.data).read_bytes()
    new = write(change(new_rows, mini_rows), "new.parquet")
    with pytest.raises(DataError) as refusal:
        append_rows(new, mini_scorer)
    for part in ["new.parquet", *parts]:
        assert part in str(refusal.value)
    assert Path(mini_scorer.data).read_bytes() == before
    assert [path.name for path in Path("data").iterdir() if path.name.startswith(".")] == []


def test_rows_without_an_id_are_compared_by_value(mini_scorer: Scorer, mini_rows: Frame, new_rows: Frame) -> None:
    """Rows without an id are equal if their values are, even if one comes from a CSV."""
    new = write(pd.concat([new_rows, mini_rows.head(3)]), "new.csv")
    with pytest.raises(DataError, match=r"3 of its 103 rows are already in data/rows\.parquet; remove them"):
        append_rows(new, mini_scorer.model_copy(update={"id": None}))


def test_a_line_that_cannot_be_read_is_named(mini_scorer: Scorer, new_rows: Frame) -> None:
    """It is named by its number in the new file; broken lines of the data, which `prepare` quarantines, are ignored."""
    scorer = mini_scorer.model_copy(update={"data": "data/kept.csv"})
    with write(pd.read_parquet(mini_scorer.data), scorer.data).open("a") as file:
        file.write("cut,short\n")
    new = write(new_rows, "new.csv")
    text = new.read_text()
    lines = text.splitlines()
    new.write_text("\n".join([*lines[:3], "cut,short", *lines[3:]]))
    with pytest.raises(DataError, match=r"^new\.csv, line 4: the line has 2 cells; the header has 9 names; correct"):
        append_rows(new, scorer)
    new.write_text(text)
    assert append_rows(new, scorer).rows == 100


def test_a_few_bad_rows_are_set_aside(mini_scorer: Scorer, new_rows: Frame) -> None:
    """As many bad rows as the quarantine allows are left out and reported with their reasons."""
    new = write(new_rows.assign(amount=new_rows["amount"].mask(new_rows.index == 7, -1.0)), "new.parquet")
    appended = append_rows(new, mini_scorer)
    assert appended.rows == 99
    assert appended.quarantined[["row_id", "rejected_because"]].to_numpy().tolist() == [["new-7", "amount is below 0"]]
    assert "new-7" not in set(pd.read_parquet(mini_scorer.data)["row_id"])


def test_values_must_fit_the_files_type(mini_scorer: Scorer, mini_rows: Frame, new_rows: Frame) -> None:
    """A value that would be rounded or dropped is refused."""
    write(mini_rows.assign(speed=mini_rows["speed"].round().astype("Int64")), mini_scorer.data)
    with pytest.raises(DataError, match=r"column speed does not fit data/rows\.parquet, where it is int64"):
        append_rows(write(new_rows, "new.parquet"), mini_scorer)
