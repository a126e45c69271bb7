"""Prepare: quarantine with reasons, windows in time order, and a stage that writes all or nothing."""

import json
import shutil
import subprocess
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from training import prepare as stage
from training.data.row_checks import REJECTED_COLUMNS
from training.data.split import WINDOWS, split_by_time
from training.data.window import Window
from training.declaration import ScorerDeclaration
from training.errors import DataError, StageError
from training.params import SECONDS_A_DAY, Split

Prepare = Callable[[pd.DataFrame, ScorerDeclaration], Any]
PrepareFile = Callable[[Path, ScorerDeclaration], Any]

SHARES = {"train": 0.5, "calibrate": 0.25, "test": 0.25}


def with_split(scorer: ScorerDeclaration, **changes: float) -> ScorerDeclaration:
    """The scorer with other numbers in its split."""
    return scorer.model_copy(update={"split": scorer.split.model_copy(update=changes)})


def by_days(scorer: ScorerDeclaration, **changes: float) -> ScorerDeclaration:
    """The scorer with windows of so many days."""
    return scorer.model_copy(update={"split": Split.model_validate(changes)})


def with_value(rows: pd.DataFrame, column: str, value: object) -> pd.DataFrame:
    """The rows with one value of one column replaced, as a file of any quality might hold them."""
    values = [value if number == 3 else old for number, old in enumerate(rows[column].tolist())]
    return rows.assign(**{column: pd.Series(values, dtype=object)})


def files_below(folder: Path) -> set[Path]:
    """Every file below a folder."""
    return {path for path in folder.rglob("*") if path.is_file()}


