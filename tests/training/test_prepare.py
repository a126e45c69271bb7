"""The prepare stage: quarantine with reasons, windows, and output that is written completely or not at all."""

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

from training import prepare as stage
from training.data.row_checks import REJECTED_COLUMNS, check_rows
from training.data.split import WINDOWS, split_by_time
from training.data.window import Window
from training.declaration import ScorerDeclaration
from training.errors import DataError, StageError

Frame = pd.DataFrame
Prepare = Callable[[Frame, ScorerDeclaration], Any]
PrepareFile = Callable[..., Any]


def with_split(scorer: ScorerDeclaration, **changes: float) -> ScorerDeclaration:
    """The scorer with these changes to its split."""
    return scorer.model_copy(update={"split": scorer.split.model_copy(update=changes)})


def with_value(rows: Frame, column: str, value: object) -> Frame:
    """The rows with the value of one column in row 3 replaced."""
    values = [value if number == 3 else old for number, old in enumerate(rows[column].tolist())]
    return rows.assign(**{column: pd.Series(values, dtype=object)})


def files_below(folder: Path) -> set[Path]:
    """Every file below a folder."""
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def by_chunks(in_chunks: Callable[..., ScorerDeclaration], prepared_from: PrepareFile) -> PrepareFile:
    """Prepare a file below data/, or a sample of it, in chunks of 1,000 rows or another size."""

    def prepare_file(name: str, chunk_rows: int = 1_000, sample: float = 1.0) -> Any:  # noqa: ANN401 - Prepared
        return prepared_from(Path("data", name), with_split(in_chunks(chunk_rows), sample=sample))

    return prepare_file


def as_texts(rows: Frame) -> Frame:
    """Rows as the texts of a CSV, with "" for missing values."""
    return pd.read_csv(StringIO(rows.to_csv(index=False)), dtype=str, keep_default_na=False).set_index(rows.index)


def require_same(first: Any, other: Any) -> None:  # noqa: ANN401 - conftest's Prepared
    """Check that reports, windows and quarantined rows are equal, down to the last bit."""
    assert first.report == other.report
    for window in first.windows:
        pd.testing.assert_frame_equal(first.windows[window], other.windows[window], check_exact=True)
    pd.testing.assert_frame_equal(first.quarantined.sort_index(), other.quarantined.sort_index())


def test_csv_and_parquet_give_the_same_windows(mini_rows: Frame, by_chunks: PrepareFile) -> None:
    """The same rows in either kind of file become the same windows, down to the last bit."""
    rows = mini_rows.assign(is_new=mini_rows["is_new"].astype(float))
    rows.to_parquet("data/rows.parquet", index=False)
    rows.to_csv("data/rows.csv", index=False)
    from_csv = by_chunks("rows.csv")
    require_same(from_csv, by_chunks("rows.parquet"))
    assert (from_csv.windows["train"]["country"] == "NA").any()


def require_unchanged(quarantined: Frame, rows: Frame) -> None:
    """Check that quarantined values are those of the rows."""
    values = quarantined.drop(columns=list(REJECTED_COLUMNS), errors="ignore")
    pd.testing.assert_frame_equal(values, as_texts(rows.loc[quarantined.index]), check_names=False)


def repeated_and_bad(rows: Frame) -> Frame:
    """The rows with bad values in several chunks, and ids repeated within a chunk and across chunks."""
    spoilt = rows.assign(amount=rows["amount"].where(rows.index % 700 != 3, -1.0))
    names = spoilt["row_id"].where(~spoilt.index.isin([4_000, 4_001, 5_999]), ["row-17"] * len(rows))
    return spoilt.assign(row_id=names.where(names.index != 2_500, "row-3"))


