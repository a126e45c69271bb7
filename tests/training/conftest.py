"""A small scorer with a field of every type: its declaration, its rows, and a project in which it is really trained."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from io import StringIO
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from pydantic import BaseModel
from ruamel.yaml import YAML

from benchmarks.variants import write_variant
from handler.scoring.fields import SECONDS_A_DAY
from handler.scoring.scorer import Scorer, load_scorer
from tests.training.workplace import Workplace
from training.data.checked_source import CheckedChunk, Source, check_source, checked_chunk, open_source
from training.data.input_files import InputFile
from training.data.requests import requests_of
from training.data.row_checks import check_rows, sampled_rows
from training.data.times import time_is_number
from training.data.window import Window
from training.declaration import ScorerDeclaration, declared_scorer
from training.delivery.store_writer import FolderStoreWriter, S3StoreWriter, open_store_writer
from training.evaluation.calibration import calibrated
from training.intake.infer import Inferred, infer
from training.intake.synthetic.item_catalogue import items
from training.model.fit import margins
from training.params import Compute, Gate, Monitoring, Split
from training.prepare import prepare
from training.run import provenance
from training.run.processes import Workers

PROJECT = Path(__file__).parents[2]
Frames = dict[str, pd.DataFrame]
RunRemembered = Callable[..., tuple[Any, str]]
STAGES = tuple(YAML(typ="safe").load(PROJECT / "dvc.yaml")["stages"])
N_ROWS = 1_500
FRAUD_RATE = 0.08
PARAMS = """\
scorers:
  mini:
    route: /mini
    answer: probability
    data: data/rows.parquet
    id: row_id
    time: at
    label: is_fraud
    entity: null
    fields:
      amount:  {type: money, alias: amountUsd, unit: USD, min: 0, max: 100000, required: true}
      speed:   {type: number, unit: km/h}
      visits:  {type: count}
      country: {type: category, max_length: 32, required: true}
      is_new:  {type: flag}
      item:    {type: text, categories: item_kind, catalogue: data/catalogue.csv}
    features:
      amount_per_visit: {ratio: [amount, visits]}
      momentum:         {product: [amount, speed]}
    split:      {test: 0.2}
    quarantine: {max_share: 0.01}
    compute:    {engine: local}
    folds:      {count: 3, validate_share: 0.5}
    resampling: {method: smote, ratio: 0.3, neighbours: 3}
    model:      {rounds: 20, max_depth: 3, learning_rate: 0.3}
    tuning:     {mode: tpe, trials: 3}
    costs:      {amount: amount, review: 2.0}
    decision:   {recall: 0.9}
    seed: 7
    gate:       {min_frauds: 20}
"""


# The mini scorer with a date, and with both features of the timestamp.
TIMED_PARAMS = PARAMS.replace(
    "    features:\n",
    "      opened:  {type: date, alias: openedOn, monotone: decreasing}\n"
    "    features:\n"
    "      hour:             {hour_of_day: at}\n"
    "      days_a_visit:     {ratio: [opened, visits]}\n"
    "      weekday:          {day_of_week: at}\n",
)
# The mini scorer with keys of a card and a device, and each kind of history feature; a missing `visits` is computed.
REMEMBERED_PARAMS = PARAMS.replace(
    "    features:\n",
    """      card:    {type: key}
      device:  {type: key}
    history:
      warmup_days: 3
      entities:
        card: {key: card, ttl: 30d, ignore: ["", unknown]}
        both: {key: [card, device], ttl: 30d}
      features:
        visits:       {entity: card, take: count, over: 24h}
        mean_amount:  {entity: card, take: mean, field: amount, over: 7d}
        most_amount:  {entity: card, take: max, field: amount, over: 30d}
        idle:         {entity: card, take: since_last}
        devices:      {entity: card, take: distinct, field: device, over: 7d, cap: 3}
        known_device: {entity: card, take: seen, field: device}
        card_risk:    {entity: card, take: fraud_rate, over: 7d}
        pair_count:   {entity: both, take: count, over: 30d}
    features:
      amount_to_mean: {ratio: [amount, mean_amount]}