def as_texts(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows as a CSV holds them: every value a text, "" where there is none."""
    return pd.read_csv(StringIO(rows.to_csv(index=False)), dtype=str, keep_default_na=False).set_index(rows.index)


def require_same(one: Any, other: Any) -> None:  # noqa: ANN401 - conftest's Prepared
    """Compare reports, windows and quarantined rows, down to the last bit."""
    assert one.report == other.report
    for window in WINDOWS:
        pd.testing.assert_frame_equal(one.windows[window], other.windows[window], check_exact=True)
    pd.testing.assert_frame_equal(one.quarantined.sort_index(), other.quarantined.sort_index())


def test_csv_and_parquet_give_the_same_windows(
    mini_rows: pd.DataFrame, mini_scorer: ScorerDeclaration, prepared_from: PrepareFile
) -> None:
    """The same rows, whichever file holds them, become the same windows, down to the last bit."""
    rows = mini_rows.assign(is_new=mini_rows["is_new"].astype(float))
    rows.to_parquet(Path("data/rows.parquet"), index=False)
    rows.to_csv(Path("data/rows.csv"), index=False)
    from_csv, from_parquet = (prepared_from(Path("data", name), mini_scorer) for name in ("rows.csv", "rows.parquet"))
    require_same(from_csv, from_parquet)
    assert (from_csv.windows["train"]["country"] == "NA").any()


def repeated_and_bad(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with bad ones in several chunks, and ids that were seen in an earlier chunk and in the same one."""
    spoilt = rows.assign(amount=rows["amount"].where(rows.index % 700 != 3, -1.0))
    names = spoilt["row_id"].where(~spoilt.index.isin([4_000, 4_001, 5_999]), ["row-17"] * len(rows))
    return spoilt.assign(row_id=names.where(names.index != 2_500, "row-3"))


def write_parts(rows: pd.DataFrame, folder: Path) -> Path:
    """A folder of three Parquet files of unequal size, in the order of the rows."""
    folder.mkdir()
    for number, (start, stop) in enumerate([(0, 2_300), (2_300, 2_301), (2_301, len(rows))]):
        rows[start:stop].to_parquet(folder / f"part-{number}.parquet", index=False)
    return folder


@pytest.mark.parametrize("kind", ["parquet", "csv", "folder"])
def test_many_chunks_are_prepared_as_one(
    many_rows: pd.DataFrame, in_chunks: Callable[..., ScorerDeclaration], prepared_from: PrepareFile, kind: str
) -> None:
    """Chunks, whichever file they come from, give the windows, the quarantine and the report of a single chunk."""
    rows = repeated_and_bad(many_rows)
    path = Path(f"data/rows.{kind}")
    if kind == "csv":
        rows.to_csv(path, index=False)
    elif kind == "parquet":
        # Row groups that are no multiple of a chunk.
        rows.to_parquet(path, index=False, row_group_size=1_700)
    else:
        write_parts(rows, path)
    found = prepared_from(path, in_chunks(1_000))
    whole = Path("data/whole.csv" if kind == "csv" else "data/whole.parquet")
    rows.to_csv(whole, index=False) if kind == "csv" else rows.to_parquet(whole, index=False)
    one = prepared_from(whole, in_chunks(len(rows)))
    assert one.report["quarantined"]["rows"] == 9 + 4
    if kind == "folder":
        names = found.quarantined["rejected_part"]
        starts = names.map({"part-0.parquet": 0, "part-1.parquet": 2_300, "part-2.parquet": 2_301})
        found.quarantined.index += starts.to_numpy()
    for quarantined in (found.quarantined, one.quarantined):
        del quarantined["rejected_part"]
    require_same(found, one)


def test_row_groups_have_the_declared_size(
    many_rows: pd.DataFrame, in_chunks: Callable[..., ScorerDeclaration], tmp_path: Path, prepared_from: PrepareFile
) -> None:
    """A window's file can be read so many rows at a time: all its row groups but the last have as many."""
    many_rows.to_parquet(Path("data/rows.parquet"), index=False)
    prepared_from(Path("data/rows.parquet"), in_chunks(1_000))
    [path] = tmp_path.glob("prepared-*/train.parquet")
    assert Window(path).sizes == [1_000, 1_000, 1_000, 600]


def test_an_id_seen_in_an_earlier_chunk_is_quarantined(
    many_rows: pd.DataFrame, in_chunks: Callable[..., ScorerDeclaration], prepared_from: PrepareFile
) -> None:
    """The later rows leave as they came, counted; the first one of the id stays, even where another is bad too."""
    rows = many_rows.assign(row_id=many_rows["row_id"].mask(many_rows.index.isin([1_500, 5_400]), "row-10"))
    rows.to_csv(Path("data/rows.csv"), index=False)
    found = prepared_from(Path("data/rows.csv"), in_chunks(1_000))
    assert found.quarantined.pop("rejected_because").to_dict() == dict.fromkeys(
        [1_500, 5_400], "row_id was seen in an earlier row"
    )
    assert found.quarantined["rejected_line"].to_list() == ["1502", "5402"]
    as_they_came = found.quarantined.drop(columns=list(REJECTED_COLUMNS), errors="ignore")
    pd.testing.assert_frame_equal(as_they_came, as_texts(rows.loc[[1_500, 5_400]]), check_names=False)
    assert found.report["quarantined"] == {"rows": 2, "reasons": {"row_id: was seen in an earlier row": 2}}
    kept = pd.concat(found.windows.values())["row_id"]
    assert len(kept) == 6_000 - 2
    assert (kept == "row-10").sum() == 1


def test_an_id_is_seen_in_a_row_that_is_bad(
    many_rows: pd.DataFrame, in_chunks: Callable[..., ScorerDeclaration], prepared_from: PrepareFile
) -> None:
    """A row whose id an earlier chunk has in a quarantined row is one too many all the same."""
    rows = many_rows.assign(
        row_id=many_rows["row_id"].mask(many_rows.index == 2_000, "row-10"),
        amount=many_rows["amount"].mask(many_rows.index == 10, -5.0),
    )
    rows.to_parquet(Path("data/rows.parquet"), index=False)
    found = prepared_from(Path("data/rows.parquet"), in_chunks(1_000))
    assert found.quarantined["rejected_because"].to_dict() == {
        10: "amount is below 0",
        2_000: "row_id was seen in an earlier row",
    }


def test_rows_without_an_id_do_not_repeat_each_other(
    many_rows: pd.DataFrame, in_chunks: Callable[..., ScorerDeclaration], prepared_from: PrepareFile
) -> None:
    """Whatever the chunk, a missing id is no id."""
    rows = many_rows.assign(row_id=many_rows["row_id"].where(many_rows.index % 1_000 != 0))
    rows.to_parquet(Path("data/rows.parquet"), index=False)
    assert prepared_from(Path("data/rows.parquet"), in_chunks(1_000)).report["quarantined"]["rows"] == 0


def test_repeated_ids_over_the_declared_share_stop(
    many_rows: pd.DataFrame, in_chunks: Callable[..., ScorerDeclaration], prepared_from: PrepareFile
) -> None:
    """What is bad is counted over all chunks, repeated ids too, before it is compared with what is allowed."""
    rows = many_rows.assign(row_id=many_rows["row_id"].mask(many_rows.index % 90 == 89, "row-10"))
    rows.to_parquet(Path("data/rows.parquet"), index=False)
    with pytest.raises(DataError) as caught:
        prepared_from(Path("data/rows.parquet"), in_chunks(1_000))
    assert str(caught.value) == (
        "66 of 6,000 rows (1.10%) break the contract; quarantine.max_share allows 1.00%. "
        "row_id: was seen in an earlier row in 66 rows"
    )


@pytest.mark.parametrize("chunk_rows", [1_000, 1_234])
def test_sample_does_not_depend_on_the_chunks(
    many_rows: pd.DataFrame,
    in_chunks: Callable[..., ScorerDeclaration],
    prepared_from: PrepareFile,
    chunk_rows: int,
) -> None:
    """The same rows are drawn whatever the size of a chunk."""
    repeated_and_bad(many_rows).to_parquet(Path("data/rows.parquet"), index=False)
    one, other = (
        prepared_from(Path("data/rows.parquet"), with_split(in_chunks(size), sample=0.5))
        for size in (len(many_rows), chunk_rows)
    )
    assert abs(one.report["rows"] - 3_000) < 150
    require_same(one, other)


def test_broken_lines_are_quarantined(
    many_rows: pd.DataFrame, in_chunks: Callable[..., ScorerDeclaration], prepared_from: PrepareFile
) -> None:
    """One line in a hundred that cannot be read is set aside with what is wrong with it, and no other row is lost."""
    path = Path("data/rows.csv")
    many_rows.to_csv(path, index=False)
    lines = path.read_bytes().splitlines()
    for place in range(50, 6_000, 100):
        # The header is line 0.
        lines[place + 1] = [b"cut,short", lines[place + 1] + b",more", lines[place + 1] + b"\xff"][place // 100 % 3]
    path.write_bytes(b"\n".join(lines) + b"\n")
    found = prepared_from(path, in_chunks(1_000))
    assert found.report["rows"] == 6_000
    assert found.report["quarantined"] == {"rows": 60, "reasons": {"the line is broken": 60}}
    assert list(found.quarantined.index) == list(range(50, 6_000, 100))
    first, second, third = found.quarantined["rejected_because"].iloc[:3]
    assert (first, second) == (
        "the line has 2 cells; the header has 9 names",
        "the line has 10 cells; the header has 9 names",
    )
    assert third.startswith("the line is not UTF-8 at its byte")
    assert found.quarantined["rejected_line"].to_list() == [str(place + 2) for place in range(50, 6_000, 100)]
    assert found.quarantined["rejected_text"].iloc[0] == "cut,short"
    assert found.quarantined["rejected_text"].iloc[2] == lines[251][:-1].decode() + r"\xff"
    kept = pd.concat(found.windows.values())["row_id"]
    assert set(kept) == {f"row-{number}" for number in range(6_000) if number % 100 != 50}
    assert sum(one["rows"] for one in found.report["windows"].values()) == 6_000 - 60


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("fast", "speed is not a number"),
        (np.inf, "speed is infinite"),
        (-1.0, "amount is below 0"),
        (100_001.0, "amount is above 100000"),
        (1.5, "visits is not a whole number"),
        ("x" * 33, "country is longer than 32 characters"),
        ("x" * 257, "item is longer than 256 characters"),
        (None, "country is missing"),
        (np.nan, "amount is missing"),
        (3, "is_new is neither true nor false"),
        ("row-1", "row_id was seen in an earlier row"),
        ("yesterday", "at is not a time"),
        (None, "at is not a time"),
    ],
)
def test_bad_row_is_quarantined(
    mini_rows: pd.DataFrame, mini_scorer: ScorerDeclaration, prepared: Prepare, value: object, problem: str
) -> None:
    """A row that breaks the contract leaves with its reason, its values as they were; all others stay."""
    rows = with_value(mini_rows.assign(at=mini_rows["at"].astype(str)), problem.split(maxsplit=1)[0], value)
    found = prepared(rows, mini_scorer)
    assert found.quarantined["rejected_because"].to_dict() == {3: problem}
    pd.testing.assert_frame_equal(
        found.quarantined.drop(columns=list(REJECTED_COLUMNS), errors="ignore"),
        as_texts(rows.iloc[[3]]),
        check_names=False,
    )
    assert found.report["quarantined"] == {"rows": 1, "reasons": {problem.replace(" ", ": ", 1): 1}}
    kept = pd.concat(found.windows.values())
    assert set(kept["row_id"]) == set(mini_rows["row_id"]) - {mini_rows["row_id"][3]}


