"""`make history`: the states after the checked rows are built, loaded into a served history, inspected and deleted."""

import re
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from time import time
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel
from starlette.testclient import TestClient

from handler.history import sqlite
from handler.history.loading import Loading
from handler.history.sqlite import SqliteHistory
from handler.releases.served import Slot
from handler.scoring.entity_state import EntityPast
from handler.scoring.history import DAY
from handler.scoring.past import RequestPast
from handler.scoring.scorer import Scorer
from handler.web.routes import create_app
from tests.training.conftest import PARAMS, REMEMBERED_PARAMS, RunRemembered, split_at
from training import history
from training.data.times import midnight_of
from training.data.window import GIVEN

STATES = Path("build", "mini", "state.parquet")
DAY_TEXT = "2025-02-20"
MIDNIGHT = midnight_of(DAY_TEXT)
Run = Callable[..., tuple[Any, str]]
States = dict[bytes, bytes]


@pytest.fixture
def run(run_remembered: RunRemembered) -> Run:
    """Run the command; returns its exit status and its output."""
    return lambda *arguments: run_remembered(history, *arguments)


@pytest.fixture(autouse=True)
def _nothing_is_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not sweep files, since the rows span more months than a key is remembered."""
    monkeypatch.setattr(sqlite, "WRITES_A_SWEEP", 10**9)


def past_of(scorer: Scorer) -> RequestPast:
    """The scorer's past, which turns requests into events."""
    assert scorer.past is not None
    return scorer.past


def play(requests: Sequence[tuple[BaseModel, bool]], past: RequestPast, served: SqliteHistory) -> None:
    """Send requests to a history, each with its label."""
    for request, is_fraud in requests:
        served.exchange([past.events(request)])
        if is_fraud:
            served.add_frauds([past.events(request)])
    assert not served.n_failed


def replayed(requests: Sequence[tuple[BaseModel, bool]], past: RequestPast) -> States:
    """The states after these requests, computed by the function's own code."""
    with closing(SqliteHistory(":memory:", 1_000)) as served:
        play(requests, past, served)
        return dict(served.connection().execute("SELECT key, state FROM states").fetchall())


def states_in(database: Path | str) -> States:
    """The states in a history's file."""
    with closing(sqlite3.connect(database)) as connection:
        return dict(connection.execute("SELECT key, state FROM states").fetchall())


def test_states_are_those_that_the_function_would_have(
    run: Run, scorer: Scorer, sent: list[tuple[BaseModel, bool]]
) -> None:
    """States equal the function's byte for byte, warm-up and label delay included; expired keys are left out."""
    ended, printed = run()
    assert ended is None
    assert "state.parquet: the states of 60 keys of card and " in printed
    assert " after 1,500 rows, as of 2025-03-01T23:24:52Z, 359 keys forgotten by then, " in printed
    table = pq.read_table(STATES)
    built = dict(zip(table["key"].to_pylist(), table["state"].to_pylist(), strict=True))
    expected = replayed(sent, past_of(scorer))
    assert built == {key: expected[key] for key in built}
    assert len(expected) - len(built) == 359


def test_only_rows_before_a_midnight_are_folded(run: Run, scorer: Scorer, sent: list[tuple[BaseModel, bool]]) -> None:
    """Rows before that midnight are included, and the states are as of that time."""
    printed = run("--before", DAY_TEXT)[1]
    before, _ = split_at(sent, MIDNIGHT)
    assert f" after {len(before):,} rows, as of {DAY_TEXT}T00:00:00Z, " in printed
    run("--load", "h.db")
    expected = replayed(before, past_of(scorer))
    assert states_in("h.db").items() <= expected.items()


def test_a_computed_field_counts_as_the_file_held_it(run: Run) -> None:
    """A field counts with its value in the file rather than the computed one, as in a request."""
    feature = "        known_visits: {entity: card, take: mean, field: visits, over: 30d}\n"
    Path("params.yaml").write_text(REMEMBERED_PARAMS.replace("        pair_count:", f"{feature}        pair_count:"))
    run()
    states = pq.read_table(STATES)
    for path in Path("build/mini/rows").glob("*.parquet"):
        rows = pd.read_parquet(path)
        rows.assign(visits=rows[f"visits{GIVEN}"]).drop(columns=f"visits{GIVEN}").to_parquet(path)
    run()
    assert pq.read_table(STATES).equals(states)


