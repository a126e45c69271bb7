"""The gate judges a release by its own history, recomputing its features if another history is declared now."""

import json
import shutil
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from benchmarks.variants import write_variant
from handler.history.sqlite import SqliteHistory
from handler.scoring.bundle import MANIFEST
from handler.scoring.scorer import Scorer, load_scorer
from tests.handler.history.test_dynamodb import TABLE
from tests.training.conftest import REMEMBERED_PARAMS
from tests.training.workplace import Workplace
from training import history, prepare
from training.data.window import GIVEN
from training.declaration import ScorerDeclaration, declared_scorer
from training.delivery.contenders import Contender
from training.delivery.gate import _answered, judge_challenger
from training.delivery.own_past import with_own_past
from training.delivery.pointer import RefusedError, promote
from training.delivery.publish import publish
from training.delivery.served_history import missing_past
from training.delivery.store_writer import FolderStoreWriter
from training.errors import StageError

ROWS = Path("build/mini/rows/test.parquet")
# Other histories than the declared one: other features of the same names, one feature missing, or other cards.
CHANGES = {
    "other windows": (("field: amount, over: 7d", "field: amount, over: 24h"), ("count, over: 24h", "count, over: 7d")),
    "a feature that it lacks": (("        idle:         {entity: card, take: since_last}\n", ""),),
    "other cards": (('ignore: ["", unknown]', "ignore: [card-1, card-2]"),),
}


@pytest.fixture
def champion(remembered: Path) -> Scorer:
    """The packaged scorer with a history."""
    return load_scorer(remembered / "build" / "bundles" / "mini")


