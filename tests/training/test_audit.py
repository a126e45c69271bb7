"""Audit fields: no model uses them; card, record and monitor compare decisions by their values."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient
from scipy.stats import norm

from handler.records.record import Recorder
from handler.releases.served import Slot
from handler.scoring.bundle import MANIFEST
from handler.scoring.scorer import Scorer, load_scorer
from handler.web.routes import create_app
from tests.handler.record_lines import record_lines
from tests.training.conftest import PARAMS, timed_rows
from tests.training.workplace import Workplace
from training import monitor
from training.data.requests import requests_of
from training.declaration import declared_scorer
from training.errors import StageError
from training.monitoring.binning import Binning
from training.monitoring.log import read_log

AUDITED = PARAMS.replace(
    "    features:\n",
    "      region: {type: audit, max_length: 8}\n      born: {type: audit, private: hash}\n    features:\n",
)
KEY = b"a key"


def audited_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with a region that amounts depend on, and a decade of birth that is often missing."""
    rng = np.random.default_rng(12)
    region = np.where(rng.random(len(rows)) < 0.4, "north", "south").astype(object)
    amount = np.round(rows["amount"] * np.where(region == "north", 4, 1), 2)
    born = rng.choice(["1970s", "1980s", None], len(rows))
    return rows.assign(region=region, born=born, amount=amount)


@pytest.fixture(scope="module")
def folder(train_on: Callable[[str, str, pd.DataFrame], Path]) -> Path:
    """The folder in which the stages ran, on three times as many rows."""
    rows = pd.concat([timed_rows().drop(columns="opened")] * 3, ignore_index=True).assign(row_id=None)
    return train_on("audited", AUDITED, audited_rows(rows))


@pytest.fixture(scope="module")
def scorer(folder: Path) -> Scorer:
    """The packaged scorer."""
    return load_scorer(folder / "build" / "bundles" / "mini")