def test_two_problems_of_one_row(mini_rows: pd.DataFrame, mini_scorer: ScorerDeclaration, prepared: Prepare) -> None:
    """A row with two problems is quarantined once, with both."""
    rows = with_value(with_value(mini_rows, "amount", -1), "visits", 0.5)
    found = prepared(rows, mini_scorer)
    assert found.quarantined["rejected_because"].to_dict() == {3: "amount is below 0; visits is not a whole number"}
    assert found.report["quarantined"]["rows"] == 1


def test_too_many_bad_rows_stop(mini_rows: pd.DataFrame, mini_scorer: ScorerDeclaration, prepared: Prepare) -> None:
    """More bad rows than the declared share stop the run, and the message counts them by reason."""
    amounts = mini_rows["amount"].where(mini_rows.index >= 16, -1.0)
    with pytest.raises(DataError) as caught:
        prepared(mini_rows.assign(amount=amounts), mini_scorer)
    assert str(caught.value) == (
        "16 of 1,500 rows (1.07%) break the contract; quarantine.max_share allows 1.00%. amount: is below 0 in 16 rows"
    )


def test_as_many_bad_rows_as_allowed(
    mini_rows: pd.DataFrame, mini_scorer: ScorerDeclaration, prepared: Prepare
) -> None:
    """The declared share itself is allowed."""
    amounts = mini_rows["amount"].where(mini_rows.index >= 15, -1.0)
    assert len(prepared(mini_rows.assign(amount=amounts), mini_scorer).quarantined) == 15


