"""The whole loop: serve, log, outcomes, the monitor says retrain, retrain, gate, promote, swap, the alarm clears."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import numpy as np
import pandas as pd
import pytest

from training import monitor, release, retrain
from training.delivery import releasing
from training.delivery.tracking import TrackError
from training.run.files import write_text

Command = Callable[..., str]
N_DAYS, ROWS_A_DAY, FRAUD_RATE = 60, 40, 0.1
START = pd.Timestamp("2024-01-01")
N_REQUESTS = 600
PARAMS = """\
scorers:
  small:
    route: /small
    answer: probability
    data: data/rows.parquet
    id: row_id
    time: at
    label: is_fraud
    entity: null
    fields:
      amount: {type: money, min: 0, required: true}
      speed:  {type: number}
      age:    {type: number, min: 0}
    features: {}
    history:    null
    split:      {calibrate_days: 20, test_days: 15}
    quarantine: {max_share: 0.01}
    compute:    {engine: local}
    folds:      {count: 2, validate_share: 0.5}
    resampling: {method: none}
    model:      {rounds: 40, max_depth: 3, learning_rate: 0.2, min_child_weight: 1, subsample: 0.8,
                 colsample_bytree: 1.0, reg_lambda: 1.0, max_bin: 64}
    tuning:     {mode: none}
    costs:      {amount: amount, review: 2.0}
    decision:   {review_rate: 0.15}
    seed: 7
    # Everything comes within seconds here: one block says it all.
    monitoring: {consecutive: 1, pooled: 1, min_rows: 300, min_frauds: 30}
    gate: {margin: 0.1, min_frauds: 30}
"""


def rows_from(day: int, days: int, *, is_new: bool, seed: int) -> pd.DataFrame:
    """Labelled rows of some days: usual frauds are fast, frauds of the new kind are young instead."""
    rng = np.random.default_rng(seed)
    n = days * ROWS_A_DAY
    is_fraud = rng.random(n) < FRAUD_RATE
    fast, young = is_fraud & (not is_new), is_fraud & is_new
    return pd.DataFrame(
        {
            "row_id": [f"r{seed}-{number}" for number in range(n)],
            "at": START + pd.to_timedelta(np.sort(rng.uniform(day, day + days, n)), unit="D").round("s"),
            "amount": rng.lognormal(3, 1, n).round(2),
            "speed": rng.normal(10 + 8 * fast, 2),
            "age": rng.gamma(4, np.where(young, 10, 60)),
            "is_fraud": is_fraud.astype(np.int8),
        }
    )


class NoTracker:
    """Stands in for MLflow, which other tests cover."""

    def __init__(self) -> None:
        """Say at once that there is none."""
        raise TrackError("there is no MLflow here")


@pytest.fixture(scope="module")
def folder(checkout: Path) -> Iterator[Path]:
    """A user's checkout, the working folder, in which a first model was trained, released and promoted."""
    write_text(checkout / "params.yaml", PARAMS)
    rows_from(0, N_DAYS, is_new=False, seed=1).to_parquet(checkout / "data" / "rows.parquet", index=False)
    with pytest.MonkeyPatch.context() as here:
        here.chdir(checkout)
        here.setenv("STORE", "store")
        here.setattr(releasing, "Tracker", NoTracker)
        for arguments in (("init", "--no-scm"), ("add", "data"), ("repro",)):
            subprocess.run(["dvc", *arguments, "--quiet"], check=True)
        for command in ("release", "promote"):
            here.setattr(sys, "argv", ["release", command, "--scorer", "small"])
            release.main()
        yield checkout


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs a command in this process; returns its output and that of DVC, which it runs."""

    def command(module: ModuleType, *arguments: str, status: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", [module.__name__, "small", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            module.main()
        output, code = "".join(capfd.readouterr()), ended.value.code
        if isinstance(code, str):  # as the interpreter would print it
            output, code = output + code, 1
        assert code == status, output
        return output

    return command


@pytest.fixture
def client(
    folder: Path, under_uvicorn: Callable[..., AbstractContextManager[tuple[str, int]]]
) -> Iterator[httpx2.Client]:
    """Asks the function, which serves from the store, follows it and records what it predicts."""
    with (
        under_uvicorn(folder, STORE_SECONDS="0.2", PREDICTIONS="predictions") as (host, port),
        httpx2.Client(base_url=f"http://{host}:{port}", trust_env=False) as asking,
    ):
        yield asking


def ask(client: httpx2.Client, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The answers to the rows, whose outcomes are reported right after."""
    requests = rows.drop(columns=["at", "is_fraud"]).to_dict(orient="records")
    answers: list[dict[str, Any]] = client.post("/small/batch", json=requests).raise_for_status().json()
    outcomes = rows[["row_id", "is_fraud"]].set_axis(["id", "label"], axis=1).astype({"label": bool})
    client.post("/outcomes", json=outcomes.assign(scorer="small").to_dict(orient="records")).raise_for_status()
    return answers