def write_parts(rows: Frame, folder: Path) -> Path:
    """A folder of three Parquet files of unequal size, in the order of the rows."""
    folder.mkdir()
    for number, (start, stop) in enumerate([(0, 2_300), (2_300, 2_301), (2_301, len(rows))]):
        rows[start:stop].to_parquet(folder / f"part-{number}.parquet", index=False)
    return folder


@pytest.mark.parametrize("kind", ["parquet", "csv", "folder"])
def test_many_chunks_are_prepared_as_one(many_rows: Frame, by_chunks: PrepareFile, kind: str) -> None:
    """Many chunks give the windows, quarantine and report of a single chunk, for any kind of input."""
    rows = repeated_and_bad(many_rows)
    path = Path(f"data/rows.{kind}")
    if kind == "csv":
        rows.to_csv(path, index=False)
    elif kind == "parquet":
        # Row groups whose size is not a multiple of the chunks'.
        rows.to_parquet(path, index=False, row_group_size=1_700)
    else:
        write_parts(rows, path)
        rows.to_parquet("data/whole.parquet", index=False)
    chunked = by_chunks(path.name)
    whole = by_chunks("whole.parquet" if kind == "folder" else path.name, chunk_rows=len(rows))
    assert whole.report["quarantined"]["rows"] == 9 + 4
    if kind == "folder":
        names = chunked.quarantined["rejected_part"]
        starts = names.map({"part-0.parquet": 0, "part-1.parquet": 2_300, "part-2.parquet": 2_301})
        chunked.quarantined.index += starts.to_numpy()
    for quarantined in (chunked.quarantined, whole.quarantined):
        del quarantined["rejected_part"]
    require_same(chunked, whole)


def test_row_groups_have_the_declared_size(many_rows: Frame, by_chunks: PrepareFile, tmp_path: Path) -> None:
    """All row groups of a window's file, except the last, have as many rows as a chunk."""
    many_rows.to_parquet("data/rows.parquet", index=False)
    by_chunks("rows.parquet")
    [path] = tmp_path.glob("prepared-*/train.parquet")
    assert Window(path).sizes == [1_000, 1_000, 1_000, 1_000, 800]


def test_an_id_seen_in_an_earlier_chunk_is_quarantined(many_rows: Frame, by_chunks: PrepareFile) -> None:
    """Later rows of an id are quarantined unchanged, even if its first row is bad; rows without an id are not."""
    ids = many_rows["row_id"].where(many_rows.index % 1_000 != 0)
    rows = many_rows.assign(
        row_id=ids.mask(many_rows.index.isin([1_500, 5_400]), "row-10").mask(many_rows.index == 2_001, "row-11"),
        amount=many_rows["amount"].mask(many_rows.index == 11, -5.0),
    )
    rows.to_csv("data/rows.csv", index=False)
    prepared = by_chunks("rows.csv")
    quarantined = prepared.quarantined.sort_index()
    assert quarantined["rejected_because"].to_dict() == {
        11: "amount is below 0",
        **dict.fromkeys([1_500, 2_001, 5_400], "row_id was seen in an earlier row"),
    }
    assert quarantined["rejected_line"].to_list() == ["13", "1502", "2003", "5402"]
    require_unchanged(quarantined, rows)
    reasons = {"amount: is below 0": 1, "row_id: was seen in an earlier row": 3}
    assert prepared.report["quarantined"] == {"rows": 4, "reasons": reasons}
    kept = pd.concat(prepared.windows.values())["row_id"]
    assert (len(kept), (kept == "row-10").sum(), kept.isna().sum()) == (6_000 - 4, 1, 6)


def test_repeated_ids_over_the_declared_share_stop(many_rows: Frame, by_chunks: PrepareFile) -> None:
    """Repeated ids of all chunks count as bad rows when the limit is checked."""
    rows = many_rows.assign(row_id=many_rows["row_id"].mask(many_rows.index % 90 == 89, "row-10"))
    rows.to_parquet("data/rows.parquet", index=False)
    with pytest.raises(DataError) as caught:
        by_chunks("rows.parquet")
    assert str(caught.value) == (
        "66 of 6,000 rows (1.10%) break the contract; quarantine.max_share allows 1.00%. "
        "row_id: was seen in an earlier row in 66 rows"
    )