def test_merchant_codes_are_texts(mini_rows: pd.DataFrame, mini_scorer: ScorerDeclaration, prepared: Prepare) -> None:
    """A category whose column is whole floats becomes "5411", not "5411.0"."""
    rows = mini_rows.assign(country=np.where(mini_rows.index % 2, 5411.0, 742.0))
    assert set(prepared(rows, mini_scorer).windows["train"]["country"]) == {"5411", "742"}


def test_label_never_is_guessed(mini_rows: pd.DataFrame, mini_scorer: ScorerDeclaration, prepared: Prepare) -> None:
    """A row whose label is missing stops the run instead of going into quarantine."""
    with pytest.raises(DataError, match="column is_fraud holds nan"):
        prepared(with_value(mini_rows, "is_fraud", np.nan), mini_scorer)


def test_window_of_one_class_stops(mini_rows: pd.DataFrame, mini_scorer: ScorerDeclaration, prepared: Prepare) -> None:
    """A window in which no fraud happened cannot calibrate; it is named with what it has."""
    late = mini_rows["at"] > mini_rows["at"].quantile(0.7)
    with pytest.raises(DataError) as caught:
        prepared(mini_rows.assign(is_fraud=mini_rows["is_fraud"].where(~late, 0)), mini_scorer)
    assert str(caught.value) == (
        "the test window has only is_fraud = 0 in 300 rows; it must have both classes: bring more rows, or change split"
    )