def test_a_load_completes_what_live_traffic_brought(
    run: Run, scorer: Scorer, sent: list[tuple[BaseModel, bool]]
) -> None:
    """Live events before the midnight count once, later ones are kept, and a second load changes nothing."""
    before, since = split_at(sent, MIDNIGHT)
    with closing(SqliteHistory("h.db", 1_000)) as served:
        play(before[-200:] + since, past_of(scorer), served)
    live = states_in("h.db")
    run("--before", DAY_TEXT)
    ended, printed = run("--load", "h.db")
    assert (ended, f" states as of {DAY_TEXT}T00:00:00Z from {STATES}\n" in printed) == (None, True)
    loaded, expected = states_in("h.db"), replayed(sent, past_of(scorer))
    in_file = set(pq.read_table(STATES)["key"].to_pylist())
    assert {key: loaded[key] for key in in_file} == {key: expected[key] for key in in_file}
    assert {key: loaded[key] for key in live.keys() - in_file} == {key: live[key] for key in live.keys() - in_file}
    assert any(live[key] != loaded[key] for key in live)
    assert run("--load", "h.db") == (None, f"h.db: {STATES} was loaded before; nothing has changed\n")
    # A second load also changes nothing if the history has no note of the first one.
    with closing(sqlite3.connect("h.db", isolation_level=None)) as connection:
        connection.execute("DELETE FROM loads")
    run("--load", "h.db")
    assert states_in("h.db") == loaded


def test_a_request_after_a_load_sees_the_rows(run: Run, scorer: Scorer, sent: list[tuple[BaseModel, bool]]) -> None:
    """The request's features are those of one that followed all rows."""
    run()
    run("--load", "h.db")
    request = {"amountUsd": 9.0, "country": "DE", "card": "card-7", "device": "device-3", "at": 1_740_900_000}
    events = past_of(scorer).events(scorer.request_model.model_validate(request))
    with closing(SqliteHistory("h.db", 1_000)) as served, closing(SqliteHistory(":memory:", 1_000)) as all_rows:
        play(sent, past_of(scorer), all_rows)
        values, expected = (history.exchange([events], is_written=False) for history in (served, all_rows))
    assert values[0][0][0] is not None
    assert repr(values) == repr(expected)
    assert sum(value > 0 for value in values[0][0]) >= 4


def test_an_interrupted_load_goes_on(
    run: Run, monkeypatch: pytest.MonkeyPatch, scorer: Scorer, sent: list[tuple[BaseModel, bool]]
) -> None:
    """The load continues where it stopped, although states as of no midnight could not be merged twice."""
    run()
    add, n_added = Loading.add, iter(range(100))

    def fail(self: Loading, *batch: Any) -> None:  # noqa: ANN401 - as the method itself takes it
        if next(n_added) == 5:
            raise sqlite3.OperationalError("disk I/O error")
        add(self, *batch)

    monkeypatch.setattr(Loading, "add", fail)
    assert run("--load", "h.db")[0] == (
        "history mini: h.db does not answer: disk I/O error; run the command again: a load continues where it stopped"
    )
    n_loaded = len(states_in("h.db"))
    assert 0 < n_loaded < 600
    assert f" states ({n_loaded} of them loaded before) as of " in run("--load", "h.db")[1]
    expected = replayed(sent, past_of(scorer))
    assert len(states_in("h.db")) == pq.read_metadata(STATES).num_rows
    assert states_in("h.db").items() <= expected.items()


def test_an_outcome_that_the_file_has_counts_once(run: Run, scorer: Scorer, sent: list[tuple[BaseModel, bool]]) -> None:
    """It counts once even if the request was live and its outcome comes after the load; later ones count too."""
    before, since = split_at(sent, MIDNIGHT)
    with closing(SqliteHistory("h.db", 1_000)) as served:
        play([(request, False) for request, _ in before[-200:] + since], past_of(scorer), served)
    run("--before", DAY_TEXT)
    run("--load", "h.db")
    in_file = set(pq.read_table(STATES)["key"].to_pylist())
    with closing(SqliteHistory("h.db", 1_000)) as served:
        frauds = [request.row_id for request, is_fraud in before[-200:] + since if is_fraud]  # type: ignore[attr-defined]  # as above
        assert served.add_outcomes(past_of(scorer), frauds)
    loaded, expected = states_in("h.db"), replayed(sent, past_of(scorer))
    assert {key: loaded[key] for key in in_file} == {key: expected[key] for key in in_file}


