"""Cluster: Dask's workers in the place of this machine's processes; what they do with a chunk is the same.

The scheduler is the one that DASK_SCHEDULER_ADDRESS names, as Dask itself has it; without it a process for each core
of this machine. A worker that is lost costs what it was at: Dask gives it to another.
"""

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from typing import Any

import dask
import dask.array as da
import joblib
import numpy as np
import numpy.typing as npt
import xgboost
import xgboost.dask
from distributed import Client, Future, KilledWorker, LocalCluster, futures_of, wait
from distributed.comm.core import CommClosedError
from xgboost.collective import Config

from training.errors import StageError
from training.params import Compute
from training.run.matrix import FeatureMatrix, Matrix
from training.run.processes import Task, Workers
from training.run.progress import ProgressCounter, say
from training.run.provenance import code_version
from training.run.xgboost_fit import TrainingSet

CONNECT_SECONDS = 10
# How long nothing may be heard of a task before it is asked whether there is a worker left.
LOOK_SECONDS = 5
# XGBoost does not survive a lost worker; the fit begins anew with those that are left.
ATTEMPTS = 3
# How long XGBoost's workers wait for each other before they begin: for ever, if one was lost, were it not for this.
MEET_SECONDS = 30
# A chunk of a CSV travels with its task; Dask warns from 10 MB on.
LARGEST_TASK = "1GB"
NO_WORKER = "the cluster has no worker left; start some, and run this again"
SCHEDULER_LOST = "the scheduler was lost on the way; start one, and run this again"
# What Dask and XGBoost raise where a worker or the scheduler was lost, and for other reasons.
LOST = (OSError, RuntimeError, ValueError, KilledWorker, futures.CancelledError, xgboost.core.XGBoostError)


class ClusterError(StageError):
    """Raised when the cluster cannot be reached, runs other code, or has lost its workers."""


class Partitions(FeatureMatrix):
    """A matrix whose chunks lie with the workers."""

    def __init__(self, array: da.Array, chunk_rows: int, workers: "ClusterWorkers") -> None:
        """Keep Dask's array, which has a partition for each chunk."""
        super().__init__(array, chunk_rows)
        self._workers = workers

    @property
    def array(self) -> da.Array:
        """Dask's array."""
        return self._array

    def __getitem__(self, key: Any) -> Matrix:  # noqa: ANN401 - what numpy takes
        """A part of it, such as [:, 3] or [positions], in the memory of this process."""
        return np.asarray(self._workers.result(self._workers.client.compute(self._array[key])))

    def at(self, positions: npt.NDArray[np.intp]) -> "Partitions":
        """The rows at some positions, as another one; they stay with the workers."""
        array = self._workers.client.persist(self._array[positions])
        return Partitions(array, self._chunk_rows, self._workers)

    def by_chunk(self, function: Callable[[Matrix], Any]) -> list[Any]:
        """What a function says of each chunk, in order; the workers ask it."""
        asked = [dask.delayed(function)(block) for block in self._array.to_delayed().ravel()]
        return [self._workers.result(future) for future in self._workers.client.compute(asked)]


