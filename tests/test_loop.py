"""The whole loop: serve, log, outcomes, the monitor says retrain, retrain, gate, promote, swap, the alarm clears."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pandas as pd
import pytest

from training.retrain import NOTHING_NEW
from training.run.files import write_text

PROJECT = Path(__file__).parents[1]
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
"""


def rows_from(day: int, days: int, *, is_new: bool, seed: int) -> pd.DataFrame:
    """Labelled rows of some days: frauds used to be fast; those of the new kind are young instead."""
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


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command in a user's checkout, in which a first model was trained, released and promoted."""
    folder = tmp_path_factory.mktemp("loop")
    for name in ("handler", "training"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "dvc.yaml", folder)
    write_text(folder / "params.yaml", PARAMS)
    (folder / "data").mkdir()
    rows_from(0, N_DAYS, is_new=False, seed=1).to_parquet(folder / "data" / "rows.parquet", index=False)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "STORE": "store"}
    # The stages are measured elsewhere; a tracer would cost a quarter more.
    unmeasured = {name: value for name, value in environment.items() if not name.startswith("COV")}

    def command(*arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        given = unmeasured if arguments[0] == "dvc" else environment
        done = subprocess.run(
            [sys.executable, "-m", *arguments], cwd=folder, env=given, capture_output=True, text=True, check=False
        )
        assert done.returncode == status, f"{arguments}: {done.stdout}{done.stderr}"
        return done

    command("dvc", "init", "--no-scm", "--quiet")
    command("dvc", "add", "--quiet", "data")
    command("dvc", "repro", "--quiet")
    command("training.release", "release", "--scorer", "small")
    command("training.release", "promote", "--scorer", "small")
    command.folder = folder  # type: ignore[attr-defined]  # where it runs
    return command


@pytest.fixture(scope="module")
def folder(run: Callable[..., subprocess.CompletedProcess[str]]) -> Path:
    """That checkout."""
    found: Path = run.folder  # type: ignore[attr-defined]  # as above
    return found


@pytest.fixture
def client(folder: Path) -> Iterator[httpx2.Client]:
    """Asks the function, which serves from the store, follows it and records what it predicts."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        host, port = free.getsockname()
    settings = {"STORE": "store", "STORE_SECONDS": "0.2", "PREDICTIONS": "predictions"}
    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "uvicorn",
            "handler.app:app",
            "--host",
            host,
            "--port",
            str(port),
            "--log-level",
            "error",
        ],
        cwd=folder,
        env={**os.environ, **settings},
    )
    try:
        transport = httpx2.HTTPTransport(retries=10)
        with httpx2.Client(base_url=f"http://{host}:{port}", transport=transport, trust_env=False) as asking:
            asking.get("/health", timeout=30)
            yield asking
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=20)


def ask(client: httpx2.Client, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The answers to the rows, whose outcomes are told right after."""
    asked = rows.drop(columns=["at", "is_fraud"]).to_dict(orient="records")
    answers: list[dict[str, Any]] = client.post("/small/batch", json=asked).raise_for_status().json()
    told = [
        {"scorer": "small", "id": one, "label": bool(label)}
        for one, label in zip(rows["row_id"], rows["is_fraud"], strict=True)
    ]
    client.post("/outcomes", json=told).raise_for_status()
    return answers


def caught(answers: list[dict[str, Any]], rows: pd.DataFrame) -> float:
    """The recall of the answers."""
    flags = np.array([answer["is_flagged"] for answer in answers])
    return float(flags[rows["is_fraud"].to_numpy() == 1].mean())


def test_a_new_kind_of_fraud_is_noticed_learned_and_caught(
    run: Callable[..., subprocess.CompletedProcess[str]], folder: Path, client: httpx2.Client
) -> None:
    """From the first request that the old model misreads to the calm after the new one serves, nothing by hand."""
    usual = rows_from(N_DAYS, 15, is_new=False, seed=2)
    before = ask(client, usual)
    assert caught(before, usual) > 0.8
    assert "small: ok" in run("training.monitor", "small", "predictions").stdout

    changed = datetime.now(UTC).isoformat()
    new = rows_from(N_DAYS, 90, is_new=True, seed=3)
    missed = ask(client, new.head(N_REQUESTS))
    assert caught(missed, new.head(N_REQUESTS)) < 0.4
    said = run("training.monitor", "small", "predictions", "--since", changed, status=20).stdout
    assert "small: retrain" in said
    assert "the recall is" in said

    new.to_csv(folder / "new.csv", index=False)
    said = run("training.retrain", "small", "--rows", "new.csv").stdout
    assert f"data/rows.parquet: {len(new):,} new rows" in said
    assert "The gate agrees." in said

    old_version = before[0]["model_version"]
    until = time.monotonic() + 20
    while (version := client.get("/health").json()["scorers"]["small"]["version"]) == old_version:
        assert time.monotonic() < until, "the running function did not swap"
        time.sleep(0.1)
    swapped = datetime.now(UTC).isoformat()
    later = rows_from(N_DAYS + 90, 15, is_new=True, seed=4)
    after = ask(client, later)
    assert {answer["model_version"] for answer in after} == {version}
    assert caught(after, later) > 0.8
    assert "small: ok" in run("training.monitor", "small", "predictions", "--since", swapped).stdout


def state_of(folder: Path) -> list[bytes]:
    """What must not change where a retraining fails."""
    kept = ("data.dvc", "dvc.lock", "data/rows.parquet", "reports/small/rows.json", "build/bundles/small/manifest.json")
    return [(folder / name).read_bytes() for name in kept]


def test_rows_that_were_used_already_change_nothing(
    run: Callable[..., subprocess.CompletedProcess[str]], folder: Path
) -> None:
    """Some are refused with their number and some of their ids; all of them are nothing new."""
    before = state_of(folder)
    used = pd.read_parquet(folder / "data" / "rows.parquet").tail(5)
    used.to_parquet(folder / "used.parquet", index=False)
    assert "all of its 5 rows" in run("training.retrain", "small", "--rows", "used.parquet", status=NOTHING_NEW).stdout
    pd.concat([used, used.head(1).assign(row_id="new")]).to_parquet(folder / "used.parquet", index=False)
    said = run("training.retrain", "small", "--rows", "used.parquet", status=1).stderr
    assert "retrain: used.parquet: 5 of its 6 rows are in data/rows.parquet already (r" in said
    assert state_of(folder) == before


def test_a_training_that_fails_takes_the_new_rows_back(
    run: Callable[..., subprocess.CompletedProcess[str]], folder: Path
) -> None:
    """Months without a fraud leave nothing to judge by: the stage says so, and the data are as they were."""
    before = state_of(folder)
    calm = rows_from(400, 60, is_new=False, seed=5).assign(is_fraud=0)
    calm.to_parquet(folder / "calm.parquet", index=False)
    done = run("training.retrain", "small", "--rows", "calm.parquet", status=1)
    assert "must have both classes" in done.stdout + done.stderr
    assert "retrain: `dvc repro` failed, as it says above" in done.stderr
    assert state_of(folder) == before
    run("dvc", "status", "--quiet")


def test_somebodys_own_change_of_the_data_is_left_alone(
    run: Callable[..., subprocess.CompletedProcess[str]], folder: Path
) -> None:
    """Neither new rows nor their refusal touch it."""
    data = folder / "data" / "rows.parquet"
    pinned = data.read_bytes()
    pd.read_parquet(data).tail(-1).to_parquet(data, index=False)
    changed = data.read_bytes()
    for rows in ((), ("--rows", "new.csv")):
        said = run("training.retrain", "small", *rows, status=1).stderr
        assert "retrain: data/ is not what data.dvc names: `dvc checkout data.dvc` goes back to that" in said
        assert data.read_bytes() == changed
    data.write_bytes(pinned)
