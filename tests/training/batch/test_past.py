"""Files scored with a history: each row has the answer that the function gives after all rows before it."""

import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from pydantic_core import to_json
from starlette.testclient import TestClient

from handler.history.sqlite import SqliteHistory
from handler.releases.served import Slot
from handler.scoring.scorer import Scorer
from handler.web.routes import create_app
from tests.training.conftest import PARAMS, REMEMBERED_PARAMS, RunRemembered, remembered_rows
from training import history, score
from training.batch import chunk
from training.batch.answers import answer_rows
from training.errors import StageError

MIDNIGHT = pd.Timestamp("2025-02-20")
STATES = "build/mini/state.parquet"
ANSWERS = ["fraud_probability", "is_flagged"]
Run = Callable[..., tuple[Any, str]]


@pytest.fixture
def run(run_remembered: RunRemembered) -> Run:
    """Score a file, or run another command; returns its exit status and its output."""
    return lambda *arguments, module=score: run_remembered(module, *arguments)


@pytest.fixture
def rows() -> pd.DataFrame:
    """Rows that are not sorted by time; some repeat the id of another row, and some are not valid requests."""
    rows = remembered_rows().drop(columns="is_fraud").sample(frac=0.5, random_state=3).reset_index(drop=True)
    rng = np.random.default_rng(1)
    again = rng.choice(len(rows), 60, replace=False)
    rows.loc[again[:30], "row_id"] = rows.loc[again[30:], "row_id"].to_numpy()
    rows.loc[again[:30], "card"] = rows.loc[again[30:], "card"].to_numpy()
    rows.loc[rng.choice(len(rows), 20, replace=False), "row_id"] = None
    rows.loc[rng.choice(len(rows), 6, replace=False), "amount"] = -1.0
    return rows


def answers_of(rows: pd.DataFrame, scorer: Scorer, served: SqliteHistory) -> list[dict[str, Any]]:
    """The function's answers to the valid rows, sent one by one in order of time, returned in the order of the rows."""
    client = TestClient(create_app({"mini": Slot(scorer)}, history=served))
    valid = rows[rows["amount"] >= 0]
    keys = {name: field.alias or name for name, field in scorer.contract.fields.items()}
    keys |= {"row_id": "row_id", "at": "at"}
    in_order = valid.sort_values("at", kind="stable")
    requests = []
    for row in in_order.to_dict("records"):
        values = {keys[name]: value for name, value in row.items() if name in keys and not pd.isna(value)}
        requests.append(values | {"at": values["at"].isoformat()})
    batches = [to_json(requests[at : at + 100]) for at in range(0, len(requests), 100)]
    answers = [answer for batch in batches for answer in client.post("/mini/batch", content=batch).json()]
    assert not served.n_failed
    by_row = dict(zip(in_order.index, answers, strict=True))
    return [by_row[index] for index in valid.index]


def text_of(answer: dict[str, Any], key: str) -> str | None:
    """A list in an answer as JSON, or None if the answer lacks it."""
    return to_json(answer[key]).decode() if key in answer else None


def assert_answers(path: str, answers: Sequence[dict[str, Any]]) -> None:
    """The scored file has these answers, with their reasons and warnings."""
    scored = pq.read_table(path)
    for name in ANSWERS:
        assert scored[name].to_pylist() == [answer[name] for answer in answers]
    for name in ("reasons", "warnings"):
        assert scored[name].to_pylist() == [text_of(answer, name) for answer in answers]


def test_numbers_with_gaps_name_the_same_cards_in_every_file(run: Run, rows: pd.DataFrame, scorer: Scorer) -> None:
    """Cards stored as floats, in a CSV or a Parquet file, get the answers of requests with these numbers."""
    numbers = rows["card"].str.removeprefix("card-").astype("Int64")
    rows = rows.assign(card=numbers.astype("float64"))
    with closing(SqliteHistory(":memory:", 1_000)) as served:
        answers = answers_of(rows.assign(card=numbers.astype("object")), scorer, served)
    for kind in ("csv", "parquet"):
        rows.to_csv("in.csv", index=False) if kind == "csv" else rows.to_parquet("in.parquet")
        ended, _ = run(f"in.{kind}", f"out.{kind}", "--chunk-rows", "200")
        assert ended is None
        scored = pd.read_csv("out.csv") if kind == "csv" else pd.read_parquet("out.parquet")
        assert scored["fraud_probability"].tolist() == [answer["fraud_probability"] for answer in answers]