@pytest.mark.parametrize("chunk_rows", [1_000, 1_234])
def test_sample_does_not_depend_on_the_chunks(many_rows: Frame, by_chunks: PrepareFile, chunk_rows: int) -> None:
    """The sample is the same for any size of chunks."""
    repeated_and_bad(many_rows).to_parquet("data/rows.parquet", index=False)
    whole = by_chunks("rows.parquet", len(many_rows), sample=0.5)
    assert abs(whole.report["rows"] - 3_000) < 150
    require_same(whole, by_chunks("rows.parquet", chunk_rows, sample=0.5))


def test_broken_lines_are_quarantined(many_rows: Frame, by_chunks: PrepareFile) -> None:
    """Lines that cannot be read are quarantined with the reason, and no other row is lost."""
    path = Path("data/rows.csv")
    many_rows.to_csv(path, index=False)
    lines = path.read_bytes().splitlines()
    for place in range(50, 6_000, 100):
        # The header is line 0.
        lines[place + 1] = [b"cut,short", lines[place + 1] + b",more", lines[place + 1] + b"\xff"][place // 100 % 3]
    path.write_bytes(b"\n".join(lines) + b"\n")
    prepared = by_chunks("rows.csv")
    report, quarantined = prepared.report, prepared.quarantined
    assert report["rows"] == 6_000
    assert report["quarantined"] == {"rows": 60, "reasons": {"the line is broken": 60}}
    assert list(quarantined.index) == list(range(50, 6_000, 100))
    first, second, third = quarantined["rejected_because"].iloc[:3]
    assert first == "the line has 2 cells; the header has 9 names"
    assert second == "the line has 10 cells; the header has 9 names"
    assert third.startswith("the line is not valid UTF-8 at byte")
    assert quarantined["rejected_line"].to_list() == [str(place + 2) for place in range(50, 6_000, 100)]
    assert quarantined["rejected_text"].iloc[0] == "cut,short"
    assert quarantined["rejected_text"].iloc[2] == lines[251][:-1].decode() + r"\xff"
    kept = pd.concat(prepared.windows.values())["row_id"]
    assert set(kept) == {f"row-{number}" for number in range(6_000) if number % 100 != 50}
    assert sum(window["rows"] for window in report["windows"].values()) == 6_000 - 60


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
    mini_rows: Frame, mini_scorer: ScorerDeclaration, prepared: Prepare, value: object, problem: str
) -> None:
    """A row that breaks the contract is quarantined unchanged with its reason; all others stay."""
    rows = with_value(mini_rows.assign(at=mini_rows["at"].astype(str)), problem.split(maxsplit=1)[0], value)
    result = prepared(rows, mini_scorer)
    assert result.quarantined["rejected_because"].to_dict() == {3: problem}
    require_unchanged(result.quarantined, rows)
    assert result.report["quarantined"] == {"rows": 1, "reasons": {problem.replace(" ", ": ", 1): 1}}
    kept = pd.concat(result.windows.values())
    assert set(kept["row_id"]) == set(mini_rows["row_id"]) - {mini_rows["row_id"][3]}


def test_two_problems_of_one_row(mini_rows: Frame, mini_scorer: ScorerDeclaration, prepared: Prepare) -> None:
    """A row with two problems is quarantined once, with both."""
    rows = with_value(with_value(mini_rows, "amount", -1), "visits", 0.5)
    result = prepared(rows, mini_scorer)
    assert result.quarantined["rejected_because"].to_dict() == {3: "amount is below 0; visits is not a whole number"}
    assert result.report["quarantined"]["rows"] == 1