""",
).replace("split:      {test: 0.2}", "split:      {test: 0.2, label_delay_days: 2}")
# The stages that these scorers need to be served.
TIMED_STAGES = tuple(stage for stage in STAGES if stage != "select")


def _mini_catalogue() -> pd.DataFrame:
    """Ten names of each of the first three categories of the shipped catalogue."""
    names = pd.DataFrame(items(), columns=["name", "category"])
    kept = names[names["category"].isin(sorted(names["category"].unique())[:3])]
    return kept.groupby("category").head(10).reset_index(drop=True)


def _mini_rows() -> pd.DataFrame:
    """Rows of the mini scorer, in random order of time; frauds have higher amounts and speeds, and fewer countries."""
    rng = np.random.default_rng(20)
    is_fraud = rng.random(N_ROWS) < FRAUD_RATE
    countries = np.array(["NA", "DE", "FR", "rare"], dtype=object)
    usual = rng.choice(countries, N_ROWS, p=[0.3, 0.4, 0.29, 0.01])
    rows = pd.DataFrame(
        {
            "row_id": [f"row-{number}" for number in range(N_ROWS)],
            "at": pd.Timestamp("2025-01-01") + pd.to_timedelta(rng.integers(0, 60 * 86_400, N_ROWS), unit="s"),
            "amount": np.round(rng.lognormal(3 + 1.5 * is_fraud, 1), 2),
            "speed": rng.normal(10 + 4 * is_fraud, 3),
            "visits": rng.poisson(3, N_ROWS).astype(float),
            "country": np.where(is_fraud & (rng.random(N_ROWS) < 0.5), "NA", usual),
            "is_new": np.where(rng.random(N_ROWS) < 0.4, True, False).astype(object),
            "item": rng.choice(_mini_catalogue()["name"].to_numpy(dtype=object), N_ROWS),
            "is_fraud": is_fraud.astype(np.int8),
        }
    )
    for name in ("speed", "visits", "is_new", "item"):
        rows[name] = rows[name].where(rng.random(N_ROWS) >= 0.05, None if rows[name].dtype == object else np.nan)
    return rows


def timed_rows() -> pd.DataFrame:
    """The mini scorer's rows with a date in 19 of 20; frauds have young accounts, and half of them are at night."""
    rows, rng = _mini_rows(), np.random.default_rng(3)
    is_night = (rows["is_fraud"] == 1) & (rng.random(len(rows)) < 0.5)
    at = rows["at"].where(~is_night, rows["at"].dt.floor("D") + pd.Timedelta("2h"))
    opened = at - pd.to_timedelta(rng.exponential(np.where(rows["is_fraud"], 20, 300)) * SECONDS_A_DAY, unit="s")
    return rows.assign(at=at, opened=opened.where(rng.random(len(rows)) >= 0.05))


def remembered_rows() -> pd.DataFrame:
    """The mini scorer's rows with cards and devices; frauds share a few cards, and half of the rows have no visits."""
    rows, rng = _mini_rows().sort_values("at", ignore_index=True), np.random.default_rng(4)
    is_fraud = rows["is_fraud"] == 1
    cards = np.where(is_fraud, rng.integers(0, 8, len(rows)), rng.integers(0, 60, len(rows)))
    names = pd.Series([f"card-{number}" for number in cards], dtype=object)
    devices = pd.Series([f"device-{number}" for number in rng.integers(0, 30, len(rows))], dtype=object)
    return rows.assign(
        card=names.where(rng.random(len(rows)) >= 0.03, None),
        device=devices.where(rng.random(len(rows)) >= 0.1, None),
        visits=rows["visits"].where(rng.random(len(rows)) < 0.5),
    )


@pytest.fixture
def mini_rows() -> pd.DataFrame:
    """1,500 sound rows of the mini scorer."""
    return _mini_rows()


@pytest.fixture
def many_rows(mini_rows: pd.DataFrame) -> pd.DataFrame:
    """6,000 sound rows of the mini scorer, each with an id and a time of its own."""
    rows = pd.concat([mini_rows] * 4, ignore_index=True)
    seconds = np.random.default_rng(5).permutation(len(rows)) * 600.0
    return rows.assign(row_id=[f"row-{number}" for number in range(len(rows))], at=pd.to_datetime(seconds, unit="s"))