def test_each_row_has_the_answer_of_the_function(run: Run, rows: pd.DataFrame, scorer: Scorer) -> None:
    """Answers match to the last bit in any file order: each id counts once for later rows, refused rows never do."""
    rows.to_parquet("in.parquet")
    ended, printed = run("in.parquet", "out.parquet", "--reasons", "--chunk-rows", "200")
    assert ended is None
    assert "without PAST nothing is known of what happened before in.parquet\n" in printed
    assert "6 rejected" in printed
    with closing(SqliteHistory(":memory:", 1_000)) as served:
        answers = answers_of(rows, scorer, served)
    assert_answers("out.parquet", answers)
    with closing(SqliteHistory(":memory:", 1_000)) as served:
        without = answers_of(rows.assign(card=None), scorer, served)
    assert sum(a["fraud_probability"] != b["fraud_probability"] for a, b in zip(answers, without, strict=True)) > 500


@pytest.mark.parametrize("past", [STATES, "history.db"])
def test_a_past_is_continued(run: Run, rows: pd.DataFrame, scorer: Scorer, past: str) -> None:
    """With states of a data file or a function as PAST, rows get that function's answers; its file is unchanged."""
    later = rows[rows["at"] >= MIDNIGHT].reset_index(drop=True)
    later.to_parquet("in.parquet")
    run("--before", "2025-02-20", module=history)
    run("--load", "history.db", module=history)
    with closing(sqlite3.connect("history.db")) as connection:
        before = connection.execute("SELECT * FROM states").fetchall()
    ended, printed = run("in.parquet", "out.parquet", "--reasons", "--past", past, "--chunk-rows", "100")
    assert ended is None or "quarantine.max_share" in printed
    assert "WARNING" not in printed
    assert "without PAST" not in printed
    with closing(sqlite3.connect("history.db")) as connection:
        assert connection.execute("SELECT * FROM states").fetchall() == before
    with closing(SqliteHistory("history.db", 1_000)) as served:
        assert_answers("out.parquet", answers_of(later, scorer, served))
    run("in.parquet", "alone.parquet", "--reasons")
    assert pq.read_table("alone.parquet", columns=ANSWERS) != pq.read_table("out.parquet", columns=ANSWERS)


@pytest.mark.parametrize(
    ("past", "sentence"),
    [
        (STATES, "rows are before 2025-02-20T00:00:00Z, the as-of time of build/mini/state.parquet; such a row counts"),
        ("history.db", "rows are not later than the events that history.db has of the same key; such a row counts"),
    ],
)
def test_rows_that_the_past_may_know_are_counted(
    run: Run, rows: pd.DataFrame, scorer: Scorer, past: str, sentence: str
) -> None:
    """Rows that PAST may already contain get a warning, and count as the function counts a late request."""
    run("--before", "2025-02-20", module=history)
    run("--load", "history.db", module=history)
    late = rows[rows["at"] >= MIDNIGHT - pd.Timedelta("9D")].reset_index(drop=True)
    late.to_parquet("in.parquet")
    printed = run("in.parquet", "out.parquet", "--reasons", "--past", past)[1]
    n_late = int(printed.partition("WARNING: ")[2].split()[0])
    assert sentence in printed
    n_before = int(((late["at"] < MIDNIGHT) & (late["amount"] >= 0)).sum())
    assert n_late == n_before if past == STATES else 0 < n_late < n_before
    with closing(SqliteHistory("history.db", 1_000)) as served:
        assert_answers("out.parquet", answers_of(late, scorer, served))