class ClusterWorkers(Workers):
    """The workers of a Dask cluster."""

    def __init__(self, compute: Compute, client: Client) -> None:
        """Keep the connection."""
        super().__init__(compute)
        self.client = client

    def result(self, future: Future) -> Any:  # noqa: ANN401 - whatever the task gives
        """What a task gives; raises ClusterError where no worker is left to do it."""
        return self._unless_deserted(future.result)

    def _await(self, future: Future) -> None:
        self._unless_deserted(lambda: wait(future))

    def _unless_deserted[T](self, work: Callable[[], T]) -> T:
        """What work gives that would itself wait for ever where no worker is left."""
        given: futures.Future[T] = futures.Future()

        def do() -> None:
            try:
                given.set_result(work())
            except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
                given.set_exception(error)

        Thread(target=do, daemon=True).start()
        while not futures.wait([given], LOOK_SECONDS).done:
            self._require_one()
        return given.result()

    def _addresses(self) -> set[str]:
        """The workers that there are now; raises ClusterError where there is no scheduler to ask."""
        # Not scheduler_info(): what Dask asks for itself at the same moment may leave it without the workers.
        try:
            found = set(self.client.ncores()) if self.client.status == "running" else set()
        except OSError as error:
            raise ClusterError(SCHEDULER_LOST) from error
        if self.client.status != "running":
            raise ClusterError(SCHEDULER_LOST)
        return found

    def _require_one(self) -> None:
        if not self._addresses():
            raise ClusterError(NO_WORKER)

    def _done(self, tasks: Iterator[Task], n_tasks: int) -> Iterator[Any]:  # noqa: ARG002 - as on one machine
        waiting: deque[Future] = deque()
        most = 2 * max(sum(self.client.ncores().values()), 1)
        try:
            for function, *arguments in tasks:
                waiting.append(self.client.submit(function, *arguments, pure=False))
                if len(waiting) > most:
                    yield self.result(waiting.popleft())
            while waiting:
                yield self.result(waiting.popleft())
        finally:
            # Dask does not stop what has begun: nothing is written behind the back of whoever goes on.
            with suppress(*LOST):
                for future in waiting:
                    self._await(future)

    def require_seen(self, folder: Path) -> None:
        """Raise ClusterError unless all workers see a folder."""
        _require_seen(self.client, folder)

    def encoded(
        self, tasks: Sequence[Task], sizes: Sequence[int], n_features: int, name: str = "features"
    ) -> FeatureMatrix:
        """The features that tasks give, (sum of sizes, n_features), a partition each, which the workers keep."""
        blocks = [
            da.from_delayed(dask.delayed(function, pure=False)(*arguments), (size, n_features), np.float32)
            for (function, *arguments), size in zip(tasks, sizes, strict=True)
        ]
        array = self.client.persist(da.concatenate(blocks))
        counter = ProgressCounter(name, sum(sizes), "rows")
        for future, size in zip(futures_of(array), sizes, strict=True):
            self._await(future)
            if future.status == "error":
                future.result()
            counter.add(size)
        counter.close()
        return Partitions(array, self.compute.chunk_rows, self)

    def fit(self, parameters: dict[str, Any], rounds: int, lesson: TrainingSet) -> xgboost.Booster:
        """XGBoost's model of a lesson, each worker with the partitions that it has and with all its threads."""
        for attempt in range(1, ATTEMPTS + 1):
            before = self._addresses()
            try:
                return self._unless_deserted(lambda: self._fit(parameters, rounds, lesson))
            except StageError:
                raise
            except LOST as error:
                left = self._left_of(before)
                lost = ", ".join(sorted(before - left))
                if not lost and isinstance(error, xgboost.core.XGBoostError):
                    raise ClusterError(f"XGBoost cannot train on the cluster: {error}") from error
                if not lost:
                    raise
                if not left:
                    raise ClusterError(NO_WORKER) from error
                if attempt == ATTEMPTS:
                    raise ClusterError(f"workers were lost in training, {lost}: {error}") from error
                say(f"{lost} was lost in training; it begins anew with the workers that are left")
                self._free(before & left)
        raise AssertionError

    def _left_of(self, before: set[str]) -> set[str]:
        """The workers that there are after an error; the scheduler may learn a little later than XGBoost of a loss."""
        end = monotonic() + LOOK_SECONDS
        while before <= (left := self._addresses()) and monotonic() < end:
            sleep(0.1)
        return left

    def _free(self, addresses: Collection[str]) -> None:
        """Wait until workers have ended what they were at: Dask does not stop it."""
        for address in addresses:
            self._await(self.client.submit(bool, workers=[address], allow_other_workers=True, pure=False))

    def _fit(self, parameters: dict[str, Any], rounds: int, lesson: TrainingSet) -> xgboost.Booster:
        own, made = (self._array(matrix) for matrix in (lesson.rows, lesson.synthetic))
        rows = da.concatenate([one for one in (own, made) if len(one)])
        labels, start = [], 0
        whole = np.concatenate([lesson.label, np.ones(len(lesson.synthetic), lesson.label.dtype)])
        for size in rows.chunks[0]:
            (future,) = self.client.scatter([whole[start : start + size]])
            labels.append(da.from_delayed(future, (size,), whole.dtype))
            start += size
        known = {key: value for key, value in parameters.items() if key not in {"feature_types", "n_jobs"}}
        data = xgboost.dask.DaskQuantileDMatrix(
            self.client,
            rows,
            da.concatenate(labels),
            feature_types=parameters["feature_types"],
            enable_categorical=True,
            max_bin=parameters["max_bin"],
        )
        say(f"{rounds} rounds on {len(self._addresses())} workers, which do not tell how far they are")
        found = xgboost.dask.train(
            self.client, known, data, num_boost_round=rounds, coll_cfg=Config(tracker_timeout=MEET_SECONDS)
        )
        booster: xgboost.Booster = found["booster"]
        return booster

    def _array(self, matrix: FeatureMatrix) -> da.Array:
        if isinstance(matrix, Partitions):
            return matrix.array
        return da.from_array(matrix[:], chunks=(self.compute.chunk_rows, -1))


