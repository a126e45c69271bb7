"""Stages on a real Dask cluster write what one machine writes, or nothing if the cluster is lost.

A scheduler and two workers run on loopback for all tests of this file; a worker that a test ends is replaced.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import chdir, closing, contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import dask
import distributed.config  # noqa: F401 - its defaults must be there before others are set
import joblib
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import xgboost
from ruamel.yaml import YAML
from sklearn.metrics import average_precision_score

from tests.unmeasured import unmeasured_environment
from training.batch.outputs import rejected_path
from training.declaration import declared_scorer
from training.errors import StageError
from training.model.chosen import ChosenResampling
from training.model.fit import margins
from training.params import Compute, Model
from training.run.engine import workers_of
from training.score import ScoreOptions, score_files

PROJECT = Path(__file__).parents[3]
PATIENCE_SECONDS = 120
CHUNK_ROWS = 1_000
# Every row and every feature at each step, so that only the order of sums is left to chance.
STEADY = {"max_depth": 3, "learning_rate": 0.1, "subsample": 1.0, "colsample_bytree": 1.0}
# Takes the cluster some seconds, in which a worker can be killed.
LONG = Model(**STEADY, rounds=2_000)

Copy = Callable[..., Path]
History = Callable[[int], pd.DataFrame]
Start = Callable[..., subprocess.Popen[str]]

# A stage as `python -m` starts it, but with shorter waits for a scheduler or workers.
IMPATIENT = """
import runpy, training.run.cluster
training.run.cluster.CONNECT_SECONDS, training.run.cluster.POLL_SECONDS = 3, 1
runpy.run_module("training.{stage}", run_name="__main__", alter_sys=True)
"""
NO_WORKER = "the cluster has no worker left; start some, then run the command again"
RECONNECT = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "3s"}


class Cluster:
    """A scheduler on loopback and its workers, each a process with a log in the folder."""

    def __init__(self, folder: Path) -> None:
        """Start the scheduler."""
        folder.mkdir(exist_ok=True)
        self.folder, self.workers = folder, dict[str, subprocess.Popen[bytes]]()
        self._file, self._started = folder / "scheduler.json", list[subprocess.Popen[bytes]]()
        self._start("scheduler", "--host", "127.0.0.1", "--port", "0", project=PROJECT)
        await_that(lambda: self._file.exists() and self._file.read_text())
        self.address: str = json.loads(self._file.read_text())["address"]

    def _start(self, what: str, *options: str, project: Path | None) -> Path:
        log = self.folder / f"{what}-{len(self._started)}.log"
        command = [
            Path(sys.executable).with_name("dask"),
            what,
            "--scheduler-file",
            self._file,
            "--no-dashboard",
            *options,
        ]
        # Processes that are killed write no coverage.
        environment = unmeasured_environment() | {"PYTHONPATH": str(project or "")}
        with log.open("wb") as file:
            process = subprocess.Popen(
                command, cwd=project or self.folder, env=environment, stdout=file, stderr=subprocess.STDOUT
            )
        self._started.append(process)
        return log

    def add_worker(self, project: Path | None = PROJECT) -> str:
        """Start one more worker, in a project's folder or outside of any; returns its address."""
        options = ("--nthreads", "1", "--no-nanny", "--local-directory", str(self.folder))
        log = self._start("worker", *options, project=project)
        await_that(lambda: "Registered to" in log.read_text())
        (address,) = re.findall(r"Start worker at: +(\S+)", log.read_text())
        self.workers[address] = self._started[-1]
        return address

    def kill(self, address: str) -> None:
        """Kill a worker; returns once the scheduler has noticed."""
        process = self.workers.pop(address)
        process.kill()
        process.wait()
        log = self.folder / "scheduler-0.log"
        await_that(lambda: f"Remove worker addr: {address}" in log.read_text())

    @contextmanager
    def extra_worker(self, project: Path | None) -> Iterator[str]:
        """Yield the address of one more worker, which is killed at the end of the block."""
        worker = self.add_worker(project)
        try:
            yield worker
        finally:
            self.kill(worker)

    def kill_any(self) -> str:
        """Kill the oldest worker; returns its address."""
        address = next(iter(self.workers))
        self.kill(address)
        return address

    def kill_all(self) -> None:
        """Kill every worker."""
        while self.workers:
            self.kill_any()

    def trainings(self) -> int:
        """How many times workers have begun to train together: XGBoost logs a rank for each."""
        return sum(log.read_text().count("got rank") for log in self.folder.glob("worker-*.log"))

    def close(self) -> None:
        """End all processes, the scheduler first."""
        for process in self._started:
            process.kill()
            process.wait()