@pytest.fixture(scope="session")
def mini_catalogue() -> pd.DataFrame:
    """The mini scorer's catalogue, as the encoder takes it: field, name, category."""
    return _mini_catalogue().assign(field="item")


@pytest.fixture(scope="session")
def mini_params(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that declares the mini scorer."""
    path = tmp_path_factory.mktemp("declared") / "params.yaml"
    path.write_text(PARAMS)
    return path


@pytest.fixture(scope="session")
def mini_scorer(mini_params: Path) -> ScorerDeclaration:
    """The declared mini scorer."""
    return declared_scorer("mini", mini_params)


@pytest.fixture(scope="session")
def in_chunks(mini_scorer: ScorerDeclaration) -> Callable[..., ScorerDeclaration]:
    """Declares the mini scorer with chunks of a given size."""

    def declare(chunk_rows: int) -> ScorerDeclaration:
        return mini_scorer.model_copy(update={"compute": Compute(chunk_rows=chunk_rows)})

    return declare


@dataclass(frozen=True)
class Prepared:
    """The files that prepare wrote, read back, and its report."""

    windows: Frames
    quarantined: pd.DataFrame
    """Every value as its text in the file, "" if there is none."""
    report: dict[str, Any]


@pytest.fixture
def _prepared_by(tmp_path: Path) -> Callable[[Iterator[CheckedChunk], Source], Prepared]:
    numbers = count(1)

    def prepare_chunks(chunks: Iterator[CheckedChunk], source: Source) -> Prepared:
        folder = tmp_path / f"prepared-{next(numbers)}"
        folder.mkdir()
        report = prepare(chunks, source, folder)
        windows = {name: pd.read_parquet(folder / f"{name}.parquet") for name in report["windows"]}
        quarantined = pd.read_csv(folder / "quarantine.csv", dtype=str, keep_default_na=False)
        quarantined = quarantined.set_index(quarantined.pop("rejected_row").astype(int) - 1)
        return Prepared(windows, quarantined, report)

    return prepare_chunks


@pytest.fixture
def prepared(_prepared_by: Callable[..., Prepared]) -> Callable[[pd.DataFrame, ScorerDeclaration], Prepared]:
    """Prepares rows in memory, valid or not, as one chunk."""

    def prepare_rows(rows: pd.DataFrame, scorer: ScorerDeclaration) -> Prepared:
        is_number = time_is_number(rows[scorer.time])
        chunk = checked_chunk(sampled_rows(rows, scorer), scorer, is_number)
        part = InputFile(Path("rows.parquet"), pa.schema([]), len(rows), "", (0, 0))
        return _prepared_by(iter([chunk]), Source((part,), scorer, is_number, frozenset()))

    return prepare_rows


@pytest.fixture
def prepared_from(
    _prepared_by: Callable[..., Prepared], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Path, ScorerDeclaration], Prepared]:
    """Prepares a file, or a folder of files, as the stage does; the working folder has an empty data/."""
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)

    def prepare_path(path: Path, scorer: ScorerDeclaration) -> Prepared:
        source = open_source(scorer.model_copy(update={"data": str(path)}))
        return _prepared_by(check_source(source, Workers(scorer.compute)), source)

    return prepare_path


@pytest.fixture
def mini_windows(prepared: Callable[..., Prepared], mini_rows: pd.DataFrame, mini_scorer: ScorerDeclaration) -> Frames:
    """The mini scorer's rows in their windows: 1,200 to train on, and 300 later ones, each in order of time."""
    return prepared(mini_rows, mini_scorer).windows


@pytest.fixture
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, as the working folder."""
    folder = tmp_path / "working"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def workplace(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """A user's folder with the declaration, the data, what the folds chose and the packaged bundle, without reports."""
    folder = tmp_path / "workplace"
    (folder / "build" / "mini").mkdir(parents=True)
    for chosen in ("resampling.json", "tuned.json"):
        shutil.copy(trained / "build" / "mini" / chosen, folder / "build" / "mini")
    shutil.copytree(trained / "build" / "bundles", folder / "build" / "bundles")
    shutil.copytree(trained / "data", folder / "data")
    shutil.copy(trained / "params.yaml", folder)
    monkeypatch.chdir(folder)
    return Workplace(folder, monkeypatch)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Resizes a disk, of 1 MB at first, and returns its folder."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "tmpfs", str(folder), "-o", "size=1m"]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("a small disk can be mounted by root alone: what happens on a full one was NOT tested")

    def resize(size: str) -> Path:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)
        return folder

    yield resize
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def window_of(tmp_path: Path) -> Callable[..., Window]:
    """Writes rows as a window, in row groups of a given size."""
    numbers = count(1)

    def write(rows: pd.DataFrame, group_rows: int = 250_000) -> Window:
        path = tmp_path / f"window-{next(numbers)}.parquet"
        pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), path, row_group_size=group_rows)
        return Window(path)

    return write


