"""Files of rows become files of answers: no row is lost or mixed up, and a crashed run ends in the same bytes."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from pydantic_core import to_json

from benchmarks.serving import batch
from benchmarks.tables import report
from handler.releases.served import Slot
from handler.scoring.scorer import Scorer, load_scorer
from handler.web.routes import create_app
from training import score
from training.data.column_checks import check_field
from training.data.requests import requests_of
from training.data.row_reader import read_columns
from training.delivery.pointer import update_pointer
from training.delivery.publish import publish
from training.delivery.store_writer import FolderStoreWriter

PROJECT = Path(__file__).parents[2]
ADDED = ["fraud_probability", "is_flagged", "model_version"]
EXPLAINED = [*ADDED, "reasons", "warnings"]
PATIENCE_SECONDS = 120
# Eighteen chunks of 9,000 rows, between which a run may be killed.
OPTIONS = ("--reasons", "--chunk-rows", "500")
# When to kill a run, by kind of output: once this many files match the pattern.
KILLED_AT = {
    "parquet": (("*/bundle", 1), ("*/*-*.json", 9), ("*/joined-*", 1)),
    "csv": (("*/*-*.json", 5), ("*/joined-*", 1)),
}
Run = Callable[..., tuple[int, str]]


@pytest.fixture(scope="session")
def scorer(mini_bundle: Path) -> Scorer:
    """The mini scorer."""
    return load_scorer(mini_bundle)


@pytest.fixture
def run(trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in the trained project; returns its exit status and its output."""
    monkeypatch.chdir(trained)

    def command(source: Path, output: Path, *options: str, scorer: str = "mini") -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["score", scorer, str(source), str(output), *options])
        capsys.readouterr()
        try:
            score.main()
        except SystemExit as ended:
            message = "".join(capsys.readouterr())
            return (ended.code, message) if isinstance(ended.code, int) else (1, str(ended.code) + message)
        return 0, capsys.readouterr().out

    return command