def await_that(holds: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> None:
    """Return once the condition holds; fails if it does not in time, or if the process ends first."""
    last = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < last
        assert process is None or process.poll() is None, end(process)
        time.sleep(0.05)


def declare(folder: Path, **blocks: Any) -> Path:  # noqa: ANN401 - what a declaration holds
    """Replace these blocks of the mini scorer's declaration in a folder; returns the folder."""
    path = folder / "params.yaml"
    declared = YAML().load(path.read_text())
    declared["scorers"]["mini"].update(blocks)
    with path.open("w") as file:
        YAML().dump(declared, file)
    return folder


def engine(name: str, **keys: Any) -> dict[str, Any]:  # noqa: ANN401 - Compute's own
    """The `compute` block for an engine."""
    return {"engine": name, "chunk_rows": CHUNK_ROWS} | keys


def run_here(folder: Path, *stages: str, cluster: Cluster | None = None, address: str | None = None) -> None:
    """Run stages in this process, on a cluster or a scheduler's address, which is faster than starting processes."""
    with chdir(folder), dask.config.set({"scheduler-address": cluster.address if cluster else address}):
        for stage in stages:
            import_module(f"training.{stage}").main("mini")


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a process; returns its status and the rest of its output."""
    try:
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
    return process.returncode, output


def assert_ends_with(process: subprocess.Popen[str], sentence: str) -> None:
    """Check that a stage fails and that its output ends with this sentence and has no traceback."""
    status, output = end(process)
    assert (status, output.splitlines()[-1], "Traceback" in output) == (1, sentence, False)


def read_until(process: subprocess.Popen[str], begins: str) -> None:
    """Return once a process writes a line that begins with this text."""
    assert any(line.startswith(begins) for line in process.stdout)


def files_of(folder: Path) -> dict[str, bytes]:
    """The contents of a folder's files, including hidden ones, and the names of its folders."""
    paths = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"" for path in paths}


def report_of(folder: Path, name: str) -> dict[str, Any]:
    """One of the mini scorer's reports."""
    return json.loads((folder / "reports" / "mini" / name).read_text())


@pytest.fixture(scope="module")
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with closing(Cluster(tmp_path_factory.mktemp("cluster"))) as cluster:
        yield cluster


@pytest.fixture
def cluster(_cluster: Cluster) -> Cluster:
    """The cluster, with two workers."""
    while len(_cluster.workers) < 2:
        _cluster.add_worker()
    return _cluster


@pytest.fixture
def remains(_cluster: Cluster) -> Cluster:
    """The cluster with the workers that the previous test left, and at least one."""
    if not _cluster.workers:
        _cluster.add_worker()
    return _cluster


@pytest.fixture(scope="module")
def other_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Another scheduler, which has no workers yet."""
    with closing(Cluster(tmp_path_factory.mktemp("other"))) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def unprepared(
    mini_params: Path, mini_catalogue: pd.DataFrame, history: History, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with 12,000 rows, some of which are bad or repeat an id; for reading only.

    The numbers have few values, each with a bin of its own, so XGBoost's counts do not depend on how rows are spread.
    """
    folder = tmp_path_factory.mktemp("declared") / "project"
    (folder / "data").mkdir(parents=True)
    shutil.copy(mini_params, folder)
    declare(folder, compute=engine("local"), features={"momentum": {"product": ["visits", "visits"]}})
    rows = history(250)
    rows["amount"] = rows["amount"].clip(upper=999).round(-1)
    rows["speed"] = (rows["speed"] * 4).round() / 4
    rows.loc[[3, 4_000, 4_001, 11_000], "amount"] = -1.0
    rows.loc[[900, 5_000, 11_999], "row_id"] = "row-7"
    rows.to_parquet(folder / "data" / "rows.parquet", index=False, row_group_size=700)
    mini_catalogue[["name", "category"]].to_csv(folder / "data" / "catalogue.csv", index=False)
    run_here(folder, "catalogue")
    return folder