def test_requests_go_on_during_a_load(run: Run, scorer: Scorer, sent: list[tuple[BaseModel, bool]]) -> None:
    """Each request is answered, and no event is lost."""
    run("--before", DAY_TEXT)
    before, since = split_at(sent, MIDNIGHT)
    live = [(request, False) for request, _ in since]

    def write() -> None:
        with closing(SqliteHistory("h.db", 10_000)) as served:
            play(live, past_of(scorer), served)

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(write)
        assert run("--load", "h.db")[0] is None
        writer.result()
    in_file = set(pq.read_table(STATES)["key"].to_pylist())
    loaded, expected = states_in("h.db"), replayed(before + live, past_of(scorer))
    assert {key: loaded[key] for key in in_file} == {key: expected[key] for key in in_file}
    assert loaded.keys() - in_file == {key for key in replayed(live, past_of(scorer)) if key not in in_file}


def test_a_request_during_a_merge_counts(
    run: Run, monkeypatch: pytest.MonkeyPatch, scorer: Scorer, sent: list[tuple[BaseModel, bool]]
) -> None:
    """A state that changes between its merge and the transaction is merged again."""
    before, since = split_at(sent, MIDNIGHT)
    request = next(item for item in since if item[0].card == "card-7")  # type: ignore[attr-defined]  # as above
    key, merged, played = past_of(scorer).stored_key(0, "card-7"), Loading._merged, []  # noqa: SLF001 - between its steps

    def play_meanwhile(self: Loading, loaded: Any, live: bytes | None) -> Any:  # noqa: ANN401 - as the method itself
        row = merged(self, loaded, live)
        if loaded[1] == key and not played:
            with closing(SqliteHistory("h.db", 1_000)) as served:
                play([request], past_of(scorer), served)
            played.append(request)
        return row

    run("--before", DAY_TEXT)
    monkeypatch.setattr(Loading, "_merged", play_meanwhile)
    assert run("--load", "h.db")[0] is None
    assert played
    assert states_in("h.db")[key] == replayed([*before, request], past_of(scorer))[key]


def test_durations_are_described_in_words(run: Run, scorer: Scorer) -> None:
    """The time since the last event is described in units other than seconds."""
    sent = {"amountUsd": 20.0, "country": "DE", "card": "card-now", "at": time() - 150}
    request = scorer.request_model.model_validate(sent)
    with closing(SqliteHistory("h.db", 1_000)) as served:
        play([(request, False)], past_of(scorer), served)
    _, printed = run("--history", "h.db", "--key", "card=card-now")
    assert re.search(r"  idle for a request made now: \d minutes? since the last event of this card\n", printed)


def test_a_key_is_described(run: Run) -> None:
    """A key's first and last events, and the features of a request made now, are shown; values are hashes."""
    run()
    run("--load", "h.db")
    ended, printed = run("--history", "h.db", "--key", "card=card-7")
    assert ended is None
    assert printed.startswith("h.db, card=card-7:\n  first event 2025-01-0")
    assert ", last event 2025-0" in printed
    assert "  visits for a request made now: 0 events of this card in 24 hours\n" in printed
    assert "  mean_amount for a request made now: missing\n" in printed
    assert " recent values of device, as hashes\n" in printed
    assert run("--history", "h.db", "--key", "card=nobody") == (None, "h.db remembers nothing of card=nobody\n")


def test_a_key_of_several_fields_is_a_list(run: Run, sent: list[tuple[BaseModel, bool]]) -> None:
    """The key is a JSON list in the order of the declaration."""
    run()
    run("--load", "h.db")
    last = next(request for request, _ in reversed(sent) if request.card and request.device)  # type: ignore[attr-defined]  # as above
    printed = run("--history", "h.db", "--key", f'both=["{last.card}", "{last.device}"]')[1]  # type: ignore[attr-defined]  # as above
    assert " last event 2025-03-01T" in printed


def test_a_key_is_deleted(run: Run, scorer: Scorer, sent: list[tuple[BaseModel, bool]]) -> None:
    """Its state and its requests that await outcomes are deleted, nothing else; the output says whether it existed."""
    with closing(SqliteHistory("h.db", 1_000)) as served:
        play(sent, past_of(scorer), served)
    before = states_in("h.db")
    ended, printed = run("--history", "h.db", "--delete", "card=card-7")
    assert ended is None
    assert printed == (
        f"h.db: all that it remembered of card=card-7 is deleted; {STATES} will have the key again when next built, "
        "unless its rows are removed from the data\n"
    )
    gone = past_of(scorer).stored_key(0, "card-7")
    assert states_in("h.db") == {key: state for key, state in before.items() if key != gone}
    with closing(sqlite3.connect("h.db")) as connection:
        keys = {key for (key,) in connection.execute("SELECT key FROM requests")}
    assert gone not in keys
    assert len(keys) > 50
    assert run("--history", "h.db", "--delete", "card=card-7")[1].startswith("h.db remembered nothing of card=card-7; ")


