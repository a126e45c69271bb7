"""New rows become part of the data only when all of them are sound and new."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.data.chunks import read_columns
from training.data.row_checks import check_rows, columns_of
from training.declaration import ScorerDeclaration
from training.errors import DataError
from training.intake.append import UsedError, append_rows


@pytest.fixture
def place(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder, as the working folder."""
    monkeypatch.chdir(project)
    return project


@pytest.fixture
def new_rows(mini_rows: pd.DataFrame) -> pd.DataFrame:
    """A hundred rows of later days under ids of their own."""
    later = mini_rows.head(100).copy()
    later["row_id"] = [f"new-{number}" for number in range(len(later))]
    later["at"] += pd.Timedelta(days=90)
    return later


def rows_of(scorer: ScorerDeclaration) -> pd.DataFrame:
    """What the scorer's file holds, as its contract types it."""
    return check_rows(read_columns(Path(scorer.data), columns_of(scorer)), scorer).clean.reset_index(drop=True)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
@pytest.mark.parametrize("existing", [".parquet", ".csv"])
@pytest.mark.usefixtures("place")
def test_new_rows_follow_the_old_ones(
    mini_scorer: ScorerDeclaration, mini_rows: pd.DataFrame, new_rows: pd.DataFrame, suffix: str, existing: str
) -> None:
    """From either kind of file into either kind, all values arrive as the contract types them."""
    scorer = mini_scorer.model_copy(update={"data": f"data/kept{existing}"})
    write(mini_rows, Path(scorer.data))
    before = Path(scorer.data).read_bytes()
    write(new_rows, Path(f"new{suffix}"))
    appended = append_rows(Path(f"new{suffix}"), scorer)
    assert (appended.rows, appended.frauds, len(appended.quarantined)) == (100, int(new_rows["is_fraud"].sum()), 0)
    both = check_rows(pd.concat([mini_rows, new_rows], ignore_index=True), scorer).clean
    pd.testing.assert_frame_equal(rows_of(scorer), both, check_dtype=False)
    if existing == ".csv":
        assert Path(scorer.data).read_bytes().startswith(before)
    else:
        assert pq.read_schema(scorer.data).equals(pa.Schema.from_pandas(mini_rows, preserve_index=False))


def write(rows: pd.DataFrame, path: Path) -> None:
    """Write rows as a user would."""
    if path.suffix == ".csv":
        rows.to_csv(path, index=False)
    else:
        rows.to_parquet(path, index=False)


@pytest.mark.usefixtures("place")
def test_columns_of_the_file_alone_stay_and_are_empty_for_new_rows(
    mini_scorer: ScorerDeclaration, mini_rows: pd.DataFrame, new_rows: pd.DataFrame
) -> None:
    """A note that nobody declared is kept where it was; what only the new file has is left out."""
    mini_rows.assign(note="kept", size=1).to_parquet(mini_scorer.data, index=False)
    new_rows.assign(other="dropped", size=range(100)).to_parquet("new.parquet", index=False)
    append_rows(Path("new.parquet"), mini_scorer)
    both = pd.read_parquet(mini_scorer.data)
    assert list(both) == [*mini_rows, "note", "size"]
    assert both["note"].head(len(mini_rows)).eq("kept").all()
    assert both["note"].tail(100).isna().all()
    assert both["size"].tail(100).tolist() == list(range(100))


@pytest.mark.usefixtures("place")
def test_rows_that_are_all_in_the_data_are_nothing_new(mini_scorer: ScorerDeclaration, mini_rows: pd.DataFrame) -> None:
    """Which a schedule may take for an answer, not for a mistake."""
    mini_rows.tail(20).to_csv("new.csv", index=False)
    with pytest.raises(UsedError, match=r"all of its 20 rows are in data/rows\.parquet already; without ROWS="):
        append_rows(Path("new.csv"), mini_scorer)


@pytest.mark.parametrize("existing", [".csv", ".parquet"])
@pytest.mark.usefixtures("place")
def test_times_are_written_in_one_way(
    mini_scorer: ScorerDeclaration, mini_rows: pd.DataFrame, new_rows: pd.DataFrame, existing: str
) -> None:
    """Seconds among dates, or dates among seconds, would be no times to `prepare`, and set aside one and all."""
    scorer = mini_scorer.model_copy(update={"data": f"data/kept{existing}"})
    dates, seconds = (
        rows.assign(at=as_written(rows["at"])) for rows, as_written in ((mini_rows, isoformat), (new_rows, epoch))
    )
    write(dates, Path(scorer.data))
    write(seconds, Path("new.csv"))
    with pytest.raises(DataError, match="column at is written as '17"):
        append_rows(Path("new.csv"), scorer)
    write(new_rows, Path("new.parquet"))
    assert append_rows(Path("new.parquet"), scorer).rows == 100
    assert len(rows_of(scorer)) == len(mini_rows) + 100


def isoformat(times: pd.Series) -> pd.Series:
    """Times as text."""
    return times.map(pd.Timestamp.isoformat)


def epoch(times: pd.Series) -> pd.Series:
    """Times as seconds."""
    return (times - pd.Timestamp(0)) // pd.Timedelta(seconds=1)


Change = Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame]