def test_report_tells_each_window(mini_rows: pd.DataFrame, mini_scorer: ScorerDeclaration, prepared: Prepare) -> None:
    """The report has each window's first and last moment, its rows and its frauds."""
    found = prepared(mini_rows, mini_scorer)
    assert found.report["rows"] == len(mini_rows)
    assert list(found.report["windows"]) == list(WINDOWS)
    told = found.report["windows"]["train"]
    assert told["from"] == mini_rows["at"].min().isoformat()
    assert told["rows"] == len(found.windows["train"])
    assert told["frauds"] == found.windows["train"]["is_fraud"].sum()


@given(
    moments=st.lists(st.integers(0, 30), min_size=8, max_size=80),
    delay_days=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
    data=st.data(),
)
def test_windows_are_ordered_and_part_no_moment(
    mini_scorer: ScorerDeclaration, moments: list[int], delay_days: float, data: st.DataObject
) -> None:
    """Windows follow each other in time, share no moment, and only the label delay leaves rows out."""
    order = data.draw(st.permutations(moments))
    seconds = np.repeat(np.array(order, dtype=float) * SECONDS_A_DAY, 2)
    rows = pd.DataFrame({"row_id": range(len(seconds)), "at": seconds, "is_fraud": [0, 1] * len(order)})
    try:
        whole = split_by_time(rows, with_split(mini_scorer, **SHARES))
        windows = split_by_time(rows, with_split(mini_scorer, **SHARES, label_delay_days=delay_days))
    except DataError:
        assume(False)
    assert sorted(pd.concat(whole.values())["row_id"]) == list(range(len(rows)))
    delay = delay_days * SECONDS_A_DAY
    for earlier, later in (("train", "calibrate"), ("calibrate", "test")):
        start = whole[later]["at"].min()
        assert whole[earlier]["at"].max() < start
        known = whole[earlier][whole[earlier]["at"] < start - delay]
        pd.testing.assert_frame_equal(windows[earlier], known.reset_index(drop=True))
    pd.testing.assert_frame_equal(windows["test"], whole["test"])


def test_windows_have_the_declared_sizes(
    mini_rows: pd.DataFrame, mini_scorer: ScorerDeclaration, prepared: Prepare
) -> None:
    """Where no moments tie, the windows have the declared shares of the rows."""
    windows = prepared(mini_rows.assign(at=np.arange(len(mini_rows), dtype=float)), mini_scorer).windows
    assert {name: len(window) for name, window in windows.items()} == {"train": 900, "calibrate": 300, "test": 300}


def test_rows_of_one_moment_keep_their_order(
    mini_rows: pd.DataFrame, mini_scorer: ScorerDeclaration, prepared: Prepare
) -> None:
    """Rows of one moment stay in the order of the file, so that every machine trains on the same sequence."""
    windows = prepared(mini_rows.assign(at=mini_rows.index % 10 * 60.0), mini_scorer).windows
    numbers = windows["train"].assign(number=windows["train"]["row_id"].str.removeprefix("row-").astype(int))
    assert (numbers.groupby("at")["number"].diff().dropna() > 0).all()