def test_from_the_rows_to_the_monitor(
    folder: Path, scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model does not use audit fields; card and monitor report the ratio of false alarms, as computed by hand."""
    assert not {"region", "born"} & set(scorer.bundle.features.names)
    assert not {"region", "born"} & set(scorer.contract.inputs)
    segments = pd.read_csv(folder / "reports" / "mini" / "segments.csv").set_index(["feature", "segment"])
    north = segments.loc["region", "north"]
    rows = pd.read_parquet(folder / "build" / "mini" / "rows" / "test.parquet")
    answers = [scorer.score(r) for r in parsed_of(scorer, rows)]
    flagged = np.array([scored.is_flagged for scored in answers])
    legitimate, is_north = rows["is_fraud"].to_numpy() == 0, rows["region"].to_numpy() == "north"
    own, other = flagged[is_north & legitimate], flagged[~is_north & legitimate]
    ratio = own.mean() / other.mean()
    centre = (own.sum() + 0.5) / (len(own) + 1) / ((other.sum() + 0.5) / (len(other) + 1))
    error = np.sqrt(sum(1 / (rate.sum() + 0.5) - 1 / (len(rate) + 1) for rate in (own, other)))
    bounds = centre * np.exp(norm.ppf([0.025, 0.975]) * error)
    assert north["false_positive_ratio"] == pytest.approx(ratio, rel=1e-5)
    assert north[["false_positive_ratio_low", "false_positive_ratio_high"]].tolist() == pytest.approx(bounds, rel=1e-5)
    assert bounds[0] > 1
    assert segments.loc["country", "DE"][["false_positive_ratio"]].isna().all()
    card = " ".join((folder / "reports" / "mini" / "card.md").read_text().split())
    assert "Groups that the model does not know (`region`, `born`)" in card
    assert f"**{ratio:.2f} ({bounds[0]:.2f} to {bounds[1]:.2f})**" in card
    assert "neither categories of its features nor values of `region`, `born`" in card

    log = tmp_path / "predictions"
    client = TestClient(create_app({"mini": Slot(scorer)}, recorder=(recorder := Recorder(str(log), key=KEY))))
    sent = [
        request.model_dump(by_alias=True, exclude_none=True) | {"row_id": f"r{number}"}
        for number, request in enumerate(parsed_of(scorer, rows))
    ]
    for first in range(0, len(sent), 1_000):
        client.post("/mini/batch", json=sent[first : first + 1_000]).raise_for_status()
    recorder.record_outcomes([("mini", f"r{number}", bool(label)) for number, label in enumerate(rows["is_fraud"])])
    line = record_lines(log)[0]
    assert line["audit"]["region"] == rows["region"][0]
    assert line["audit"]["born"] not in {"1970s", "1980s"}
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PREDICTIONS_KEY", KEY.decode())
    Workplace(folder, monkeypatch).run(monitor, "mini", str(log))
    report = json.loads((folder / "reports" / "mini" / "monitor.json").read_text())
    groups = {(group["field"], group["group"]): group for group in report["groups"]}
    north = groups["region", "north"]
    assert (north["predictions"], north["legitimate"]) == (is_north.sum(), len(own))
    assert north["ratio"] == pytest.approx(ratio, rel=1e-5)
    assert north["ratio_interval"] == pytest.approx(bounds.tolist(), rel=1e-5)
    assert sum(group["predictions"] for (field, _), group in groups.items() if field == "born") == len(rows)
    assert f"legitimate requests with region north are flagged {ratio:.2f} times as often" in capsys.readouterr().out
    assert "Groups that the model does not know" in (folder / "reports" / "mini" / "monitor.html").read_text()


def parsed_of(scorer: Scorer, rows: pd.DataFrame) -> list[object]:
    """Prepared rows as requests."""
    return [scorer.request_model.model_validate(request) for request in requests_of(rows, scorer.contract)]


def test_a_value_may_be_left_out_or_hashed(scorer: Scorer, tmp_path: Path) -> None:
    """Without a key, no value to be hashed is recorded; requests without audit fields get the same answers."""
    client = TestClient(create_app({"mini": Slot(scorer)}, recorder=Recorder(str(tmp_path / "log"))))
    request = {"amountUsd": 20.0, "country": "DE"}
    plain = client.post("/mini", json=request).json()
    assert client.post("/mini", json=request | {"region": "north", "born": "1970s"}).json() == plain
    assert [line["audit"] for line in record_lines(tmp_path / "log")] == [{"region": None}, {"region": "north"}]
    answer = client.post("/mini", json=request | {"region": "north-west"})
    assert answer.status_code == 422


def test_records_from_before_the_declaration(scorer: Scorer, tmp_path: Path) -> None:
    """Records from before the declaration have no audit value."""
    recorder = Recorder(str(tmp_path / "log"))
    TestClient(create_app({"mini": Slot(scorer)}, recorder=recorder)).post(
        "/mini", json={"amountUsd": 20.0, "country": "DE"}
    )
    (path,) = (tmp_path / "log").iterdir()
    line = json.loads(path.read_text())
    del line["audit"]
    path.write_text(json.dumps(line) + "\n")
    log = read_log(str(path), "mini", Binning(scorer.bundle.baseline["features"]), ["region"])
    assert log.audit["region"].tolist() == [0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{type: audit, max_length: 8}", "{type: audit, required: true}", "an audit field may not be required"),
        ("momentum:         {product: [amount, speed]}", "momentum: {product: [amount, region]}", "reads region"),
        (
            "max_length: 8}",
            "max_length: 8, reason: {code: R1, text: 'Where you live.'}}",
            "a field of type audit may not have a reason, because the model does not read it; remove reason",
        ),
        ("amount_per_visit: {", "region: {", "region is used twice"),
        ("entity: null", "entity: region", "entity is region, which is also a field; a model must not see it"),
        (
            "    seed: 7\n",
            "    seed: 7\n    history: {entities: {a: {key: region}}, features: {n: {entity: a, take: since_last}}}\n",
            "it must be a field of type key or category",
        ),
    ],
)
def test_an_audit_field_that_would_be_a_feature_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    """The refusal is one sentence with the field's name."""
    params = tmp_path / "params.yaml"
    assert AUDITED.count(old) == 1
    params.write_text(AUDITED.replace(old, new))
    with pytest.raises(StageError, match=message):
        declared_scorer("mini", params)


def test_a_reason_code_stands_for_one_feature(tmp_path: Path) -> None:
    """A reason code that is given twice is refused."""
    reason = "reason: {code: R1, text: 'Too fast.'}"
    params = tmp_path / "params.yaml"
    text = PARAMS.replace("unit: km/h}", f"unit: km/h, {reason}}}").replace(
        "{type: count}", f"{{type: count, {reason}}}"
    )
    params.write_text(text)
    with pytest.raises(StageError, match="the reason code R1 is given more than once; each feature needs"):
        declared_scorer("mini", params)


def test_a_bundle_without_these_is_as_before(trained: Path) -> None:
    """A scorer that declares neither has neither key in its manifest, so its version does not change."""
    contract = (trained / "build" / "bundles" / "mini" / MANIFEST).read_text()
    assert '"reason"' not in contract
    assert '"audit"' not in contract