@contextmanager
def cluster(compute: Compute) -> Iterator[ClusterWorkers]:
    """The declared cluster, for as long as the block lasts.

    Raises ClusterError where it cannot be reached, has no workers, runs other code, or is lost on the way.
    """
    address = dask.config.get("scheduler-address", None)
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": LARGEST_TASK}), _client(address) as client:
        try:
            _require_workers(client, address)
            yield ClusterWorkers(compute, client)
        except StageError:
            raise
        except (KilledWorker, futures.CancelledError) as error:
            raise ClusterError(f"the cluster was lost on the way: {error}") from error
        except LOST as error:
            if client.status == "running" and not isinstance(error, CommClosedError):
                raise
            raise ClusterError(SCHEDULER_LOST) from error


@contextmanager
def _client(address: str | None) -> Iterator[Client]:
    if address is None:
        local = LocalCluster(
            n_workers=joblib.cpu_count(), threads_per_worker=1, dashboard_address=None, silence_logs=logging.ERROR
        )
        with local, Client(local) as client:
            yield client
        return
    try:
        client = Client(address, timeout=CONNECT_SECONDS)
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError(
            f"DASK_SCHEDULER_ADDRESS is {address}, where no scheduler answers within {CONNECT_SECONDS} seconds; it "
            f"must be one such as tcp://10.0.0.7:8786: {error}"
        ) from error
    with client:
        yield client


@cache
def loaded_version() -> str:
    """The `code_version` when this process was first asked: its files may be others now, what it has loaded is not."""
    return code_version()


def _require_workers(client: Client, address: str | None) -> None:
    """Raise ClusterError unless there are workers that run this code and see these files."""
    try:
        client.wait_for_workers(1, timeout=CONNECT_SECONDS)
    except TimeoutError as error:
        raise ClusterError(f"the scheduler at {address} has no workers; start some: dask worker {address}") from error
    for worker, version in client.run(loaded_version, on_error="return").items():
        if isinstance(version, BaseException):
            raise ClusterError(
                f"worker {worker} cannot import this project ({version}); start it in the project's folder, with its "
                f"environment: PYTHONPATH=. .venv/bin/dask worker {address}"
            )
        if version != code_version():
            raise ClusterError(
                f"worker {worker} has other code, or other locked packages; bring it up to date, and start it again"
            )
    _require_seen(client, Path.cwd())


def _require_seen(client: Client, folder: Path) -> None:
    for worker, is_there in client.run(Path.exists, folder).items():
        if not is_there:
            raise ClusterError(
                f"worker {worker} does not see {folder}; it must lie at one place for all, such as a shared file system"
            )