@pytest.fixture
def rows(mini_rows: pd.DataFrame, tmp_path: Path) -> Path:
    """The mini scorer's rows, with more columns and types than it knows."""
    table = pa.Table.from_pandas(mini_rows, preserve_index=False)
    table = table.append_column("lines", pa.array([[n, n + 1] for n in range(len(table))], pa.list_(pa.int32())))
    table = table.append_column("branch", pa.array([None, 'Zürich, "City"'] * (len(table) // 2)).dictionary_encode())
    path = tmp_path / "rows.parquet"
    pq.write_table(table, path, row_group_size=400)
    return path


def assert_refused(run: Run, source: Path, output: Path, sentence: str, *options: str) -> None:
    """Check that a file is refused with this sentence and not scored."""
    status, message = run(source, output, *options)
    assert (status, sentence in message) == (1, True), message


def answers_of(scorer: Scorer, path: Path) -> list[dict[str, Any]]:
    """The answers of the function's batch route to the rows of a file."""
    table = read_columns(path, list(scorer.contract.fields))
    checked = {name: check_field(table[name], field)[0] for name, field in scorer.contract.fields.items()}
    requests = list(requests_of(pd.DataFrame(checked), scorer.contract))
    client = TestClient(create_app({"mini": Slot(scorer)}))
    batches = [client.post("/mini/batch", json=requests[at : at + 1000]) for at in range(0, len(requests), 1000)]
    return [answer for batch in batches for answer in batch.raise_for_status().json()]


def text_of(answer: dict[str, Any], key: str) -> str | None:
    """A list in an answer as JSON, or None if the answer lacks it."""
    return to_json(answer[key]).decode() if key in answer else None


def test_each_row_has_the_answer_of_the_function(run: Run, scorer: Scorer, rows: Path, tmp_path: Path) -> None:
    """Answers equal to the last bit, with reasons and warnings, in any chunk; the input's columns are unchanged."""
    status, message = run(rows, tmp_path / "scored.parquet", "--reasons", "--chunk-rows", "700")
    assert (status, "1,500 rows by mini" in message, "0 rejected" in message) == (0, True, True)
    before, after = pq.read_table(rows), pq.read_table(tmp_path / "scored.parquet")
    assert after.select(before.column_names).equals(before)
    assert after.column_names == [*before.column_names, *EXPLAINED]
    answers = answers_of(scorer, rows)
    assert after["fraud_probability"].to_pylist() == [answer["fraud_probability"] for answer in answers]
    assert after["is_flagged"].to_pylist() == [answer["is_flagged"] for answer in answers]
    assert set(after["model_version"].to_pylist()) == {scorer.version}
    for key in ("reasons", "warnings"):
        assert after[key].to_pylist() == [text_of(answer, key) for answer in answers]
        assert 0 < after[key].null_count < len(answers)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.parquet", "scored.parquet"]


def test_csv_and_parquet_of_the_same_rows_have_the_same_answers(
    run: Run, mini_rows: pd.DataFrame, rows: Path, tmp_path: Path
) -> None:
    """Answers are the same for any kind of input and output."""
    csv = tmp_path / "rows.csv"
    mini_rows.to_csv(csv, index=False)
    for source, output in ((rows, "expected.parquet"), (csv, "scored.parquet"), (csv, "scored.csv")):
        assert run(source, tmp_path / output, "--reasons", "--chunk-rows", "1000")[0] == 0
    expected = pq.read_table(tmp_path / "expected.parquet", columns=EXPLAINED)
    assert pq.read_table(tmp_path / "scored.parquet", columns=EXPLAINED).equals(expected)
    scored = pd.read_csv(tmp_path / "scored.csv", dtype=str, keep_default_na=False)
    assert scored["fraud_probability"].map(float).tolist() == expected["fraud_probability"].to_pylist()
    assert scored["reasons"].tolist() == [text or "" for text in expected["reasons"].to_pylist()]
    assert scored.columns.tolist() == [*mini_rows.columns, *EXPLAINED]


def test_a_csv_keeps_its_cells(run: Run, tmp_path: Path) -> None:
    """All cells are kept letter by letter, even in columns that the scorer does not know."""
    source, output = tmp_path / "in.csv", tmp_path / "out.csv"
    lines = ["country,note,amount", 'NA," a ""b"", c", 12.50', '"DE","two', 'lines",1e2', "FR,NA,007"]
    source.write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")
    assert run(source, output)[0] == 0
    scored = pd.read_csv(output, dtype=str, keep_default_na=False)
    assert scored[["country", "note", "amount"]].to_numpy().tolist() == [
        ["NA", ' a "b", c', " 12.50"],
        ["DE", "two\nlines", "1e2"],
        ["FR", "NA", "007"],
    ]


def test_a_parquet_file_becomes_a_csv(run: Run, rows: Path, tmp_path: Path) -> None:
    """Numbers keep all digits, and missing values become empty cells; a column that no CSV can hold is refused."""
    assert "the column lines of type list<element: int32>" in run(rows, tmp_path / "out.csv")[1]
    plain = pq.read_table(rows).drop_columns("lines")
    pq.write_table(plain, rows)
    assert run(rows, tmp_path / "out.csv")[0] == 0
    scored = pd.read_csv(tmp_path / "out.csv", dtype=str, keep_default_na=False)
    assert scored["amount"].map(float).tolist() == plain["amount"].to_pylist()
    assert (scored["speed"] == "").tolist() == plain["speed"].to_pandas().isna().tolist()
    assert scored["at"].tolist() == [str(timestamp) for timestamp in plain["at"].to_pylist()]


def test_columns_may_be_named_as_keys_of_a_request(run: Run, scorer: Scorer, tmp_path: Path) -> None:
    """A field without a column is missing; two columns for a field, or none for a required one, are refused."""
    source, output = tmp_path / "in.csv", tmp_path / "out.parquet"
    source.write_text("amountUsd,country\n250,NA\n")
    assert run(source, output)[0] == 0
    client = TestClient(create_app({"mini": Slot(scorer)}))
    answer = client.post("/mini", json={"amountUsd": 250, "country": "NA"}).json()
    assert pq.read_table(output)["fraud_probability"].to_pylist() == [answer["fraud_probability"]]
    for content, sentence in (
        ("amountUsd,amount,country\n250,250,NA\n", "amount and amountUsd, which are both the field amount"),
        ("amountUsd\n250\n", "has no column country, which every request must carry; it has amountUsd"),
    ):
        source.write_text(content)
        assert_refused(run, source, output, sentence)


@pytest.mark.parametrize("column", ["is_flagged", "rejected_row"])
def test_an_added_column_that_exists_is_refused(run: Run, rows: Path, tmp_path: Path, column: str) -> None:
    """The refusal names the column, before anything is scored."""
    pq.write_table(pq.read_table(rows).append_column(column, pa.nulls(1500)), rows)
    assert_refused(run, rows, tmp_path / "out.parquet", f"{rows} already has a column {column}, which scoring adds")
    assert not (tmp_path / "out.parquet").exists()


def test_numbers_as_categories_do_not_depend_on_the_chunk(run: Run, tmp_path: Path) -> None:
    """5411.0 stays 5411.0 if another row of the file has a fraction, and becomes 5411 otherwise."""
    table = pd.DataFrame({"amount": 5.0, "country": [5411.0, 5411.0, 7.5]})
    source, output = tmp_path / "in.parquet", tmp_path / "out.parquet"
    for n_rows, category in ((3, "5411.0"), (2, "5411")):
        table.head(n_rows).to_parquet(source)
        assert run(source, output, "--reasons", "--chunk-rows", "1")[0] == 0
        assert all(f"'{category}' is new" in text for text in pq.read_table(output)["warnings"].to_pylist()[:2])


def test_decimal_commas_of_declared_numbers_are_read(run: Run, rows: Path, tmp_path: Path) -> None:
    """A file saved by a European Excel gets the answers of the plain file, and its cells stay as they are."""
    table = pd.read_parquet(rows)
    table.to_csv(tmp_path / "plain.csv", index=False)
    table.to_csv(tmp_path / "excel.csv", index=False, sep=";", decimal=",", encoding="utf-16", lineterminator="\r\n")
    assert run(tmp_path / "plain.csv", tmp_path / "plain-scored.csv")[0] == 0
    status, said = run(tmp_path / "excel.csv", tmp_path / "excel-scored.csv", "--chunk-rows", "700")
    assert status == 0
    assert f"{tmp_path / 'excel.csv'}: read as UTF-16, cells separated by semicolons, decimal commas" in said
    plain, excel = (pd.read_csv(tmp_path / f"{name}-scored.csv", dtype=str) for name in ("plain", "excel"))
    assert excel[list(ADDED)].equals(plain[list(ADDED)])
    assert excel["amount"].str.replace(",", ".").equals(plain["amount"])


def test_fields_without_a_column_and_columns_without_a_field_are_said(
    run: Run, mini_rows: pd.DataFrame, tmp_path: Path
) -> None:
    """Both are reported before anything is scored; a column that is a misspelt field is refused."""
    source, output = tmp_path / "in.csv", tmp_path / "out.csv"
    mini_rows.drop(columns=["speed"]).rename(columns={"at": "null"}).to_csv(source, index=False)
    status, said = run(source, output)
    assert status == 0
    assert (
        f"{source}: speed has no column and is missing in every row; no field reads the columns null, is_fraud" in said
    )
    mini_rows.rename(columns={"is_new": "Is-New", "visits": "visit"}).to_csv(source, index=False)
    assert_refused(
        run,
        source,
        output,
        f"{source}: no field reads Is-New (did you mean is_new?); rename the columns that are fields",
    )
    mini_rows.rename(columns={"country": "countri"}).to_csv(source, index=False)
    assert_refused(run, source, output, "; country: did you mean countri?")


def broken_csv(path: Path, rows: pd.DataFrame) -> tuple[set[int], set[int]]:
    """Write a CSV in which one line in a hundred is broken, and as many are invalid; returns both sets of lines."""
    lines = rows.to_csv(index=False).splitlines()
    rng = np.random.default_rng(9)
    chosen = 1 + rng.permutation(len(rows))[: len(rows) // 50]
    broken, refused = set(chosen[::2].tolist()), set(chosen[1::2].tolist())
    for kind, line in enumerate(sorted(broken)):
        *start, last = lines[line].split(",")
        short, long = ",".join(start), f"{lines[line]},x"
        lines[line] = (short, long, f'"{short},{last}', "\x00\x01")[kind % 4]
    for line in refused:
        cells = lines[line].split(",")
        cells[2] = "-5"
        lines[line] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n")
    return {line + 1 for line in broken}, {line + 1 for line in refused}


def test_broken_lines_are_rejected_and_counted(run: Run, mini_rows: pd.DataFrame, tmp_path: Path) -> None:
    """Rejected rows have their line and text, all others their answers; the exit status says there are too many."""
    source, output = tmp_path / "in.csv", tmp_path / "out.parquet"
    broken, refused = broken_csv(source, mini_rows)
    status, message = run(source, output, "--chunk-rows", "333")
    assert status == score.TOO_MANY_REJECTED
    assert "more rows are rejected than quarantine.max_share of mini allows, 1.00%" in message
    assert f"the line is broken: {len(broken)}" in message
    assert f"amount is below 0: {len(refused)}" in message
    rejected = pd.read_csv(tmp_path / "out.parquet.rejected.csv", dtype=str, keep_default_na=False)
    assert set(rejected["rejected_line"].astype(int)) == broken | refused
    assert rejected["rejected_line"].astype(int).is_monotonic_increasing
    # One header line, and no cell spans lines here.
    assert rejected["rejected_row"].astype(int).tolist() == (rejected["rejected_line"].astype(int) - 1).tolist()
    lines = source.read_text().splitlines()
    for _, row in rejected.iterrows():
        line = lines[int(row["rejected_line"]) - 1]
        if row["rejected_text"]:
            assert row["rejected_text"] == line
        else:
            assert ",".join(row[mini_rows.columns]) == line
    kept = mini_rows["row_id"].drop([line - 2 for line in broken | refused])
    assert pq.read_table(output)["row_id"].to_pylist() == kept.tolist()


def test_a_few_rejected_rows_are_no_failure(run: Run, mini_rows: pd.DataFrame, tmp_path: Path) -> None:
    """A later run without rejected rows removes the file of rejected rows."""
    source, output, rejected = tmp_path / "in.parquet", tmp_path / "out.csv", tmp_path / "out.csv.rejected.csv"
    mini_rows.assign(country=mini_rows["country"].where(mini_rows.index != 7)).to_parquet(source)
    assert run(source, output)[0] == 0
    (row,) = pd.read_csv(rejected)[["rejected_part", "rejected_row", "rejected_because", "row_id"]].to_numpy().tolist()
    assert row == ["in.parquet", 8, "country is missing", "row-7"]
    mini_rows.to_parquet(source)
    assert run(source, output)[0] == 0
    assert not rejected.exists()


def test_a_folder_is_scored_file_by_file(run: Run, mini_rows: pd.DataFrame, tmp_path: Path) -> None:
    """Outputs have the inputs' names, and together equal those of a single file."""
    source, output, whole = tmp_path / "in", tmp_path / "out", tmp_path / "whole.parquet"
    source.mkdir()
    (source / "_SUCCESS").touch()
    table = pa.Table.from_pandas(mini_rows, preserve_index=False)
    for number, (at, length) in enumerate(((0, 700), (700, 0), (700, 800), (1500, 0))):
        pq.write_table(table.slice(at, length), source / f"part-{number}.parquet")
    pq.write_table(table, whole)
    assert run(source, output, "--chunk-rows", "300")[0] == 0
    assert run(whole, tmp_path / "whole-scored.parquet")[0] == 0
    assert sorted(path.name for path in output.iterdir()) == [f"part-{number}.parquet" for number in range(4)]
    parts = [pq.read_table(path) for path in sorted(output.iterdir())]
    assert [len(part) for part in parts] == [700, 0, 800, 0]
    scored = pq.read_table(tmp_path / "whole-scored.parquet")
    assert pa.concat_tables([parts[0], parts[2]]).equals(scored)


def test_a_folder_of_both_kinds_is_refused(run: Run, mini_rows: pd.DataFrame, tmp_path: Path) -> None:
    """Both kinds are refused even if all columns are texts and the schemas agree; nothing is written."""
    source, output, texts = tmp_path / "in", tmp_path / "out", mini_rows.head(20).astype(str)
    source.mkdir()
    texts.to_csv(source / "a.csv", index=False)
    pq.write_table(pa.table({name: pa.array(texts[name], pa.string()) for name in texts}), source / "b.parquet")
    assert_refused(run, source, output, f"score: {source} holds files of both kinds, .csv and .parquet; score each")
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda rows: rows.astype({"visits": str}), "column visits as large_string; a.parquet has it as double"),
        (lambda rows: rows.drop(columns="speed"), "no column speed; a.parquet has it as double"),
        (lambda rows: rows.assign(more=1), "column more as int64; a.parquet has none"),
    ],
)
def test_a_part_of_another_schema_is_refused(
    run: Run, mini_rows: pd.DataFrame, tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], why: str
) -> None:
    """The refusal, before anything is scored, names the part, the column and both types."""
    (tmp_path / "in").mkdir()
    mini_rows.to_parquet(tmp_path / "in" / "a.parquet", index=False)
    change(mini_rows).to_parquet(tmp_path / "in" / "b.parquet", index=False)
    assert_refused(run, tmp_path / "in", tmp_path / "out", f"in/b.parquet has {why}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_damaged_files_are_named(run: Run, rows: Path, tmp_path: Path) -> None:
    """A truncated file is refused at once, one with damaged pages when they are read; an earlier output is kept."""
    content, output = rows.read_bytes(), tmp_path / "out.parquet"
    output.write_bytes(b"what was there before")
    start = pq.ParquetFile(rows).metadata.row_group(2).column(2).data_page_offset
    for damaged in (content[: len(content) // 2], content[:start] + b"\xff" * 40 + content[start + 40 :]):
        rows.write_bytes(damaged)
        sentence = f"score: {rows} cannot be read; it may be damaged or truncated: "
        assert_refused(run, rows, output, sentence, "--chunk-rows", "400")
        assert output.read_bytes() == b"what was there before"


def test_a_file_without_rows_is_refused(run: Run, rows: Path, tmp_path: Path) -> None:
    """A CSV may even have no columns; a Parquet file always has a schema."""
    csv, output = tmp_path / "in.csv", tmp_path / "out.csv"
    for content in ("", "amount,country\n", "amount,country\n\n \n"):
        csv.write_text(content)
        assert_refused(run, csv, output, f"{csv} {'holds no rows' if content else 'is empty: it has no columns'}")
    pq.write_table(pq.read_table(rows).slice(0, 0), rows)
    assert run(rows, output) == (1, f"score: {rows} holds no rows")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "rows.parquet"]


def test_what_must_not_be_overwritten_is_refused(run: Run, rows: Path, tmp_path: Path) -> None:
    """The input under any name, its folder, a file of rejected rows and others' files are never overwritten."""
    link, folder = tmp_path / "link.parquet", tmp_path / "folder"
    link.hardlink_to(rows)
    folder.mkdir()
    shutil.copy(rows, folder / "a.parquet")
    rejected = tmp_path / "b.csv.rejected.csv"
    rejected.write_text("amount,country\n1,NA\n")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "theirs.pdf").touch()
    for source, output, why in (
        (rows, rows, "is an input and would be overwritten"),
        (rows, link, "is an input and would be overwritten"),
        (rejected, tmp_path / "b.csv", "is an input and would be overwritten"),
        (folder, folder, "neither may be inside the other"),
        (folder, folder / "out", "neither may be inside the other"),
        (folder, tmp_path, "neither may be inside the other"),
        (folder, tmp_path / "taken", "holds files that do not belong to INPUT: theirs.pdf"),
        (folder, tmp_path / "out.parquet", "if INPUT is a folder, OUTPUT must be a folder too"),
        (rows, folder, "if INPUT is a file, OUTPUT must be a .csv or .parquet file"),
        (rows, tmp_path / "out.xlsx", "if INPUT is a file, OUTPUT must be a .csv or .parquet file"),
        (tmp_path / "nothing.csv", tmp_path / "out.csv", "does not exist"),
        (tmp_path / "taken", tmp_path / "out", "holds theirs.pdf, which is not a .csv or .parquet file"),
    ):
        assert_refused(run, source, output, why)
    assert pq.read_table(rows).num_rows == 1500


def test_an_unknown_scorer_and_a_missing_bundle_are_reported(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch, rows: Path, tmp_path: Path
) -> None:
    """The message has what exists, or what would create it."""
    output = tmp_path / "out.csv"
    sentence = "score: params.yaml: there is no scorers.maxi; the declared scorers are mini"
    assert run(rows, output, scorer="maxi") == (1, sentence)
    monkeypatch.chdir(project)
    assert_refused(run, rows, output, "there is no bundle of mini, neither in store nor in build/bundles/mini")
    sentence = "VERSION is 'latest'; it must be twelve hexadecimal digits"
    assert_refused(run, rows, output, sentence, "--version", "latest")


def test_the_stores_current_version_scores(
    run: Run, variant: Callable[..., Path], folder_store: FolderStoreWriter, rows: Path, tmp_path: Path
) -> None:
    """The current version scores, unless an option names another."""
    older, newer = (publish(folder_store, variant(shift=shift)) for shift in (0.25, 0.5))
    update_pointer(folder_store, "mini", "promote", lambda _: {"current": newer})
    output, store = tmp_path / "out.parquet", ("--store", str(folder_store.root))
    for options, version in (((), newer), (("--version", older), older)):
        assert run(rows, output, *store, *options)[0] == 0
        assert set(pq.read_table(output)["model_version"].to_pylist()) == {version}


def start(trained: Path, source: Path, output: Path, *, processes: int = 1) -> subprocess.Popen[str]:
    """Start a real run that is going to be killed, with this many processes of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    return subprocess.Popen(
        [sys.executable, "-m", "training.score", "mini", str(source), str(output), *OPTIONS],
        cwd=trained,
        env={**environment, "PYTHONPATH": str(PROJECT), "LOKY_MAX_CPU_COUNT": str(processes)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def await_file(folder: Path, pattern: str, count: int, process: subprocess.Popen[str]) -> None:
    """Wait until a run has this many files of a name, or has already ended successfully."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(list(folder.glob(pattern))) < count and process.poll() != 0:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def many(mini_rows: pd.DataFrame, tmp_path: Path) -> Path:
    """9,000 rows."""
    path = tmp_path / "many.parquet"
    pd.concat([mini_rows] * 6, ignore_index=True).to_parquet(path, index=False)
    return path


@pytest.mark.parametrize("kind", KILLED_AT)
def test_a_killed_run_goes_on(run: Run, trained: Path, many: Path, tmp_path: Path, kind: str) -> None:
    """Killed at its start, among its chunks and while joining them, it still ends in the undisturbed bytes."""
    undisturbed, output, before = tmp_path / f"undisturbed.{kind}", tmp_path / f"out.{kind}", b"what was there before"
    assert run(many, undisturbed, *OPTIONS)[0] == 0
    output.write_bytes(before)
    work, seeded = tmp_path / f".out.{kind}.scoring", random.Random(kind)  # noqa: S311 - delays, no secrets
    for pattern, count in KILLED_AT[kind]:
        process = start(trained, many, output, processes=2 if kind == "parquet" else 1)
        await_file(work, pattern, count, process)
        time.sleep(seeded.random() * 0.02)
        process.kill()
        process.communicate()
        # A run that is already joining may have ended.
        assert output.read_bytes() in {before, undisturbed.read_bytes() if "joined" in pattern else before}
    if work.exists():
        is_old = output.read_bytes() == before
        status, message = run(many, output, *OPTIONS)
        assert (status, "resuming" in message or not is_old) == (0, True)
    assert output.read_bytes() == undisturbed.read_bytes()
    assert not work.exists()


def is_running(process: Path) -> bool:
    """Whether a process in /proc is running and not a zombie."""
    try:
        return (process / "stat").read_text().rsplit(")", maxsplit=1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_nothing_outlives_a_killed_run(trained: Path, many: Path, tmp_path: Path) -> None:
    """A killed run's worker processes end with it."""
    process = start(trained, many, tmp_path / "out.parquet", processes=2)
    await_file(tmp_path, ".out.parquet.scoring/*/*-*.json", 1, process)
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    children = [Path("/proc", child) for child in listed.read_text().split()] if listed.exists() else None
    process.kill()
    process.communicate()
    if children is None:
        pytest.skip("this system does not list a process's children")
    assert children
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any(map(is_running, children)):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_another_run_does_not_go_on_with_it(run: Run, trained: Path, many: Path, tmp_path: Path) -> None:
    """If the input has changed, finished chunks are discarded, and a message says so."""
    output = tmp_path / "out.parquet"
    process = start(trained, many, output)
    await_file(tmp_path, ".out.parquet.scoring/*/*-*.json", 2, process)
    # Stopped, so that it does not end before it is examined.
    process.send_signal(signal.SIGSTOP)
    assert "is being written by another run" in run(many, output)[1]
    process.kill()
    process.communicate()
    pq.write_table(pq.read_table(many).slice(0, 4000), many)
    status, message = run(many, output, "--chunk-rows", "500")
    assert status == 0
    assert "discarding the chunks of an unfinished run" in message
    assert "resuming" not in message
    assert pq.read_table(output).num_rows == 4000


@pytest.mark.parametrize("size", ["600k", "1200k"], ids=["among the chunks", "while they are joined"])
def test_a_full_disk_keeps_what_is_finished(
    run: Run, many: Path, tmp_path: Path, small_disk: Callable[[str], Path], size: str
) -> None:
    """The message says so; with more room the same command continues, to the same bytes."""
    options = ("--reasons", "--chunk-rows", "1000")
    assert run(many, tmp_path / "undisturbed.parquet", *options)[0] == 0
    output = small_disk(size) / "out.parquet"
    sentence = f"score: there is no space left in {output.parent}; make room, then run the command again"
    assert_refused(run, many, output, sentence, *options)
    kept = len(list(output.parent.glob(".out.parquet.scoring/*/*-*.json")))
    assert kept == 9 if size == "1200k" else 0 < kept < 9
    small_disk("64m")
    status, message = run(many, output, *options)
    assert (status, f"resuming: {kept} chunks were finished before" in message) == (0, True)
    assert output.read_bytes() == (tmp_path / "undisturbed.parquet").read_bytes()
    assert [path.name for path in output.parent.iterdir()] == ["out.parquet"]


def test_an_input_that_changes_during_the_run_is_refused(
    run: Run, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No output is left."""
    read = score.read_input_files

    def touched(path: Path) -> Any:  # noqa: ANN401 - as read_input_files
        parts = read(path)
        os.utime(path, (0, 0))
        return parts

    monkeypatch.setattr(score, "read_input_files", touched)
    sentence = f"{rows} was changed while it was scored; run the command again"
    assert_refused(run, rows, tmp_path / "out.parquet", sentence)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.parquet"]


@pytest.mark.parametrize(
    ("scorer", "options", "sentence"),
    [
        ("", (), "SCORER must be given: make score INPUT=... OUTPUT=... SCORER=..."),
        ("mini", ("--chunk-rows", "0"), "--chunk-rows"),
        ("mini", ("--reasons", "maybe"), "--reasons"),
    ],
)
def test_a_missing_or_wrong_option_is_refused(run: Run, scorer: str, options: tuple[str, ...], sentence: str) -> None:
    """`make` passes a missing option as an empty text."""
    status, message = run(Path("in.csv"), Path("out.csv"), *options, scorer=scorer)
    assert (status, sentence in message) == (2, True), message


def test_the_page_has_the_recorded_figures() -> None:
    """The figures are those of `python -m benchmarks.serving.batch --record`."""
    page = (PROJECT / "docs" / "batch-scoring.md").read_text(encoding="utf-8")
    assert batch.sentence(report("batch.json")) in " ".join(page.split())