def test_label_delay_leaves_out_the_last_days(
    mini_rows: pd.DataFrame, mini_scorer: ScorerDeclaration, prepared: Prepare
) -> None:
    """With rows every hour and a delay of two days, the last 48 rows before each later window are left out."""
    rows = mini_rows.assign(at=3_600.0 * np.arange(len(mini_rows)))
    windows = prepared(rows, with_split(mini_scorer, label_delay_days=2.0)).windows
    sizes = {name: len(window) for name, window in windows.items()}
    assert sizes == {"train": 900 - 48, "calibrate": 300 - 48, "test": 300}
    assert windows["calibrate"]["at"].min() - windows["train"]["at"].max() == 2 * SECONDS_A_DAY + 3_600


@given(
    half_days=st.lists(st.integers(0, 60), min_size=8, max_size=80),
    days=st.fixed_dictionaries(dict.fromkeys(("calibrate_days", "test_days"), st.sampled_from([2.0, 5.5, 10.0]))),
    delay_days=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
    data=st.data(),
)
def test_windows_of_days_are_ordered_and_part_no_moment(
    mini_scorer: ScorerDeclaration, half_days: list[int], days: dict[str, float], delay_days: float, data: st.DataObject
) -> None:
    """Windows reach so many days back from the last row, share no moment, and only the label delay leaves rows out."""
    order = data.draw(st.permutations(half_days))
    seconds = np.repeat(np.array(order, dtype=float) * SECONDS_A_DAY / 2, 2)
    rows = pd.DataFrame({"row_id": range(len(seconds)), "at": seconds, "is_fraud": [0, 1] * len(order)})
    try:
        whole = split_by_time(rows, by_days(mini_scorer, **days))
        windows = split_by_time(rows, by_days(mini_scorer, **days, label_delay_days=delay_days))
    except DataError:
        assume(False)
    assert sorted(pd.concat(whole.values())["row_id"]) == list(range(len(rows)))
    test_from = seconds.max() - days["test_days"] * SECONDS_A_DAY
    begins = {"calibrate": test_from - days["calibrate_days"] * SECONDS_A_DAY, "test": test_from}
    for earlier, later in (("train", "calibrate"), ("calibrate", "test")):
        assert whole[earlier]["at"].max() < begins[later] <= whole[later]["at"].min()
        known = whole[earlier][whole[earlier]["at"] < begins[later] - delay_days * SECONDS_A_DAY]
        pd.testing.assert_frame_equal(windows[earlier], known.reset_index(drop=True))
    pd.testing.assert_frame_equal(windows["test"], whole["test"])


def test_windows_of_days_are_so_long(
    mini_rows: pd.DataFrame, mini_scorer: ScorerDeclaration, prepared: Prepare
) -> None:
    """With a row every hour, and two days until a label is known, each window has its days' hours, less the delay."""
    rows = mini_rows.assign(at=3_600.0 * np.arange(len(mini_rows)))
    declared = by_days(mini_scorer, calibrate_days=10, test_days=7, label_delay_days=2)
    windows = prepared(rows, declared).windows
    # The last row is the end of the last day, and the one seven days before it belongs to the test window too.
    sizes = {name: len(window) for name, window in windows.items()}
    assert sizes == {"train": 1_500 - 1 - (7 + 10 + 2) * 24, "calibrate": (10 - 2) * 24, "test": 7 * 24 + 1}
    assert windows["test"]["at"].max() - windows["test"]["at"].min() == 7 * SECONDS_A_DAY