@pytest.fixture(scope="session")
def dated_scorer(mini_scorer: ScorerDeclaration) -> ScorerDeclaration:
    """The mini scorer with windows in days, labels that come two days late, and limits that small blocks can reach."""
    split = Split(calibrate_days=10, test_days=7, label_delay_days=2)
    # A window of seven days has only some 27 frauds, so the gate needs a wide margin.
    gate = Gate(margin=0.3, min_frauds=10)
    monitoring = Monitoring(min_rows=200, min_frauds=10)
    return mini_scorer.model_copy(update={"split": split, "monitoring": monitoring, "gate": gate})


@pytest.fixture(scope="session")
def history(dated_scorer: ScorerDeclaration) -> Callable[[int], pd.DataFrame]:
    """Makes a checked history of some days from 2025-01-01 on: the mini scorer's rows, drawn with replacement."""

    def draw(days: int) -> pd.DataFrame:
        rng = np.random.default_rng(0)
        n_rows = 48 * days
        seconds = pd.Timestamp("2025-01-01").timestamp() + np.sort(rng.random(n_rows)) * days * SECONDS_A_DAY
        drawn = _mini_rows().iloc[rng.integers(0, N_ROWS, n_rows)].reset_index(drop=True)
        names = [f"row-{number}" for number in range(n_rows)]
        return check_rows(drawn.assign(row_id=names, at=seconds), dated_scorer).clean

    return draw


def _write_project(folder: Path) -> Path:
    """A user's folder: params.yaml and the data it names."""
    (folder / "data").mkdir(parents=True)
    (folder / "params.yaml").write_text(PARAMS)
    _mini_rows().to_parquet(folder / "data" / "rows.parquet", index=False)
    _mini_catalogue().to_csv(folder / "data" / "catalogue.csv", index=False)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A user's folder with the mini scorer's declaration and data, nothing run yet."""
    return _write_project(tmp_path / "project")


@pytest.fixture(scope="session")
def run_stage() -> Callable[[Path, str], subprocess.CompletedProcess[str]]:
    """Runs one stage for the mini scorer in a user's folder, as a user would."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}

    def run(folder: Path, stage: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", f"training.{stage}", "mini"]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    return run


def _run_stages(folder: Path, stages: Sequence[str]) -> dict[str, str]:
    """Run stages in this process, which saves importing what they need again, and return what each prints."""
    printed = {}
    with chdir(folder), redirect_stderr(StringIO()) as warnings:
        for stage in stages:
            with redirect_stdout(StringIO()) as output:
                import_module(f"training.{stage}").main("mini")
            printed[stage] = output.getvalue()
    assert not warnings.getvalue()
    return printed


def _trained(place: Path, write: Callable[[Path], object], stages: Sequence[str]) -> tuple[Path, dict[str, str]]:
    """The folder in which stages ran, and what each printed; parallel test processes share it."""
    folder, output = place / "project", place / "printed.json"
    place.mkdir(exist_ok=True)
    with FileLock(place / ".lock"):
        if not output.exists():
            write(folder)
            output.write_text(json.dumps(_run_stages(folder, stages)))
    return folder, json.loads(output.read_text())


@pytest.fixture(scope="session")
def trained_output(tmp_path_factory: pytest.TempPathFactory, testrun_uid: str) -> tuple[Path, dict[str, str]]:
    """The folder in which all stages ran, and what each printed."""
    return _trained(tmp_path_factory.getbasetemp().parent / f"trained-{testrun_uid}", _write_project, STAGES)


def _trained_on(place: Path, params: str, rows: pd.DataFrame) -> Path:
    """The folder in which the stages ran for the mini scorer with another declaration and other rows."""

    def write(folder: Path) -> None:
        _write_project(folder)
        (folder / "params.yaml").write_text(params)
        rows.to_parquet(folder / "data" / "rows.parquet", index=False)

    return _trained(place, write, TIMED_STAGES)[0]


@pytest.fixture(scope="session")
def train_on(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str, pd.DataFrame], Path]:
    """Trains the mini scorer with a declaration and rows, in a folder with a name; returns that folder."""
    return lambda name, params, rows: _trained_on(tmp_path_factory.mktemp(name), params, rows)