REFUSALS = [
    (
        ("--key", "cards=1", "--history", "h.db"),
        "mini has no entity cards; it has card, both; cards: did you mean card?",
    ),
    (
        ("--delete", "crad=1", "--history", "h.db"),
        "mini has no entity crad; it has card, both; crad: did you mean card?",
    ),
    (("--key", f"card={'x' * 257}", "--history", "h.db"), "card has 257 characters; a key has at most 256"),
    (
        ("--key", "card", "--history", "h.db"),
        "the key is 'card'; it must be an entity and its value, such as card=4711",
    ),
    (
        ("--key", "both=a", "--history", "h.db"),
        'the key of both is a; it must be a JSON list of card and device: both=["c',
    ),
    (("--key", 'both=["a", 1.5]', "--history", "h.db"), "it must be a JSON list of card and device"),
    (("--key", "card=1", "--history", "g.db"), "HISTORY is g.db, which does not exist; g.db: did you mean h.db?"),
    (("--key", "card=1"), "HISTORY must name the history's file: make history SCORER=... HISTORY=history.db KEY=..."),
    (
        ("--key", "card=1", "--history", "other.db"),
        "HISTORY is other.db, which cannot be used: file is not a database; ",
    ),
    (("--load", "other.db"), "LOAD is other.db, which cannot be used: file is not a database; it must be a file that "),
    (
        ("--load", "none/h.db"),
        "LOAD is none/h.db, which cannot be used: its folder does not exist; it must be a file that",
    ),
    (
        ("--load", "read-only.db"),
        "LOAD is read-only.db, which cannot be used: attempt to write a readonly database; it ",
    ),
    (("--before", "31.01.2026"), "BEFORE is '31.01.2026'; it must be a day, such as 2026-01-31"),
    (
        ("--before", "2025-01-01"),
        "BEFORE is 2025-01-01, but the first row is from 2025-01-01T00:31:49; name a later day",
    ),
    (
        ("--before", "2025-03-03"),
        "live requests in between would be taken as already loaded; BEFORE must be 2025-03-02 or earlier",
    ),
]


@pytest.mark.parametrize(("arguments", "sentence"), REFUSALS)
def test_what_cannot_be_done_is_refused(run: Run, arguments: tuple[str, ...], sentence: str) -> None:
    """The refusal is one sentence with the value and what is allowed."""
    run()
    SqliteHistory("h.db", 50).close()
    Path("other.db").write_bytes(b"not a database, but a text that is long enough to be one" * 99)
    # SQLite refuses to write a file of a later format, even for root.
    content = bytearray(Path("h.db").read_bytes())
    content[18] = 3
    Path("read-only.db").write_bytes(content)
    ended = run(*arguments)[0]
    assert sentence in ended
    assert "\n" not in ended
    assert states_in("h.db") == {}


def test_only_one_thing_is_done_at_once(run: Run) -> None:
    """KEY and DELETE cannot be given together."""
    ended, printed = run("--key", "card=1", "--delete", "card=1")
    assert ended == 2
    assert "KEY and DELETE cannot be combined; give one of them" in printed


@pytest.fixture
def damage() -> dict[str, Callable[[], object]]:
    """Ways to damage the built states, by name."""

    def flip() -> None:
        content = bytearray(STATES.read_bytes())
        content[len(content) // 2] ^= 0xFF
        STATES.write_bytes(content)

    def rename() -> None:
        table = pq.read_table(STATES)
        pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"scorer": b"other"}), STATES)

    def redeclare() -> None:
        Path("params.yaml").write_text(REMEMBERED_PARAMS.replace("over: 24h}", "over: 1h}"))

    return {
        "absent": STATES.unlink,
        "corrupt": flip,
        "short": lambda: STATES.write_bytes(STATES.read_bytes()[:-100]),
        "another file": lambda: shutil.copy(Path("build/mini/rows/test.parquet"), STATES),
        "another scorer": rename,
        "another history": redeclare,
    }


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("absent", f"{STATES} does not exist; build it (make history SCORER=mini)"),
        ("corrupt", f"{STATES} cannot be read; rebuild it (make history SCORER=mini): "),
        ("short", f"{STATES} cannot be read; rebuild it (make history SCORER=mini): "),
        ("another file", f"{STATES} holds no states of a history; rebuild it (make history SCORER=mini)"),
        (
            "another scorer",
            f"{STATES} was built for scorer other, not for mini; rebuild it (make history SCORER=mini)",
        ),
        ("another history", "; rebuild it (make history SCORER=mini)"),
    ],
)
def test_a_damaged_file_is_not_loaded(
    run: Run, damage: dict[str, Callable[[], object]], how: str, sentence: str
) -> None:
    """A damaged file, or one for something else, is refused, and nothing is written."""
    run()
    damage[how]()
    ended = run("--load", "h.db")[0]
    assert sentence in ended
    assert "\n" not in ended
    assert not Path("h.db").exists() or states_in("h.db") == {}