def test_what_the_rows_bring_counts(run: Run, rows: pd.DataFrame) -> None:
    """A value in the file is kept: the computed one does not replace it."""
    rows = rows.assign(visits=7.0)
    rows.to_parquet("in.parquet")
    run("in.parquet", "out.parquet", "--reasons")
    reasons = "".join(filter(None, pq.read_table("out.parquet")["reasons"].to_pylist()))
    assert '"visits","value":7.0' in reasons
    assert '"visits","value":0.0' not in reasons


def test_computed_values_are_within_no_bounds(scorer: Scorer) -> None:
    """A computed count may exceed the field's `max`, which only bounds requests, and is still explained."""
    fields = scorer.contract.fields | {"visits": scorer.contract.fields["visits"].model_copy(update={"max": 1.0})}
    contract = scorer.contract.model_copy(update={"fields": fields})
    strict = Scorer(replace(scorer.bundle, contract=contract))
    strict.threshold = 0.0
    rows = remembered_rows()[:3].assign(visits=[None, 1.0, None])
    assert contract.history
    past = pd.DataFrame({name: [5.0] * 3 for name in contract.history.features}).assign(known_device=1.0)
    answers = answer_rows(strict, rows[[*fields, "row_id", "at"]], explain=True, past=past)
    assert not len(answers.rejected)
    expected = answer_rows(scorer, rows.assign(visits=[5.0, 1.0, 5.0])[[*fields, "row_id", "at"]], past=past)
    assert answers.answered["fraud_probability"].tolist() == expected.answered["fraud_probability"].tolist()
    assert answers.answered["is_flagged"].all()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_files_and_chunks_make_no_difference(run: Run, rows: pd.DataFrame, kind: str) -> None:
    """Rows give the same scores in one file or several, CSV or Parquet, and in chunks of any size."""
    Path("in").mkdir()
    for number in range(2):
        part = rows[number::2]
        if kind == "csv":
            part.to_csv(f"in/{number}.csv", index=False)
        else:
            part.to_parquet(f"in/{number}.parquet", index=False)
    rows.to_parquet("in.parquet", index=False)
    run("in.parquet", "out.parquet", "--chunk-rows", "10000")
    run("in", "out", "--chunk-rows", "130")
    expected = pq.read_table("out.parquet").to_pandas()["fraud_probability"].tolist()
    read = pd.read_csv if kind == "csv" else pd.read_parquet
    parts = [read(path)["fraud_probability"].tolist() for path in sorted(Path("out").iterdir())]
    valid = rows.index[rows["amount"] >= 0]
    by_row = dict(zip([*valid[valid % 2 == 0], *valid[valid % 2 == 1]], [*parts[0], *parts[1]], strict=True))
    assert [by_row[index] for index in valid] == expected