def test_windows_are_those_of_the_split(mini_rows: Frame, mini_scorer: ScorerDeclaration, prepared: Prepare) -> None:
    """Windows that were sorted on disk and written by row groups equal those of `split_by_time`."""
    rows, scorer = mini_rows.assign(at=mini_rows["at"].dt.floor("h")), with_split(mini_scorer, label_delay_days=2.0)
    windows = split_by_time(check_rows(rows, scorer).clean, scorer)
    for name, window in prepared(rows, scorer).windows.items():
        pd.testing.assert_frame_equal(window, windows[name], check_dtype=False)


def test_report_describes_windows(mini_rows: Frame, mini_scorer: ScorerDeclaration, prepared: Prepare) -> None:
    """The report has each window's first and last timestamp, its rows and its frauds."""
    result = prepared(mini_rows, mini_scorer)
    assert result.report["rows"] == len(mini_rows)
    assert list(result.report["windows"]) == ["train", "test"]
    train = result.report["windows"]["train"]
    assert train["from"] == mini_rows["at"].min().isoformat()
    assert train["rows"] == len(result.windows["train"]) == 1_200
    assert train["frauds"] == result.windows["train"]["is_fraud"].sum()


def test_quarantine_of_a_sample_keeps_row_numbers(
    mini_rows: Frame, mini_scorer: ScorerDeclaration, prepared: Prepare
) -> None:
    """With a sample, a quarantined row still has its number in the file."""
    rows = mini_rows.assign(amount=mini_rows["amount"].where(mini_rows.index % 150 != 149, -1.0))
    quarantined = prepared(rows, with_split(mini_scorer, sample=0.5)).quarantined
    assert len(quarantined) > 0
    assert [f"row-{number}" for number in quarantined.index] == quarantined["row_id"].tolist()


def test_stage_writes_what_it_reports(trained: Path) -> None:
    """The stage's files hold the rows that its report counts."""
    report = json.loads((trained / "reports" / "mini" / "rows.json").read_text())
    sizes = {window: content["rows"] for window, content in report["windows"].items()}
    for window in WINDOWS:
        rows = pd.read_parquet(trained / "build" / "mini" / "rows" / f"{window}.parquet")
        assert len(rows) == sizes.get(window, 0)
    assert sizes == {"train": 1_200, "test": 300}
    assert report["rows"] == 1_500
    names = {path.name for path in (trained / "build" / "mini" / "rows").iterdir()}
    assert names == {"train.parquet", "calibrate.parquet", "test.parquet", "unlearned.parquet", "quarantine.csv"}


LAST_WEEK = pd.Timestamp("2025-02-22")


def change_rows(project: Path, change: Callable[[Frame], Frame]) -> None:
    """Replace the project's rows."""
    path = project / "data" / "rows.parquet"
    change(pd.read_parquet(path)).to_parquet(path, index=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop(columns=["speed", "at"]), " has no column at, speed; it has"),
        (None, " does not exist; it must be a .csv or .parquet file, or a folder of them"),
        (lambda rows: rows.head(0), " holds no rows"),
        (lambda rows: rows.assign(is_fraud=rows["is_fraud"] * 2), ": column is_fraud holds 2"),
        (lambda rows: rows.assign(is_fraud=0), ": the train window has only is_fraud = 0"),
        (
            lambda rows: rows.assign(is_fraud=rows["is_fraud"].where(rows["at"] >= LAST_WEEK, 0)),
            ": the train window has only is_fraud = 0 in 1,200 rows; it must have both classes: add older rows",
        ),
        (
            lambda rows: rows.assign(is_fraud=rows["is_fraud"].where(rows["at"] < LAST_WEEK - pd.Timedelta("7D"), 0)),
            ": the test window has only is_fraud = 0 in 300 rows; it must have both classes: lengthen it (split), or",
        ),
        (
            lambda rows: rows.assign(at=LAST_WEEK),
            ": all 1,500 rows have the same time, 2025-02-22T00:00:00, but the test window must be later than",
        ),
        (
            lambda rows: rows.assign(at="soon"),
            ": column at holds 'soon'; it must hold times from 1900 to 2100, as dates, ISO 8601 texts or seconds",
        ),
    ],
    ids=[
        "missing columns",
        "missing file",
        "no rows",
        "label 2",
        "one class",
        "late frauds",
        "no late frauds",
        "one time",
        "unreadable times",
    ],
)
def test_stage_that_stops_writes_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Frame], Frame] | None, message: str
) -> None:
    """A stage that cannot continue names the file and the reason, and writes no output."""
    if change is None:
        (project / "data" / "rows.parquet").unlink()
    else:
        change_rows(project, change)
    before = files_below(project)
    monkeypatch.chdir(project)
    with pytest.raises(StageError) as caught:
        stage.main("mini")
    assert str(caught.value).startswith(f"data/rows.parquet{message}")
    assert files_below(project) == before