@pytest.fixture
def project(remembered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project as the working folder."""
    shutil.copytree(remembered, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def prepared_with(*changes: tuple[str, str]) -> tuple[ScorerDeclaration, pd.DataFrame]:
    """The declaration with a changed history, and the test window that `prepare` writes for it."""
    text = REMEMBERED_PARAMS
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    Path("params.yaml").write_text(text)
    prepare.main("mini")
    return declared_scorer("mini"), pd.read_parquet(ROWS)


def probabilities(contender: Contender, window: pd.DataFrame) -> np.ndarray:
    """The contender's answers to all rows, as the gate computes them."""
    answered = _answered(contender, window)
    assert len(answered) == len(window)
    values: np.ndarray = answered["fraud_probability"].to_numpy()
    return values


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_a_release_is_judged_by_its_own_history(champion: Scorer, changes: tuple[tuple[str, str], ...]) -> None:
    """On rows prepared with another history it gives its answers to rows with its own, to the last bit."""
    released = Contender(champion.version, champion)
    _, own = prepared_with()
    expected = probabilities(released, own)
    declared, window = prepared_with(*changes)
    assert (probabilities(released, window) != expected).any()
    judged = with_own_past(released, champion.contract, window, ROWS, declared)
    np.testing.assert_array_equal(probabilities(judged, window), expected)
    verdict = judge_challenger(judged, judged, window, declared)
    assert verdict.measured.left_out == 0


@pytest.mark.usefixtures("project")
def test_equal_histories_compute_nothing(champion: Scorer) -> None:
    """If the rows already have the release's own features, the release is used as it is."""
    released = Contender(champion.version, champion)
    window = pd.read_parquet(ROWS)
    assert with_own_past(released, champion.contract, window, ROWS, declared_scorer("mini")) is released


@pytest.mark.usefixtures("project")
def test_a_release_without_a_history_is_judged_by_what_callers_send(trained: Path) -> None:
    """A field that the declared history computes keeps the value that the caller sent."""
    plain = load_scorer(trained / "build" / "bundles" / "mini")
    window, released = pd.read_parquet(ROWS), Contender(plain.version, plain)
    sent = window.assign(visits=window[f"visits{GIVEN}"])
    judged = with_own_past(released, plain.contract, window, ROWS, declared_scorer("mini"))
    expected = probabilities(released, sent)
    np.testing.assert_array_equal(probabilities(judged, window), expected)
    assert (probabilities(released, window) != expected).any()


@pytest.mark.usefixtures("project")
def test_without_the_rows_before_there_is_no_verdict(champion: Scorer, tmp_path: Path) -> None:
    """Without all rows before the window, the refusal names the version and the rows by which it can be judged."""
    released = Contender(champion.version, champion)
    declared, window = prepared_with(*CHANGES["other windows"])
    window.to_parquet(tmp_path / "alone.parquet")
    says = f"^{champion.version} has another history than the rows of .*; use the test.parquet that"
    with pytest.raises(StageError, match=says):
        with_own_past(released, champion.contract, window, tmp_path / "alone.parquet", declared)
    with pytest.raises(StageError, match=says):
        with_own_past(released, champion.contract, window[:-1], ROWS, declared)


def test_promotion_compares_each_with_its_own(
    project: Path, folder_store: FolderStoreWriter, capsys: pytest.CaptureFixture[str]
) -> None:
    """A champion whose features have the same names but other windows gets the average precision it really has."""
    bundle = project / "build" / "bundles" / "mini"
    champion = publish(folder_store, bundle)
    promote(folder_store, "mini", champion, ROWS)
    declared, _ = prepared_with(*CHANGES["other windows"])
    contract: dict[str, Any] = json.loads((bundle / MANIFEST).read_bytes())["contract"]
    features = declared.contract.model_dump(mode="json")["history"]["features"]
    other = contract | {"history": contract["history"] | {"features": features}}
    write_variant(bundle, project / "other", contract=other)
    capsys.readouterr()
    pointer = promote(folder_store, "mini", publish(folder_store, project / "other"), ROWS, force="compared")
    assert pointer.gate is not None
    measured = json.loads((project / "reports" / "mini" / "metrics.json").read_text())
    assert pointer.gate["average_precision"]["champion"] == pytest.approx(measured["average_precision"], abs=1e-6)
    assert pointer.gate["average_precision"]["challenger"] != pointer.gate["average_precision"]["champion"]


@pytest.mark.parametrize("address", ["history.db", "dynamodb://TABLE"])
def test_a_version_with_another_history_waits_for_its_states(
    project: Path, champion: Scorer, s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """A version with another history is held back until HISTORY names a history into which its states were loaded."""
    assert s3_environment
    address = address.replace("TABLE", name := f"past-{uuid4().hex[:12]}")
    boto3.client("dynamodb").create_table(TableName=name, **TABLE)
    served = champion.contract
    (project / "params.yaml").write_text(
        REMEMBERED_PARAMS.replace("field: amount, over: 7d", "field: amount, over: 24h")
    )
    offered = declared_scorer("mini").contract
    assert missing_past("mini", served, served) is None
    assert missing_past("mini", offered, offered.model_copy(update={"history": None})) is None
    command = "`make history SCORER=mini "
    remedy = f"build them with {command}BEFORE=2026-01-31`, and load them with {command}LOAD="
    for before in (served, served.model_copy(update={"history": None})):
        says = "it has another history than the current version, and HISTORY= names no served history with its states; "
        assert missing_past("mini", before, offered) == f"{says}{remedy}dynamodb://TABLE`"
    monkeypatch.setenv("HISTORY", address)
    if not address.startswith("dynamodb"):
        with pytest.raises(StageError, match=r"^HISTORY is history.db, which does not exist"):
            missing_past("mini", served, offered)
        SqliteHistory(address, 50).close()
    says = f"it has another history than the current version, and {address} has none of its states; "
    assert missing_past("mini", served, offered) == f"{says}{remedy}{address}`"
    workplace = Workplace(project, monkeypatch)
    for arguments in (["--before", "2025-02-20"], ["--load", address]):
        states = project / "build" / "mini" / "state.parquet"
        if arguments[0] == "--load":
            # A few states are enough for this test.
            pq.write_table(pq.read_table(states).slice(0, 20), states)
        assert workplace.run(history, "mini", *arguments) is None
    assert missing_past("mini", served, offered) is None
    assert missing_past("mini", offered, served) == f"{says}{remedy}{address}`"


def test_promotion_refuses_a_version_without_its_past(project: Path, folder_store: FolderStoreWriter) -> None:
    """The promotion can be forced with a reason, and the pointer keeps both the objection and the reason."""
    bundle = project / "build" / "bundles" / "mini"
    champion = publish(folder_store, bundle)
    promote(folder_store, "mini", champion, ROWS)
    contract: dict[str, Any] = json.loads((bundle / MANIFEST).read_bytes())["contract"]
    write_variant(bundle, project / "other", contract=contract | {"history": contract["history"] | {"lateness": "20m"}})
    version = publish(folder_store, project / "other")
    says = r"it has another history than the current version, and HISTORY= names no served history with its states"
    with pytest.raises(RefusedError, match=f"^{version} is not promoted: .*{says}"):
        promote(folder_store, "mini", version, ROWS)
    pointer = promote(folder_store, "mini", version, ROWS, force="an empty past will do")
    assert pointer.gate is not None
    assert any(objection.startswith(says) for objection in pointer.gate["objections"])
    assert pointer.reason == "an empty past will do"