@pytest.mark.parametrize("where", ["past", "scores"])
def test_an_interrupted_run_goes_on(run: Run, rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Any interrupted step is continued with the same PAST and ends in the same bytes; another PAST starts anew."""
    rows.to_parquet("in.parquet")
    run("--before", "2025-02-20", module=history)
    options = ("--chunk-rows", "200", "--past", STATES, "--engine", "local")
    run("in.parquet", "expected.parquet", *options)
    finish, n_done = chunk.finish_chunk, iter(range(100))

    def fail(*arguments: Any) -> None:  # noqa: ANN401 - as the function itself takes it
        if next(n_done) == 3:
            raise StageError("interrupted")
        finish(*arguments)

    with monkeypatch.context() as broken:
        broken.setattr("training.run.processes.joblib.cpu_count", lambda: 1)
        if where == "scores":
            broken.setattr(chunk, "finish_chunk", fail)
        else:
            broken.setattr("training.batch.past.write_bytes", fail_at_once)
        assert run("in.parquet", "out.parquet", *options)[0] == "score: interrupted"
    values = list(Path(".out.parquet.scoring").rglob("past.npy"))
    assert len(values) == 1
    printed = run("in.parquet", "out.parquet", *options)[1]
    assert ("resuming: 3 chunks were finished before" in printed) == (where == "scores")
    assert ("rows read" in printed) == (where == "past")
    assert Path("out.parquet").read_bytes() == Path("expected.parquet").read_bytes()


def test_another_past_is_another_run(run: Run, rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run without PAST discards what an interrupted run with PAST left behind."""
    rows.to_parquet("in.parquet")
    run("--before", "2025-02-20", module=history)
    run("in.parquet", "expected.parquet")
    with monkeypatch.context() as broken:
        broken.setattr("training.batch.past.write_bytes", fail_at_once)
        run("in.parquet", "out.parquet", "--past", STATES)
    printed = run("in.parquet", "out.parquet")[1]
    assert "discarding the chunks of an unfinished run with another input, version, code or option" in printed
    assert Path("out.parquet").read_bytes() == Path("expected.parquet").read_bytes()


def fail_at_once(*_: Any, **__: Any) -> None:  # noqa: ANN401 - whatever a function takes
    """Raise the error of an interrupted step."""
    raise StageError("interrupted")


def test_a_file_without_a_valid_row_is_no_trouble(run: Run, rows: pd.DataFrame) -> None:
    """A file whose rows are all rejected, or that has none, ends as it does without a history."""
    rows.assign(amount=-1.0).to_parquet("in.parquet")
    assert run("in.parquet", "out.parquet")[0] == score.TOO_MANY_REJECTED
    rows[:0].to_parquet("empty.parquet")
    assert "holds no rows" in run("empty.parquet", "out.parquet")[0]


def test_a_past_that_cannot_be_used_is_refused(run: Run, rows: pd.DataFrame) -> None:
    """The refusal is one sentence, given before anything is written."""
    rows.to_parquet("in.parquet")
    run(module=history)
    Path("text.db").write_text("no history")
    Path("broken.db").write_bytes(b"SQLite format 3\0" + b"x" * 5_000)
    run("--load", "history.db", module=history)
    with closing(sqlite3.connect("history.db", isolation_level=None)) as connection:
        connection.execute("UPDATE states SET state = x'00'")
    refusals = {
        "build/mini/stat.parquet": "which does not exist; stat.parquet: did you mean state.parquet",
        "text.db": "PAST is text.db; it must be a state.parquet of make history, or the history.db of a function",
        "broken.db": "PAST is broken.db, which cannot be read: file is not a database",
        "history.db": "PAST is history.db, which cannot be read: the bytes are not a state of this history",
        "in.parquet": "in.parquet holds no states of a history; rebuild it (make history SCORER=mini)",
    }
    for past, sentence in refusals.items():
        ended = run("in.parquet", "out.parquet", "--past", past)[0]
        assert sentence in ended
        assert "\n" not in ended
        assert not Path("out.parquet").exists()
    Path("params.yaml").write_text(REMEMBERED_PARAMS.replace("over: 24h}", "over: 1h}"))
    run(module=history)
    ended = run("in.parquet", "out.parquet", "--past", STATES)[0]
    assert " was built for history " in ended


def test_a_scorer_without_a_history_takes_no_past(run: Run, trained: Path, tmp_path: Path, rows: pd.DataFrame) -> None:
    """PAST is refused for a scorer without a history, and its files are read only once."""
    rows.drop(columns=["card", "device", "at"]).to_parquet("in.parquet")
    shutil.rmtree("build/bundles")
    shutil.copytree(trained / "build" / "bundles", "build/bundles")
    Path("params.yaml").write_text(PARAMS)
    assert run("in.parquet", "out.parquet", "--past", STATES)[0] == (
        f"score: PAST is {STATES}, but mini has no history; leave it out"
    )
    printed = run("in.parquet", "out.parquet")[1]
    assert "rows read" not in printed
    assert "PAST" not in printed
    assert tmp_path.is_dir()


def test_a_past_of_another_layout_is_refused(run: Run, rows: pd.DataFrame) -> None:
    """The history of a function with another storage layout is refused in one sentence, and no file is written."""
    rows.to_parquet("in.parquet")
    with closing(SqliteHistory("history.db", 50)) as served:
        served.connection().execute("PRAGMA user_version = 1")
    ended = run("in.parquet", "out.parquet", "--past", "history.db")[0]
    assert ended == "score: PAST is history.db, which cannot be read: its layout is 1, not 3"
    assert not Path("out.parquet").exists()