@pytest.fixture(scope="module")
def prepared_locally(unprepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same folder, prepared on this machine, with parameters for training; for reading only."""
    folder = tmp_path_factory.mktemp("prepared") / "project"
    shutil.copytree(unprepared, folder)
    run_here(folder, "prepare")
    (folder / "build" / "mini" / "tuned.json").write_text(Model(**STEADY, rounds=30).model_dump_json())
    return choose_declared(folder)


def choose_declared(folder: Path) -> Path:
    """Make the declared resampling the chosen one in a folder; returns the folder."""
    resampling = declared_scorer("mini", folder / "params.yaml").resampling
    chosen = ChosenResampling(resampling=resampling, rounds=30)
    (folder / "build" / "mini" / "resampling.json").write_text(chosen.model_dump_json())
    return folder


@pytest.fixture
def copy(tmp_path: Path) -> Callable[..., Path]:
    """Copy a folder, and replace blocks of the declaration in the copy."""

    def copy_folder(folder: Path, **blocks: object) -> Path:
        copied = tmp_path / f"copy-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(folder, copied)
        declare(copied, **blocks)
        return choose_declared(copied) if (copied / "build" / "mini" / "rows").exists() else copied

    return copy_folder


@pytest.fixture
def to_prepare(unprepared: Path, copy: Copy) -> Path:
    """A folder whose rows are still to be prepared by the cluster."""
    return copy(unprepared, compute=engine("dask"))


@pytest.fixture
def to_train(prepared_locally: Path, copy: Copy) -> Path:
    """A folder whose model is still to be trained by the cluster."""
    return copy(prepared_locally, compute=engine("dask"))


@pytest.fixture
def long_training(to_train: Path) -> Path:
    """The same folder, with a model that takes some seconds to train."""
    (to_train / "build" / "mini" / "tuned.json").write_text(LONG.model_dump_json())
    return to_train


@pytest.fixture
def start() -> Iterator[Start]:
    """Start stages as a user does, with output and errors in one stream; ends those that a failed test leaves."""
    processes = list[subprocess.Popen[str]]()

    def start_stage(folder: Path, address: str, stage: str, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", IMPATIENT.format(stage=stage), "mini", *map(str, arguments)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(PROJECT), "DASK_SCHEDULER_ADDRESS": address, **RECONNECT},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        processes.append(process)
        return process

    yield start_stage
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("is_killed", [False, True], ids=["two workers", "one is killed"])
def test_prepares_the_same_windows(
    cluster: Cluster, to_prepare: Path, prepared_locally: Path, start: Start, *, is_killed: bool
) -> None:
    """The cluster writes the windows, quarantine and report of one machine, even if it loses a worker."""
    if is_killed:
        process = start(to_prepare, cluster.address, "prepare")
        read_until(process, "rows checked: ")
        cluster.kill_any()
        status, output = end(process)
        assert status == 0, output
    else:
        run_here(to_prepare, "prepare", cluster=cluster)
    folder, expected = (project / "build" / "mini" / "rows" for project in (to_prepare, prepared_locally))
    assert files_of(folder) == files_of(expected)
    assert all(pq.ParquetFile(folder / f"{window}.parquet").num_row_groups > 1 for window in ("train", "test"))
    assert len(pd.read_csv(folder / "quarantine.csv")) == 7
    assert report_of(to_prepare, "rows.json") == report_of(prepared_locally, "rows.json")
    assert [path.name for path in (to_prepare / "build").iterdir()] == ["mini"]


def test_learns_the_same_model(cluster: Cluster, prepared_locally: Path, copy: Copy) -> None:
    """If each value has its own bin, the cluster's model is as good as one machine's to the third digit."""
    stages, blocks = ("train", "calibrate", "evaluate", "baseline"), {"resampling": {"method": "class_weight"}}
    local = copy(prepared_locally, **blocks)
    spread = copy(prepared_locally, compute=engine("dask"), **blocks)
    run_here(local, *stages)
    run_here(spread, *stages, cluster=cluster)
    expected, metrics = (report_of(folder, "metrics.json") for folder in (local, spread))
    for name, tolerance in (("average_precision", 0.003), ("expected_calibration_error", 0.001)):
        assert metrics[name] == pytest.approx(expected[name], abs=tolerance)
    for name in ("reference.json", "vocabulary.json"):
        assert (spread / "build" / "mini" / name).read_bytes() == (local / "build" / "mini" / name).read_bytes()
    expected, baseline = (
        json.loads((folder / "build" / "mini" / "baseline.json").read_text()) for folder in (local, spread)
    )
    assert baseline.pop("score")["rows"] == expected.pop("score")["rows"]
    assert baseline == expected


@pytest.mark.parametrize(
    ("chunk_rows", "resampling"),
    [
        (CHUNK_ROWS, {"method": "smote", "ratio": 0.4, "neighbours": 3}),
        (CHUNK_ROWS, {"method": "undersample", "ratio": 0.3}),
        (CHUNK_ROWS, {"method": "none"}),
        (50_000, {"method": "smote", "ratio": 0.4, "neighbours": 3}),
    ],
    ids=["smote", "undersample", "none", "one partition"],
)
def test_trains_with_each_resampling(
    cluster: Cluster, prepared_locally: Path, copy: Copy, chunk_rows: int, resampling: dict[str, Any]
) -> None:
    """Each method makes as many rows on the cluster as on one machine, and a model that ranks about as well.

    SMOTE's rows need merged bins, whose order varies; this alone moves the average precision by .01.
    """
    local = copy(prepared_locally, compute=engine("local", chunk_rows=chunk_rows), resampling=resampling)
    if chunk_rows > CHUNK_ROWS:
        run_here(local, "prepare")
    spread = copy(local, compute=engine("dask", chunk_rows=chunk_rows))
    run_here(local, "train")
    run_here(spread, "train", cluster=cluster)
    assert report_of(spread, "training.json") == report_of(local, "training.json")
    rows = pd.read_parquet(local / "build" / "mini" / "rows" / "test.parquet")
    expected, precision = (
        average_precision_score(
            rows["is_fraud"], margins(joblib.load(folder / "build" / "mini" / "pipeline.joblib"), rows)
        )
        for folder in (local, spread)
    )
    assert expected > 0.5
    assert precision == pytest.approx(expected, abs=0.03)


def test_trains_where_partitions_have_no_fraud(cluster: Cluster, to_train: Path) -> None:
    """A worker may hold only partitions without a fraud."""
    path = to_train / "build" / "mini" / "rows" / "train.parquet"
    rows = pd.read_parquet(path)
    # Rows of the first six partitions are all legitimate.
    rows.loc[: 6 * CHUNK_ROWS - 1, "is_fraud"] = np.int8(0)
    rows.to_parquet(path, index=False, row_group_size=CHUNK_ROWS)
    assert rows["is_fraud"].sum() > 50
    run_here(to_train, "train", cluster=cluster)
    assert report_of(to_train, "training.json")["rows_learned_from"] > len(rows)


def test_workers_are_seen_during_dasks_own_requests(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dask's own periodic requests do not list the workers; this must not look like an empty cluster."""
    monkeypatch.setattr("training.run.cluster.POLL_SECONDS", 0.001)
    with (
        dask.config.set({"scheduler-address": cluster.address, "distributed.client.scheduler-info-interval": "1ms"}),
        workers_of(Compute(engine="dask")) as workers,
    ):
        assert list(workers.spread([(time.sleep, 1)], "", n_tasks=1, n_rows=1)) == [None]


def test_worker_killed_while_it_trains(cluster: Cluster, long_training: Path, start: Start) -> None:
    """XGBoost starts again with the remaining worker, and all outputs are complete."""
    trainings = cluster.trainings()
    process = start(long_training, cluster.address, "train")
    await_that(lambda: cluster.trainings() == trainings + 2, process)
    lost = cluster.kill_any()
    status, output = end(process)
    assert status == 0, output
    assert f"{lost} was lost in training, which starts again with the remaining workers" in output
    build = long_training / "build"
    xgboost.Booster(model_file=build / "mini" / "model.ubj")
    assert joblib.load(build / "mini" / "pipeline.joblib")[-1].n_estimators == LONG.rounds
    assert [path.name for path in build.iterdir()] == ["mini"]


@pytest.mark.parametrize(("stage", "folder"), [("train", "long_training"), ("prepare", "to_prepare")])
def test_all_workers_killed(
    remains: Cluster, request: pytest.FixtureRequest, start: Start, stage: str, folder: str
) -> None:
    """If all workers are lost, the stage ends with a sentence and writes nothing."""
    project: Path = request.getfixturevalue(folder)
    before, trainings = files_of(project), remains.trainings()
    process = start(project, remains.address, stage)
    if stage == "train":
        await_that(lambda: remains.trainings() == trainings + len(remains.workers), process)
    else:
        read_until(process, "rows checked: ")
    remains.kill_all()
    assert_ends_with(process, f"{stage} mini: {NO_WORKER}")
    assert files_of(project) == before


def test_scheduler_that_is_not_there(
    unprepared: Path, to_prepare: Path, other_cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closed port and a scheduler without workers are each reported in a sentence that names the address."""
    monkeypatch.setattr("training.run.cluster.CONNECT_SECONDS", 3)
    with socket.socket() as closed, dask.config.set({"distributed.comm.timeouts.connect": "3s"}):
        # Bound, so that no other process takes the port, but not listening.
        closed.bind(("127.0.0.1", 0))
        nowhere, lonely = f"tcp://127.0.0.1:{closed.getsockname()[1]}", other_cluster.address
        for address, sentence in (
            (nowhere, f"^DASK_SCHEDULER_ADDRESS is {nowhere}, where no scheduler answers within"),
            (lonely, f"^the scheduler at {lonely} has no workers; start some: dask worker"),
        ):
            with pytest.raises(StageError, match=sentence):
                run_here(to_prepare, "prepare", address=address)
    assert files_of(to_prepare / "build") == files_of(unprepared / "build")
    assert not (to_prepare / "reports").exists()


def test_scheduler_that_ends(long_training: Path, other_cluster: Cluster, start: Start) -> None:
    """If the scheduler is lost in training, the stage ends with a sentence and writes nothing."""
    before = files_of(long_training)
    other_cluster.add_worker()
    process = start(long_training, other_cluster.address, "train")
    await_that(other_cluster.trainings, process)
    other_cluster.close()
    status, output = end(process)
    sentence = (
        "train mini: the connection to the scheduler was lost; check that it is running, then run the command again"
    )
    # Dask's own log lines may precede it.
    assert (status, output.splitlines()[-1]) == (1, sentence)
    assert files_of(long_training) == before


def assert_refuses(cluster: Cluster, worker: str, folder: Path, sentence: str) -> None:
    """Check that preparing a folder fails with a sentence about a worker and writes nothing."""
    before = files_of(folder)
    with pytest.raises(StageError, match=f"^worker {worker} {sentence}"):
        run_here(folder, "prepare", cluster=cluster)
    assert files_of(folder) == before


def test_worker_with_other_code(cluster: Cluster, to_prepare: Path, tmp_path: Path) -> None:
    """A worker whose code differs, even in a comment, is refused until it is restarted with the right files."""
    code = tmp_path / "code"
    for package in ("training", "handler"):
        shutil.copytree(PROJECT / package, code / package, ignore=shutil.ignore_patterns("__pycache__"))
    for lock in PROJECT.glob("requirements*.lock"):
        shutil.copy(lock, code)
    changed = code / "training" / "data" / "column_checks.py"
    changed.write_text(f"{changed.read_text()}# Other.\n")
    sentence = "has other code or other locked packages than this process; update it, and start it again$"
    with cluster.extra_worker(code) as worker:
        assert_refuses(cluster, worker, to_prepare, sentence)
        shutil.copy(PROJECT / "training" / "data" / "column_checks.py", changed)
        assert_refuses(cluster, worker, to_prepare, sentence)


def test_worker_without_the_project(cluster: Cluster, to_prepare: Path) -> None:
    """A worker that cannot import the project is named, and nothing is written."""
    with cluster.extra_worker(None) as worker:
        assert_refuses(cluster, worker, to_prepare, r"cannot import this project \(.*training")


def test_wrong_label_in_a_chunk(cluster: Cluster, unprepared: Path, to_prepare: Path) -> None:
    """A wrong label in the third chunk gives the same error as on one machine, and nothing is written."""
    path = to_prepare / "data" / "rows.parquet"
    rows = pd.read_parquet(path)
    rows.loc[2_500, "is_fraud"] = np.int8(7)
    rows.to_parquet(path, index=False)
    with pytest.raises(StageError, match="rows 2,001 to 3,000: ") as error:
        run_here(to_prepare, "prepare", cluster=cluster)
    with pytest.raises(StageError, match=f"^{re.escape(str(error.value))}$"):
        run_here(declare(to_prepare, compute=engine("local")), "prepare")
    assert files_of(to_prepare / "build") == files_of(unprepared / "build")


def test_damaged_window(cluster: Cluster, to_train: Path) -> None:
    """A window that a worker cannot read is named, and nothing is written."""
    path = to_train / "build" / "mini" / "rows" / "train.parquet"
    group = pq.read_metadata(path).row_group(2)
    columns = {group.column(index).path_in_schema: group.column(index) for index in range(group.num_columns)}
    speed = columns["speed"]
    with path.open("r+b") as file:
        file.seek(speed.dictionary_page_offset or speed.data_page_offset)
        file.write(bytes(speed.total_compressed_size))
    before = files_of(to_train)
    with pytest.raises(StageError, match=f"^{re.escape(str(path))} cannot be read; run prepare again: "):
        run_here(to_train, "train", cluster=cluster)
    assert files_of(to_train) == before


@pytest.fixture(scope="module")
def rows_to_score(history: History, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 6,000 rows as a CSV and as a Parquet file, two of them invalid; for reading only."""
    folder, rows = tmp_path_factory.mktemp("scored"), history(125)
    rows.loc[[5, 3_000], "amount"] = -1.0
    rows.to_parquet(folder / "rows.parquet", index=False)
    rows.to_csv(folder / "rows.csv", index=False)
    return folder


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_scores_to_the_same_bytes(
    cluster: Cluster, trained: Path, rows_to_score: Path, tmp_path: Path, kind: str
) -> None:
    """Scored and rejected rows of the cluster, with reasons, are the same bytes as those of one machine."""
    source, output = rows_to_score / f"rows.{kind}", tmp_path / f"local.{kind}"
    options = ScoreOptions("mini", source, output, explain=True, chunk_rows=CHUNK_ROWS)
    with chdir(trained), dask.config.set({"scheduler-address": cluster.address}):
        local = score_files(options)
        spread = score_files(replace(options, output=tmp_path / f"spread.{kind}", engine="dask"))
    assert local.rejected == spread.rejected == 2
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(files) == 4
    for name, content in files.items():
        assert content == files[name.replace("spread", "local")]


def test_workers_killed_while_they_score(
    cluster: Cluster, trained: Path, rows_to_score: Path, tmp_path: Path, start: Start
) -> None:
    """A lost worker's rows are scored by another; if all are lost, the next run continues from finished chunks."""
    source, output, whole = rows_to_score / "rows.csv", tmp_path / "spread.csv", tmp_path / "local.csv"
    process = start(trained, cluster.address, "score", source, output, "--engine", "dask", "--chunk-rows", 100)
    read_until(process, "rows scored: 600 ")
    cluster.kill_any()
    read_until(process, "rows scored: ")
    cluster.kill_any()
    assert_ends_with(process, f"score: {NO_WORKER}")
    assert not output.exists()
    cluster.add_worker()
    with chdir(trained), dask.config.set({"scheduler-address": cluster.address}):
        result = score_files(ScoreOptions("mini", source, output, chunk_rows=100, engine="dask"))
        score_files(ScoreOptions("mini", source, whole, chunk_rows=100))
    assert result.n_resumed > 0
    assert output.read_bytes() == whole.read_bytes()
    files = output, whole, *map(rejected_path, (output, whole))
    assert sorted(tmp_path.iterdir()) == sorted(files)