def test_failure_on_the_command_line(
    project: Path, run_stage: Callable[[Path, str], subprocess.CompletedProcess[str]]
) -> None:
    """On the command line, a failure is an exit status and one line, and build/ is unchanged."""
    change_rows(project, lambda rows: rows.drop(columns="country"))
    before = files_below(project)
    done = run_stage(project, "prepare")
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.startswith("prepare mini: data/rows.parquet has no column country; it has amount, at,")
    assert done.stderr.count("\n") == 1
    assert files_below(project) == before


def test_warnings_are_reported_and_printed(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Warnings are reported and printed, but do not stop the run."""
    change_rows(project, lambda rows: rows.assign(country="DE"))
    monkeypatch.chdir(project)
    stage.main("mini")
    [warning] = json.loads(Path("reports/mini/rows.json").read_text())["warnings"]
    assert warning.startswith("country is always 'DE'")
    assert f"WARNING: {warning}\n" in capsys.readouterr().out


def test_entity_is_kept_as_text(mini_rows: Frame, mini_scorer: ScorerDeclaration, prepared: Prepare) -> None:
    """The entity is in the windows, but never a field."""
    declared = mini_scorer.model_copy(update={"entity": "account"})
    windows = prepared(mini_rows.assign(account=np.arange(len(mini_rows)) % 7), declared).windows
    assert set(windows["test"]["account"]) == {str(number) for number in range(7)}
    assert "account" not in declared.contract.fields


def test_full_disk_leaves_nothing_behind(
    project: Path, small_disk: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage on a full disk writes no output; with more room the same command succeeds."""
    folder = small_disk("64m") / "project"
    shutil.copytree(project, folder)
    monkeypatch.chdir(folder)
    small_disk(f"{sum(path.stat().st_size for path in files_below(folder)) // 1024 + 40}k")
    with pytest.raises(OSError, match="No space left on device"):
        stage.main("mini")
    assert not files_below(folder / "build") | files_below(folder / "reports")
    small_disk("64m")
    stage.main("mini")


def test_a_short_warmup_is_warned_of(remembered: Path) -> None:
    """The first learned rows know only three days of the past, later ones thirty."""
    warnings = json.loads((remembered / "reports" / "mini" / "rows.json").read_text())["warnings"]
    (warning,) = [text for text in warnings if "warmup_days" in text]
    assert warning == (
        "most_amount looks back 30 days, but warmup_days is 3: in the first training rows it knows less of the past "
        "than later, which the monitor takes for drift; raise warmup_days to 30, or shorten over and ttl"
    )


@pytest.mark.parametrize("name", ["transaction", "refund"])
def test_the_shipped_scorers_warm_up_long_enough(name: str) -> None:
    """Otherwise their monitors would report the age of the data as drift."""
    assert not any(
        "warmup_days" in text for text in json.loads(Path(f"reports/{name}/rows.json").read_text())["warnings"]
    )