@pytest.fixture(scope="session")
def timed(tmp_path_factory: pytest.TempPathFactory, testrun_uid: str) -> Path:
    """The folder in which the stages ran for the mini scorer with dates; only to be read."""
    return _trained_on(tmp_path_factory.getbasetemp().parent / f"timed-{testrun_uid}", TIMED_PARAMS, timed_rows())


@pytest.fixture(scope="session")
def remembered(tmp_path_factory: pytest.TempPathFactory, testrun_uid: str) -> Path:
    """The folder in which the stages ran for the mini scorer with a history; only to be read."""
    place = tmp_path_factory.getbasetemp().parent / f"remembered-{testrun_uid}"
    return _trained_on(place, REMEMBERED_PARAMS, remembered_rows())


@pytest.fixture(scope="session")
def scorer(remembered: Path) -> Scorer:
    """The packaged scorer with a history; tests of another scorer override this fixture."""
    return load_scorer(remembered / "build" / "bundles" / "mini")


@pytest.fixture(scope="session")
def sent(remembered: Path, scorer: Scorer) -> list[tuple[BaseModel, bool]]:
    """Each checked row as a request, in order of time, and whether it was a fraud."""
    rows = pd.concat(map(pd.read_parquet, (remembered / "build" / "mini" / "rows").glob("*.parquet")))
    rows = rows.sort_values("at", kind="stable", ignore_index=True)
    requests = zip(requests_of(rows, scorer.contract), rows["row_id"], rows["is_fraud"], strict=True)
    return [
        (scorer.request_model.model_validate(request | {"row_id": identifier}), label == 1)
        for request, identifier, label in requests
    ]


def split_at(requests: Sequence[tuple[BaseModel, bool]], time: int) -> tuple[list[Any], list[Any]]:
    """The requests before a time, and the others."""
    before = [item for item in requests if item[0].at < time]  # type: ignore[attr-defined]  # a model made at run time
    return before, list(requests[len(before) :])