def test_more_history_is_only_learned_from(
    mini_rows: pd.DataFrame, mini_scorer: ScorerDeclaration, prepared: Prepare
) -> None:
    """With windows of days, older rows go into the training window, and the others are as they were."""
    rows = mini_rows.assign(at=3_600.0 * np.arange(len(mini_rows)))
    declared = by_days(mini_scorer, calibrate_days=10, test_days=7)
    whole, lately = (prepared(one, declared).windows for one in (rows, rows.tail(900)))
    for name in ("calibrate", "test"):
        pd.testing.assert_frame_equal(whole[name], lately[name])
    assert len(whole["train"]) - len(lately["train"]) == 600


@pytest.mark.parametrize(
    ("changes", "window"),
    [
        ({"calibrate_days": 40, "test_days": 30}, "train"),
        ({"calibrate_days": 10, "test_days": 7, "label_delay_days": 10}, "calibrate"),
    ],
    ids=["longer than the history", "shorter than the delay"],
)
def test_windows_that_leave_nothing_stop(
    mini_rows: pd.DataFrame, mini_scorer: ScorerDeclaration, prepared: Prepare, changes: dict[str, float], window: str
) -> None:
    """Where the days leave a window without rows, it is named."""
    with pytest.raises(DataError) as caught:
        prepared(mini_rows, by_days(mini_scorer, **changes))
    assert str(caught.value) == (
        f"the {window} window has no rows; it must have both classes: bring more rows, or change split"
    )


def test_sample_is_deterministic_and_about_right(
    mini_rows: pd.DataFrame, mini_scorer: ScorerDeclaration, prepared: Prepare
) -> None:
    """Half the rows are about half the rows, the same ones each time, and others for another seed."""
    half = with_split(mini_scorer, sample=0.5)
    first, again, other = (
        set(pd.concat(prepared(mini_rows, scorer).windows.values())["row_id"])
        for scorer in (half, half, half.model_copy(update={"seed": 8}))
    )
    assert abs(len(first) - 750) < 100
    assert first == again
    assert first != other


def test_quarantine_of_a_sample_names_rows_of_the_file(
    mini_rows: pd.DataFrame, mini_scorer: ScorerDeclaration, prepared: Prepare
) -> None:
    """With a sample, a quarantined row still carries its number in the file."""
    rows = mini_rows.assign(amount=mini_rows["amount"].where(mini_rows.index % 150 != 149, -1.0))
    quarantined = prepared(rows, with_split(mini_scorer, sample=0.5)).quarantined
    assert len(quarantined) > 0
    assert [f"row-{number}" for number in quarantined.index] == quarantined["row_id"].tolist()


def test_stage_writes_what_it_reports(trained: Path) -> None:
    """The stage's files hold the rows that its report counts."""
    report = json.loads((trained / "reports" / "mini" / "rows.json").read_text())
    for window in WINDOWS:
        rows = pd.read_parquet(trained / "build" / "mini" / "rows" / f"{window}.parquet")
        assert len(rows) == report["windows"][window]["rows"]
    assert sum(report["windows"][window]["rows"] for window in WINDOWS) == report["rows"] == 1_500
    assert {path.name for path in (trained / "build" / "mini" / "rows").iterdir()} == {
        "train.parquet",
        "calibrate.parquet",
        "test.parquet",
        "quarantine.csv",
    }