REFUSED: dict[str, tuple[Change, list[str]]] = {
    "a row that is in the data": (
        lambda new, old: pd.concat([new, old.head(2)], ignore_index=True),
        ["2 of its 102 rows are in data/rows.parquet already (row-0, row-1); remove them"],
    ),
    "a row without an id that is in the data": (
        lambda new, old: pd.concat([new, old.tail(3).assign(row_id=None)], ignore_index=True),
        ["1 of its 103 rows are in data/rows.parquet already; remove them"],
    ),
    "two rows without an id that are one": (
        lambda new, _old: pd.concat([new, new.tail(1).assign(row_id=None), new.tail(1).assign(row_id=None)]),
        ["1 rows are repeated; remove them"],
    ),
    "rows of the future": (
        lambda new, _old: new.assign(at=new["at"] + pd.Timedelta(days=40_000)),
        ["column at has 2134-", "which is in the future; a labelled row must be in the past"],
    ),
    "seconds from a start of their own": (
        lambda new, _old: new.assign(at=np.arange(100.0)),
        ["column at goes from 0 to 99; in data/rows.parquet it goes to 2025-03-0"],
    ),
    "a row twice": (
        lambda new, _old: pd.concat([new, new.head(1)], ignore_index=True),
        ["1 rows are repeated (new-0); remove them"],
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
@pytest.mark.usefixtures("place")
def test_what_is_refused_leaves_the_data_as_they_are(
    mini_scorer: ScorerDeclaration, mini_rows: pd.DataFrame, new_rows: pd.DataFrame, case: str
) -> None:
    """The sentence names the file, what is wrong with it and how many rows are; nothing is written."""
    change, parts = REFUSED[case]
    mini_rows.iloc[-1:, mini_rows.columns.get_loc("row_id")] = None
    mini_rows.to_parquet(mini_scorer.data, index=False)
    before = Path(mini_scorer.data).read_bytes()
    change(new_rows, mini_rows).to_parquet("new.parquet", index=False)
    with pytest.raises(DataError) as refusal:
        append_rows(Path("new.parquet"), mini_scorer)
    for part in ["new.parquet", *parts]:
        assert part in str(refusal.value)
    assert Path(mini_scorer.data).read_bytes() == before
    assert [path.name for path in Path("data").iterdir() if path.name.startswith(".")] == []


@pytest.mark.usefixtures("place")
def test_without_an_id_a_row_is_known_by_all_that_it_says(
    mini_scorer: ScorerDeclaration, mini_rows: pd.DataFrame, new_rows: pd.DataFrame
) -> None:
    """The same values from a CSV are the same row."""
    scorer = mini_scorer.model_copy(update={"id": None})
    pd.concat([new_rows, mini_rows.head(3)]).to_csv("new.csv", index=False)
    with pytest.raises(DataError, match=r"3 of its 103 rows are in data/rows\.parquet already; remove them"):
        append_rows(Path("new.csv"), scorer)


@pytest.mark.usefixtures("place")
def test_a_line_that_cannot_be_read_is_named(mini_scorer: ScorerDeclaration, new_rows: pd.DataFrame) -> None:
    """Its number is that of the file; broken lines of the data, which `prepare` quarantines, do not matter."""
    scorer = mini_scorer.model_copy(update={"data": "data/kept.csv"})
    write(pd.read_parquet(mini_scorer.data), Path(scorer.data))
    with Path(scorer.data).open("a") as file:
        file.write("cut,short\n")
    write(new_rows, Path("new.csv"))
    lines = Path("new.csv").read_text().splitlines()
    Path("new.csv").write_text("\n".join([*lines[:3], "cut,short", *lines[3:]]))
    with pytest.raises(
        DataError, match=r"^new\.csv, line 4: the line has 2 cells; the header has 9 names; correct the"
    ):
        append_rows(Path("new.csv"), scorer)
    write(new_rows, Path("new.csv"))
    assert append_rows(Path("new.csv"), scorer).rows == 100


@pytest.mark.usefixtures("place")
def test_a_few_bad_rows_are_set_aside_with_their_reasons(
    mini_scorer: ScorerDeclaration, new_rows: pd.DataFrame
) -> None:
    """What the quarantine allows is left out, and told."""
    new_rows.assign(amount=new_rows["amount"].mask(new_rows.index == 7, -1.0)).to_parquet("new.parquet", index=False)
    appended = append_rows(Path("new.parquet"), mini_scorer)
    assert appended.rows == 99
    assert appended.quarantined[["row_id", "rejected_because"]].to_numpy().tolist() == [["new-7", "amount is below 0"]]
    assert "new-7" not in set(pd.read_parquet(mini_scorer.data)["row_id"])


@pytest.mark.usefixtures("place")
def test_a_value_that_the_files_type_cannot_hold_is_an_error(
    mini_scorer: ScorerDeclaration, mini_rows: pd.DataFrame, new_rows: pd.DataFrame
) -> None:
    """Nothing is rounded or dropped silently."""
    mini_rows.assign(speed=mini_rows["speed"].round().astype("Int64")).to_parquet(mini_scorer.data, index=False)
    new_rows.to_parquet("new.parquet", index=False)
    with pytest.raises(DataError, match=r"column speed does not fit data/rows\.parquet, where it is int64"):
        append_rows(Path("new.parquet"), mini_scorer)