@pytest.fixture
def run_remembered(
    remembered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> RunRemembered:
    """Runs a command in a copy of that folder; returns its exit status and what it prints."""
    folder = tmp_path / "workplace"
    shutil.copytree(remembered / "build", folder / "build")
    (folder / "params.yaml").write_text(REMEMBERED_PARAMS)
    monkeypatch.chdir(folder)
    workplace = Workplace(folder, monkeypatch)

    def run(command: ModuleType, *arguments: str) -> tuple[Any, str]:
        capsys.readouterr()
        ended = workplace.run(command, "mini", *arguments)
        return ended, "".join(capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def trained(trained_output: tuple[Path, dict[str, str]]) -> Path:
    """The folder in which all stages ran; only to be read."""
    return trained_output[0]


@pytest.fixture(scope="session")
def reported(trained: Path) -> Callable[[str], Any]:
    """Reads a report of the trained project: the content of a JSON file, or a table."""

    def read(name: str) -> Any:  # noqa: ANN401 - whatever the file holds
        path = trained / "reports" / "mini" / name
        return json.loads(path.read_text()) if path.suffix == ".json" else pd.read_csv(path)

    return read


@pytest.fixture(scope="session")
def trained_rows(trained: Path) -> Callable[[str], pd.DataFrame]:
    """Reads a window of the trained project."""
    return lambda window: pd.read_parquet(trained / "build" / "mini" / "rows" / f"{window}.parquet")


@pytest.fixture(scope="session")
def trained_pipeline(trained: Path) -> Any:  # noqa: ANN401 - imbalanced-learn's, which has no types
    """The trained project's pipeline."""
    return joblib.load(trained / "build" / "mini" / "pipeline.joblib")


@pytest.fixture(scope="session")
def calibrated_rows(trained: Path, trained_rows: Callable[[str], pd.DataFrame], trained_pipeline: Any) -> Any:  # noqa: ANN401
    """Reads a window of the trained project, with the calibrated probabilities of its rows."""

    def read(window: str) -> tuple[pd.DataFrame, np.ndarray]:
        rows = trained_rows(window)
        calibration = json.loads((trained / "build" / "mini" / "calibration.json").read_text())["calibration"]
        return rows, calibrated(margins(trained_pipeline, rows), calibration)

    return read


def _payments(n: int = 2_000, fraud_rate: float = 0.06) -> pd.DataFrame:
    """Rows as a user's own file might have them; frauds have higher amounts and speeds."""
    rng = np.random.default_rng(3)
    is_fraud = rng.random(n) < fraud_rate
    times = pd.Timestamp("2024-01-20") + pd.to_timedelta(np.arange(n), unit="h")
    rows = pd.DataFrame(
        {
            "Payment ID": [f"P-{number}" for number in range(n)],
            "When": times.strftime("%d/%m/%Y %H:%M"),
            "Amount ($)": np.round(rng.lognormal(3 + 1.5 * is_fraud, 1), 2),
            "speed": rng.normal(3 * is_fraud, 2).round(3),
            "country": rng.choice(["NA", "DE", "FR"], n),
            "no": rng.choice(["a", "b"], n),
            "status": np.where(is_fraud, "chargeback", "paid"),
        }
    )
    return rows.mask(rng.random(rows.shape) < [0, 0, 0.1, 0.1, 0.1, 0.1, 0])


@pytest.fixture(scope="session")
def payments() -> Callable[..., pd.DataFrame]:
    """Makes rows of a user's own file: a given number, of which a given share are frauds."""
    return _payments


@pytest.fixture(scope="session")
def inferred() -> Callable[..., Inferred]:
    """Infers a declaration from such rows, read as text, as from a CSV file."""

    def infer_payments(n: int = 2_000, fraud_rate: float = 0.06) -> Inferred:
        text = _payments(n, fraud_rate).astype("str")
        return infer(text, 'status == "chargeback"', "When", is_text=True)

    return infer_payments


@pytest.fixture(scope="session")
def mini_bundle(trained: Path) -> Path:
    """The mini scorer's bundle; only to be read."""
    return trained / "build" / "bundles" / "mini"


@pytest.fixture
def variant(mini_bundle: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes another sound version of the mini scorer's bundle, with changed log-odds or keys of its manifest."""
    numbers = count(1)

    def write(**changes: object) -> Path:
        folder = tmp_path / f"variant-{next(numbers)}"
        write_variant(mini_bundle, folder, **changes)
        return folder

    return write


@pytest.fixture(params=["folder", "s3"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty store: a folder that does not exist yet, and a prefix of an S3 bucket."""
    return str(tmp_path / "store") if request.param == "folder" else f"s3://{request.getfixturevalue('bucket')}/models"


@pytest.fixture
def store(address: str) -> FolderStoreWriter | S3StoreWriter:
    """An empty store of each kind."""
    return open_store_writer(address)


@pytest.fixture
def folder_store(tmp_path: Path) -> FolderStoreWriter:
    """An empty store in a folder."""
    return FolderStoreWriter(tmp_path / "store")


@pytest.fixture
def git_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Isolates git from the user's settings and from any checkout above the test's folder."""
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))


@pytest.fixture
def commit(git_settings: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:  # noqa: ARG001 - what git reads
    """Commits a text as the only file of a Git checkout, which is the working folder; returns the commit."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    monkeypatch.chdir(checkout)
    monkeypatch.setattr(provenance, "CODE", checkout / "kept.txt")

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()

    git("init", "--quiet")
    git("config", "user.name", "Ada Example")
    git("config", "user.email", "ada@example.com")

    def commit_text(text: str) -> str:
        (checkout / "kept.txt").write_text(text)
        git("add", "kept.txt")
        git("commit", "--quiet", "--message", text)
        return git("rev-parse", "HEAD")

    return commit_text