def change_rows(project: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Replace the project's rows."""
    path = project / "data" / "rows.parquet"
    change(pd.read_parquet(path)).to_parquet(path, index=False)


STOPS: list[Any] = [
    pytest.param(
        lambda project: change_rows(project, lambda rows: rows.drop(columns=["speed", "at"])),
        "data/rows.parquet has no column at, speed; it has",
        id="missing columns",
    ),
    pytest.param(
        lambda project: (project / "data" / "rows.parquet").unlink(),
        "data/rows.parquet does not exist; it must be a .csv or .parquet file, or a folder of them",
        id="missing file",
    ),
    pytest.param(
        lambda project: change_rows(project, lambda rows: rows.head(0)),
        "data/rows.parquet holds no rows",
        id="no rows",
    ),
    pytest.param(
        lambda project: change_rows(project, lambda rows: rows.assign(is_fraud=rows["is_fraud"] * 2)),
        "data/rows.parquet: column is_fraud holds 2",
        id="label 2",
    ),
    pytest.param(
        lambda project: change_rows(project, lambda rows: rows.assign(is_fraud=0)),
        "data/rows.parquet: the train window has only is_fraud = 0",
        id="one class",
    ),
    pytest.param(
        lambda project: change_rows(project, lambda rows: rows.assign(at="soon")),
        "data/rows.parquet: column at holds 'soon'; no value is a date, ISO 8601 text or seconds",
        id="unreadable times",
    ),
]


@pytest.mark.parametrize(("spoil", "message"), STOPS)
def test_stage_that_stops_writes_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], object], message: str
) -> None:
    """A stage that cannot go on names the file and the reason, and leaves no output at all."""
    spoil(project)
    before = files_below(project)
    monkeypatch.chdir(project)
    with pytest.raises(StageError) as caught:
        stage.main("mini")
    assert str(caught.value).startswith(message)
    assert files_below(project) == before


def test_stop_as_a_user_sees_it(
    project: Path, run_stage: Callable[[Path, str], subprocess.CompletedProcess[str]]
) -> None:
    """On the command line a stop is a failure and one line, the reason, with build/ as it was."""
    change_rows(project, lambda rows: rows.drop(columns="country"))
    before = files_below(project)
    done = run_stage(project, "prepare")
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.startswith("prepare mini: data/rows.parquet has no column country; it has amount, at,")
    assert done.stderr.count("\n") == 1
    assert files_below(project) == before


def test_a_time_that_cannot_be_read_is_shown(
    mini_rows: pd.DataFrame, mini_scorer: ScorerDeclaration, prepared: Prepare
) -> None:
    """The column, one of its values, and what would be right."""
    with pytest.raises(DataError) as caught:
        prepared(mini_rows.assign(at="yesterday"), mini_scorer)
    assert str(caught.value) == "column at holds 'yesterday'; no value is a date, ISO 8601 text or seconds"


def test_suspicions_are_reported_and_printed_loudly(
    project: Path, run_stage: Callable[[Path, str], subprocess.CompletedProcess[str]]
) -> None:
    """They do not stop the run."""
    path = project / "data" / "rows.parquet"
    pd.read_parquet(path).assign(country="DE").to_parquet(path, index=False)
    done = run_stage(project, "prepare")
    assert done.returncode == 0
    [warning] = json.loads((project / "reports" / "mini" / "rows.json").read_text())["warnings"]
    assert warning.startswith("country is always 'DE'")
    assert f"WARNING: {warning}\n" in done.stdout


def test_an_entity_travels_as_text(mini_rows: pd.DataFrame, mini_scorer: ScorerDeclaration, prepared: Prepare) -> None:
    """Beside the fields, never among them."""
    declared = mini_scorer.model_copy(update={"entity": "account"})
    windows = prepared(mini_rows.assign(account=np.arange(len(mini_rows)) % 7), declared).windows
    assert set(windows["test"]["account"]) == {str(number) for number in range(7)}
    assert "account" not in declared.contract.fields


def test_a_full_disk_is_told_and_nothing_is_left(
    project: Path, small_disk: Callable[[str], Path], run_stage: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """In a sentence; with more room the same command is enough."""
    folder = small_disk("64m") / "project"
    shutil.copytree(project, folder)
    used = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    small_disk(f"{used // 1024 + 40}k")
    done = run_stage(folder, "prepare")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("prepare mini: there is no space left on the disk; make room: ")
    assert "Traceback" not in done.stderr
    assert not any(path.is_file() for name in ("build", "reports") for path in (folder / name).rglob("*"))
    small_disk("64m")
    assert run_stage(folder, "prepare").returncode == 0
