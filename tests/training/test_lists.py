"""The lists command: what it writes, the sentence for each mistake, and batch scoring with lists."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from fastapi.testclient import TestClient

from handler.releases.lists import Lists, hashed_value
from handler.releases.served import Served, Slot
from handler.releases.store import pointer_key
from handler.scoring.scorer import load_scorer
from handler.settings import SETTINGS
from handler.web.routes import create_app
from tests.training.workplace import Workplace
from training import lists, release, score
from training.data.column_checks import check_field
from training.data.requests import requests_of
from training.delivery.serving import served_lists
from training.delivery.store_writer import open_store_writer

KEY = "a deployment's own"
NEXT_YEAR = f"{datetime.now(UTC) + timedelta(days=365):%Y-%m-%d}"
Run = Callable[..., str]


@pytest.fixture
def run(workplace: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in a user's folder; returns its output or its error."""
    monkeypatch.setenv("PREDICTIONS_KEY", KEY)
    monkeypatch.delenv("STORE", raising=False)

    def command(*arguments: str) -> str:
        capsys.readouterr()
        ended = workplace.run(lists, "mini", *arguments)
        return f"{ended or ''}{''.join(capsys.readouterr())}"

    return command


def add(name: str = "block", value: str = "DE", **options: str) -> list[str]:
    """The arguments that add a value of `country` to a list."""
    given = {"field": "country", "value": value, "reason": "chargebacks", **options}
    return ["--add", name, *(part for key, text in given.items() for part in (f"--{key.replace('_', '-')}", text))]


def test_a_value_is_added_shown_and_removed(run: Run, workplace: Workplace) -> None:
    """The store has only the value's hash; the pointer's history says who did what and why."""
    assert "lists none in store, 0 entries" in run()
    assert "1 entry; block of country: chargebacks" in run(*add(expires=NEXT_YEAR))
    assert "2 entries" in run(*add("allow", "FR"))
    said = run()
    assert "block  country: 1 value" in said
    assert f"1 value expires, the first on {NEXT_YEAR}" in said
    assert "block: chargebacks, by" in run("--field", "country", "--value", "DE")
    assert "the value is on no list" in run("--field", "country", "--value", "NA")
    assert "field is 'Country'; it must be one of country, item" in run("--field", "Country", "--value", "DE")
    texts = [path.read_text() for path in (workplace.folder / "store" / "mini" / "lists").iterdir()]
    assert not any('"DE"' in text for text in texts)
    assert any(hashed_value("country", "DE", KEY.encode()) in text for text in texts)
    assert "1 entry; removed from block of country" in run("--remove", "block", "--field", "country", "--value", "DE")
    pointer = json.loads((workplace.folder / "store" / pointer_key("mini")).read_text())
    assert (pointer["action"], pointer["current"]) == ("lists", None)
    assert "lists" in pointer
    assert pointer["reason"].startswith("removed from block")
    assert len(list((workplace.folder / "store" / "mini" / "history").iterdir())) == 2


def test_a_value_that_is_added_again_is_replaced(run: Run) -> None:
    """The entry has the new reason."""
    run(*add())
    assert "1 entry; block of country: proven" in run(*add(reason="proven"))
    assert "block: proven" in run("--field", "country", "--value", "DE")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_is_added(run: Run, tmp_path: Path, suffix: str) -> None:
    """Dates of expiry are optional; a wrong row is named, and nothing is written."""
    table = pd.DataFrame(
        {"list": ["block", "allow"], "field": ["country"] * 2, "value": ["DE", "FR"], "reason": ["a", "b"]}
    )
    path = tmp_path / f"lists.{suffix}"
    write = table.to_csv if suffix == "csv" else table.to_parquet
    write(path, index=False)
    assert "2 entries; 2 entries of lists" in run("--file", str(path))
    table = table.assign(value=["NA", "GB"], expires=[NEXT_YEAR, "2020-01-31"])
    write = table.to_csv if suffix == "csv" else table.to_parquet
    write(path, index=False)
    assert "row 2: expires is 2020-01-31, which is in the past" in run("--file", str(path))
    assert "2 entries" in run()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (add("maybe"), "list is 'maybe'; it must be one of block, review, allow"),
        (add(field="amount"), "field is 'amount'; it must be one of country, item"),
        (add(value=""), "value is missing"),
        (add(reason=" "), "reason is empty; say why"),
        (add(expires="soon"), "expires is 'soon'; it must be a date, such as 2027-01-31"),
        (add(expires="2020-01-31"), "expires is 2020-01-31, which is in the past"),
        ([*add(), "--remove", "block"], "ADD and REMOVE cannot be combined; give one of them"),
        ([*add(), "--replace", "yes"], "REPLACE=yes needs FILE"),
        (add(value="x" * 33), "value is longer than 32 characters"),
        (add(value="\udcff"), "value is not valid UTF-8"),
        (
            ["--remove", "block", "--field", "country", "--value", "NA"],
            "this value of country is not on the list block",
        ),
        (["--file", "absent.csv"], "absent.csv"),
        ([*add(), "--key", ""], "PREDICTIONS_KEY is empty; set it to the deployment's key"),
        ([*add(), "--signing-key", "absent.pem"], "absent.pem is not a private key in PEM"),
    ],
)
def test_mistakes_are_one_sentence(run: Run, workplace: Workplace, arguments: list[str], sentence: str) -> None:
    """Each mistake gives one sentence, and nothing is written."""
    assert sentence in run(*arguments)
    assert not (workplace.folder / "store" / "mini" / "pointer.json").exists()