def recall(answers: list[dict[str, Any]], rows: pd.DataFrame) -> float:
    """The recall of the answers."""
    flags = np.array([answer["is_flagged"] for answer in answers])
    return float(flags[rows["is_fraud"].to_numpy() == 1].mean())


def test_a_new_kind_of_fraud_is_noticed_learned_and_recall(run: Command, folder: Path, client: httpx2.Client) -> None:
    """From the first fraud that the old model misses to the monitor's ok after the swap, without manual steps."""
    usual = rows_from(N_DAYS, 15, is_new=False, seed=2)
    before = ask(client, usual)
    assert recall(before, usual) > 0.8
    assert "small: ok" in run(monitor, "predictions")

    changed = datetime.now(UTC).isoformat()
    new = rows_from(N_DAYS, 90, is_new=True, seed=3)
    missed = ask(client, new.head(N_REQUESTS))
    assert recall(missed, new.head(N_REQUESTS)) < 0.4
    output = run(monitor, "predictions", "--since", changed, status=20)
    assert "small: retrain" in output
    assert "the recall is" in output

    new.to_csv(folder / "new.csv", index=False)
    output = run(retrain, "--rows", "new.csv")
    assert f"data/rows.parquet: {len(new):,} new rows" in output
    assert "The gate accepts it." in output

    old_version = before[0]["model_version"]
    until = time.monotonic() + 20
    while (version := client.get("/health").json()["scorers"]["small"]["version"]) == old_version:
        assert time.monotonic() < until, "the running function did not swap"
        time.sleep(0.1)
    swapped = datetime.now(UTC).isoformat()
    later = rows_from(N_DAYS + 90, 15, is_new=True, seed=4)
    after = ask(client, later)
    assert {answer["model_version"] for answer in after} == {version}
    assert recall(after, later) > 0.8
    assert "small: ok" in run(monitor, "predictions", "--since", swapped)


def state_of(folder: Path) -> list[bytes]:
    """The files that must not change if a retraining fails."""
    kept = ("data.dvc", "dvc.lock", "data/rows.parquet", "reports/small/rows.json", "build/bundles/small/manifest.json")
    return [(folder / name).read_bytes() for name in kept]


def test_rows_that_were_used_already_change_nothing(run: Command, folder: Path) -> None:
    """If some were used, the error has their number and some of their ids; if all were, there is nothing new."""
    before = state_of(folder)
    used = pd.read_parquet(folder / "data" / "rows.parquet").tail(5)
    used.to_parquet(folder / "used.parquet", index=False)
    assert "all of its 5 rows" in run(retrain, "--rows", "used.parquet", status=retrain.NOTHING_NEW)
    pd.concat([used, used.head(1).assign(row_id="new")]).to_parquet(folder / "used.parquet", index=False)
    output = run(retrain, "--rows", "used.parquet", status=1)
    assert "retrain: used.parquet: 5 of its 6 rows are already in data/rows.parquet (r" in output
    assert state_of(folder) == before


def test_a_training_that_fails_removes_the_new_rows_again(run: Command, folder: Path) -> None:
    """Without frauds a window cannot be evaluated: the stage says so, and the data are as they were."""
    before = state_of(folder)
    calm = rows_from(400, 60, is_new=False, seed=5).assign(is_fraud=0)
    calm.to_parquet(folder / "calm.parquet", index=False)
    output = run(retrain, "--rows", "calm.parquet", status=1)
    assert "must have both classes" in output
    assert "retrain: `dvc repro` failed; its message is above" in output
    assert state_of(folder) == before
    subprocess.run(["dvc", "status", "--quiet"], check=True)


def test_a_users_own_change_of_the_data_is_kept(run: Command, folder: Path) -> None:
    """Neither new rows nor their refusal touch it."""
    data = folder / "data" / "rows.parquet"
    pinned = data.read_bytes()
    pd.read_parquet(data).tail(-1).to_parquet(data, index=False)
    changed = data.read_bytes()
    for rows in ((), ("--rows", "new.csv")):
        output = run(retrain, *rows, status=1)
        assert (
            "retrain: data/ differs from the version that data.dvc names; restore that with `dvc checkout data.dvc`"
            in output
        )
        assert data.read_bytes() == changed
    data.write_bytes(pinned)