def test_events_that_cannot_be_told_apart_are_not_loaded(
    run: Run, scorer: Scorer, sent: list[tuple[BaseModel, bool]]
) -> None:
    """The sentence names the midnight to use, with which the load then succeeds."""
    with closing(SqliteHistory("h.db", 1_000)) as served:
        play(sent[-100:], past_of(scorer), served)
    before = states_in("h.db")
    run()
    ended = run("--load", "h.db")[0]
    assert ended.startswith("history mini: h.db already has events before 2025-03-01T23:24:52Z, and ")
    assert ended.endswith("make history SCORER=mini BEFORE=2025-03-01, then load again")
    assert states_in("h.db") == before
    run("--before", "2025-03-01")
    assert run("--load", "h.db")[0] is None


def test_a_damaged_state_is_told(run: Run) -> None:
    """A damaged state is neither described nor merged, and nothing is written."""
    run()
    run("--load", "h.db")
    with closing(sqlite3.connect("h.db", isolation_level=None)) as connection:
        connection.execute("UPDATE states SET state = x'00'")
        connection.execute("DELETE FROM loads")
    before = states_in("h.db")
    assert run("--history", "h.db", "--key", "card=card-7")[0] == (
        "history mini: h.db: the state of card=card-7 is damaged: the bytes are not a state of this history"
    )
    assert run("--load", "h.db")[0] == (
        f"history mini: {STATES} or h.db is damaged: the bytes are not a state of this history; build the file again"
    )
    assert states_in("h.db") == before


def test_a_late_request_may_stop_a_load(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a late request comes between check and merge, the sentence has the progress and a remedy."""
    run()
    with closing(SqliteHistory("h.db", 50)):
        pass
    monkeypatch.setattr(EntityPast, "merged", refuse)
    monkeypatch.setattr(EntityPast, "earliest", lambda *_: 2**62)
    file = pq.read_table(STATES)
    with closing(sqlite3.connect("h.db", isolation_level=None)) as connection:
        late = (file["key"][65].as_py(), file["state"][65].as_py(), 2**40)
        connection.execute("INSERT INTO states (key, state, expires) VALUES (?, ?, ?)", late)
    ended = run("--load", "h.db")[0]
    assert ended.startswith(f"history mini: h.db: after 60 states of {STATES}: ")
    assert ended.endswith("; build the states with BEFORE=2025-03-01, and load those")


def refuse(*_: object) -> None:
    """Raise the error of a refused merge."""
    raise ValueError("the state may have events before the time")


def test_without_rows_or_a_history_there_is_nothing_to_build(run: Run) -> None:
    """The error says what to do first."""
    shutil.rmtree("build/mini/rows")
    rows = Path("build", "mini", "rows", "train.parquet")
    assert run()[0] == f"history mini: there are no checked rows: {rows} does not exist; run `dvc repro`"
    Path("params.yaml").write_text(PARAMS)
    sentence = "history mini: mini has no history; declare one in params.yaml (docs/history.md), or name another SCORER"
    for arguments in ((), ("--load", "h.db"), ("--key", "card=1"), ("--delete", "card=1")):
        assert run(*arguments)[0] == sentence


def test_what_was_loaded_is_served(run: Run, scorer: Scorer) -> None:
    """The app answers with the loaded states."""
    run()
    run("--load", "h.db")
    with closing(SqliteHistory("h.db", 1_000)) as served:
        client = TestClient(create_app({"mini": Slot(scorer)}, history=served))
        request = {
            "amountUsd": 20.0,
            "country": "DE",
            "card": "card-7",
            "device": "device-1",
            "at": 1_740_872_000 + DAY,
        }
        answer = client.post("/mini?explain=true", json=request)
    values = {reason["field"]: reason["value"] for reason in answer.json()["reasons"]}
    assert values["mean_amount"] > 0