def test_another_key_is_refused(run: Run) -> None:
    """Hashes of another key could not be looked up."""
    run(*add())
    assert "its values were hashed with another PREDICTIONS_KEY" in run(*add("allow", "FR"), "--key", "another")


def test_lists_are_written_anew_after_a_change_of_the_key(run: Run, tmp_path: Path) -> None:
    """After a change of the key, lists are replaced by the team's own table, or cleared."""
    run(*add())
    path = tmp_path / "lists.csv"
    path.write_text("list,field,value,reason\nallow,country,FR,known\n")
    assert "1 entry; 1 entry of lists.csv" in run("--file", str(path), "--replace", "yes", "--key", "another")
    assert "allow  country: 1 value" in run("--key", "another")
    assert "lists none, 0 entries; cleared" in run("--clear", "yes")
    assert "lists none in store, 0 entries" in run()


def test_a_table_with_another_column_is_refused(run: Run, tmp_path: Path) -> None:
    """An unknown column is refused: a misspelt expiry would give an entry that never expires."""
    path = tmp_path / "lists.csv"
    path.write_text("list,field,value,reason,Expires\nallow,country,FR,known,2099-01-01\n")
    assert "has unknown columns: Expires; the known ones are list, field, value, reason, expires" in run(
        "--file", str(path)
    )


def test_batch_scoring_goes_by_the_lists_of_the_store(
    run: Run,
    workplace: Workplace,
    mini_rows: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each row is answered as by the function; without the key, scoring is refused."""
    run(*add("block", "DE"))
    run(*add("allow", "NA"))
    rows = mini_rows.sample(300, random_state=1)
    rows.to_parquet(workplace.folder / "rows.parquet", index=False)
    arguments = ("mini", "rows.parquet", "scored.parquet", "--reasons")
    assert "PREDICTIONS_KEY is empty; set it to the key that hashed them" in str(workplace.run(score, *arguments))
    monkeypatch.setattr(score, "SETTINGS", SETTINGS.model_copy(update={"predictions_key": KEY.encode()}))
    assert workplace.run(score, *arguments) is None
    assert "are applied too" in capsys.readouterr().out
    scored = pd.read_parquet(workplace.folder / "scored.parquet")
    scorer = load_scorer(workplace.folder / "build" / "bundles" / "mini")
    lists = served_lists(open_store_writer("store"), "mini", scorer.contract, KEY.encode())
    assert isinstance(lists, Lists)
    slot = Slot(scorer)
    slot.served = Served(scorer, None, lists)
    client = TestClient(create_app({"mini": slot}))
    checked = {name: check_field(rows[name], field)[0] for name, field in scorer.contract.fields.items()}
    requests = list(requests_of(pd.DataFrame(checked), scorer.contract))
    answers = client.post("/mini/batch", json=requests).raise_for_status().json()
    texts = scored[["list", "reasons"]].astype(object).where(scored[["list", "reasons"]].notna(), "null")
    assert scored["is_flagged"].tolist() == [answer["is_flagged"] for answer in answers]
    assert scored["fraud_probability"].tolist() == [answer["fraud_probability"] for answer in answers]
    for name in texts:
        assert [json.loads(text) for text in texts[name]] == [answer.get(name) for answer in answers]
    n_listed = sum("list" in answer for answer in answers)
    assert n_listed > 100


def test_releases_list_the_changes_of_lists(run: Run, workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    """Changes of lists are listed with their authors and reasons."""
    run(*add())
    workplace.run(release, "list", "--scorer", "mini")
    pointer = json.loads((workplace.folder / "store" / pointer_key("mini")).read_text())
    assert f"lists -> {pointer['lists']}, by " in capsys.readouterr().out
