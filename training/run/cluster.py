"""Workers on a Dask cluster instead of in this machine's processes; what they do with a chunk is the same.

DASK_SCHEDULER_ADDRESS, which Dask itself reads, names the scheduler; without it a local cluster starts one process for
each core. When a worker is lost, Dask gives its unfinished tasks to another.
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
import xgboost
import xgboost.dask
from distributed import Client, Future, KilledWorker, LocalCluster, futures_of, wait
from distributed.comm.core import CommClosedError
from xgboost.collective import Config

from training.errors import StageError
from training.params import Compute
from training.run.matrix import FeatureMatrix, Matrix, Positions
from training.run.processes import Task, Workers
from training.run.progress import ProgressCounter, say
from training.run.provenance import code_version
from training.run.xgboost_fit import TrainingSet

CONNECT_SECONDS = 10
# How often a waiting task checks that there is a worker left.
POLL_SECONDS = 5
# XGBoost does not survive a lost worker; the fit starts again with the remaining ones.
ATTEMPTS = 3
# How long XGBoost's workers wait for each other before they begin; by default for ever, even if one was lost.
TRACKER_SECONDS = 30
# A chunk of a CSV file is sent with its task; by default Dask warns from 10 MB on.
LARGEST_TASK = "1GB"
NO_WORKER = "the cluster has no worker left; start some, then run the command again"
SCHEDULER_LOST = "the connection to the scheduler was lost; check that it is running, then run the command again"
# What Dask and XGBoost raise when a worker or the scheduler was lost, but also for other reasons.
POSSIBLY_LOST = (OSError, RuntimeError, ValueError, KilledWorker, futures.CancelledError, xgboost.core.XGBoostError)


class Partitions(FeatureMatrix):
    """A feature matrix whose chunks are in the memory of the workers."""

    def __init__(self, array: da.Array, chunk_rows: int, workers: "ClusterWorkers") -> None:
        """Keep a Dask array with a partition for each chunk."""
        super().__init__(array, chunk_rows)
        self._workers = workers

    @property
    def array(self) -> da.Array:
        """The Dask array."""
        return self._array

    def __getitem__(self, key: Any) -> Matrix:  # noqa: ANN401 - what numpy takes
        """A part of the matrix, such as [:, 3] or [positions], in the memory of this process."""
        return np.asarray(self._workers.result(self._workers.client.compute(self._array[key])))

    def at(self, positions: Positions) -> "Partitions":
        """A matrix of the rows at some positions, which stay with the workers."""
        array = self._workers.client.persist(self._array[positions])
        return Partitions(array, self._chunk_rows, self._workers)

    def by_chunk(self, function: Callable[[Matrix], Any]) -> list[Any]:
        """The function's result for each chunk, in order, computed by the workers."""
        delayed = [dask.delayed(function)(block) for block in self._array.to_delayed().ravel()]
        return [self._workers.result(future) for future in self._workers.client.compute(delayed)]


class ClusterWorkers(Workers):
    """The workers of a Dask cluster."""

    def __init__(self, compute: Compute, client: Client) -> None:
        """Keep the connection."""
        super().__init__(compute)
        self.client = client

    def result(self, future: Future) -> Any:  # noqa: ANN401 - whatever the task gives
        """The result of a task; raises StageError if no worker is left to run it."""
        return self._while_there_are_workers(future.result)

    def _await(self, future: Future) -> None:
        self._while_there_are_workers(lambda: wait(future))

    def _while_there_are_workers[T](self, work: Callable[[], T]) -> T:
        """The result of `work`; raises StageError if no worker is left, instead of waiting for ever as `work` does."""
        outcome: futures.Future[T] = futures.Future()

        def run() -> None:
            try:
                outcome.set_result(work())
            except BaseException as error:  # noqa: BLE001 - raised again by outcome.result()
                outcome.set_exception(error)

        Thread(target=run, daemon=True).start()
        while not futures.wait([outcome], POLL_SECONDS).done:
            self._require_worker()
        return outcome.result()

    def _addresses(self) -> set[str]:
        """The addresses of the current workers; raises StageError if the scheduler does not answer."""
        # Not scheduler_info(), which may omit the workers while Dask itself queries the scheduler.
        try:
            addresses = set(self.client.ncores()) if self.client.status == "running" else set()
        except OSError as error:
            raise StageError(SCHEDULER_LOST) from error
        if self.client.status != "running":
            raise StageError(SCHEDULER_LOST)
        return addresses

    def _require_worker(self) -> None:
        if not self._addresses():
            raise StageError(NO_WORKER)

    def _done(self, tasks: Iterator[Task], n_tasks: int) -> Iterator[Any]:  # noqa: ARG002 - the signature of Workers
        waiting: deque[Future] = deque()
        max_waiting = 2 * max(sum(self.client.ncores().values()), 1)
        try:
            for function, *arguments in tasks:
                waiting.append(self.client.submit(function, *arguments, pure=False))
                if len(waiting) > max_waiting:
                    yield self.result(waiting.popleft())
            while waiting:
                yield self.result(waiting.popleft())
        finally:
            # Dask does not stop running tasks; wait, so that none writes after this returns.
            with suppress(*POSSIBLY_LOST):
                for future in waiting:
                    self._await(future)

    def require_visible(self, folder: Path) -> None:
        """Raise StageError unless all workers see a folder."""
        _require_visible(self.client, folder)

    def encoded(
        self, tasks: Sequence[Task], sizes: Sequence[int], n_features: int, name: str = "features"
    ) -> FeatureMatrix:
        """The features that tasks return, (sum of sizes, n_features); the workers keep one partition for each task."""
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

    def fit(self, parameters: dict[str, Any], rounds: int, training_set: TrainingSet) -> xgboost.Booster:
        """The booster fitted to a training set; each worker reads its own partitions and uses all its threads."""
        for attempt in range(1, ATTEMPTS + 1):
            before = self._addresses()
            try:
                return self._while_there_are_workers(lambda: self._fit(parameters, rounds, training_set))
            except StageError:
                raise
            except POSSIBLY_LOST as error:
                remaining = self._remaining(before)
                lost = ", ".join(sorted(before - remaining))
                if not lost and isinstance(error, xgboost.core.XGBoostError):
                    raise StageError(f"XGBoost cannot train on the cluster: {error}") from error
                if not lost:
                    raise
                if not remaining:
                    raise StageError(NO_WORKER) from error
                if attempt == ATTEMPTS:
                    raise StageError(
                        f"workers were lost in {ATTEMPTS} attempts to train, at last {lost}: {error}"
                    ) from error
                say(f"{lost} was lost in training, which starts again with the remaining workers")
                self._await_idle(before & remaining)
        raise AssertionError

    def _remaining(self, before: set[str]) -> set[str]:
        """The workers after an error; the scheduler may notice a loss a little later than XGBoost."""
        end = monotonic() + POLL_SECONDS
        while before <= (remaining := self._addresses()) and monotonic() < end:
            sleep(0.1)
        return remaining

    def _await_idle(self, addresses: Collection[str]) -> None:
        """Wait until workers have finished their running tasks, which Dask does not stop."""
        for address in addresses:
            self._await(self.client.submit(bool, workers=[address], allow_other_workers=True, pure=False))

    def _fit(self, parameters: dict[str, Any], rounds: int, training_set: TrainingSet) -> xgboost.Booster:
        arrays = [self._array(matrix) for matrix in (training_set.rows, training_set.synthetic) if len(matrix)]
        rows = da.concatenate(arrays)
        label = np.append(training_set.label, np.ones(len(training_set.synthetic), training_set.label.dtype))
        partitions, start = [], 0
        for size in rows.chunks[0]:
            (future,) = self.client.scatter([label[start : start + size]])
            partitions.append(da.from_delayed(future, (size,), label.dtype))
            start += size
        dask_parameters = {key: value for key, value in parameters.items() if key not in {"feature_types", "n_jobs"}}
        data = xgboost.dask.DaskQuantileDMatrix(
            self.client,
            rows,
            da.concatenate(partitions),
            feature_types=parameters["feature_types"],
            enable_categorical=True,
            max_bin=parameters["max_bin"],
        )
        say(f"{rounds} rounds on {len(self._addresses())} workers; their progress cannot be shown")
        config = Config(tracker_timeout=TRACKER_SECONDS)
        trained = xgboost.dask.train(self.client, dask_parameters, data, num_boost_round=rounds, coll_cfg=config)
        booster: xgboost.Booster = trained["booster"]
        return booster

    def _array(self, matrix: FeatureMatrix) -> da.Array:
        if isinstance(matrix, Partitions):
            return matrix.array
        return da.from_array(matrix[:], chunks=(self.compute.chunk_rows, -1))


@contextmanager
def cluster(compute: Compute) -> Iterator[ClusterWorkers]:
    """The declared cluster, for as long as the block lasts.

    Raises StageError if it cannot be reached, has no workers or runs other code, or if the connection is lost.
    """
    address = dask.config.get("scheduler-address", None)
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": LARGEST_TASK}), _client(address) as client:
        try:
            _require_workers(client, address)
            yield ClusterWorkers(compute, client)
        except StageError:
            raise
        except (KilledWorker, futures.CancelledError) as error:
            raise StageError(f"the connection to the cluster was lost: {error}") from error
        except POSSIBLY_LOST as error:
            if client.status == "running" and not isinstance(error, CommClosedError):
                raise
            raise StageError(SCHEDULER_LOST) from error


@contextmanager
def _client(address: str | None) -> Iterator[Client]:
    if address is None:
        try:
            local = LocalCluster(
                n_workers=joblib.cpu_count(), threads_per_worker=1, dashboard_address=None, silence_logs=logging.ERROR
            )
        # If the machine or the user's configuration of Dask is at fault, the type of the error depends on the setting.
        except Exception as error:
            raise StageError(
                f"Dask cannot start a cluster on this machine: {error}; check its settings (DASK_CONFIG, "
                "~/.config/dask, DASK_... variables), such as temporary-directory, or use the engine local"
            ) from error
        with local, Client(local) as client:
            yield client
        return
    try:
        client = Client(address, timeout=CONNECT_SECONDS)
    except (OSError, TimeoutError, ValueError) as error:
        raise StageError(
            f"DASK_SCHEDULER_ADDRESS is {address}, where no scheduler answers within {CONNECT_SECONDS} seconds; it "
            f"must be the address of a running scheduler, such as tcp://10.0.0.7:8786: {error}"
        ) from error
    with client:
        yield client


# Here and not in provenance: a worker that unpickles it imports this module, and so all that the tasks need.
@cache
def loaded_version() -> str:
    """The `code_version` at the first call in this process; loaded code stays the same if its files change later."""
    return code_version()


def _require_workers(client: Client, address: str | None) -> None:
    """Raise StageError unless there are workers, and all of them run this code and see this folder."""
    try:
        client.wait_for_workers(1, timeout=CONNECT_SECONDS)
    except TimeoutError as error:
        raise StageError(f"the scheduler at {address} has no workers; start some: dask worker {address}") from error
    for worker, version in client.run(loaded_version, on_error="return").items():
        if isinstance(version, BaseException):
            raise StageError(
                f"worker {worker} cannot import this project ({version}); start it in the project's folder, with its "
                f"environment: PYTHONPATH=. .venv/bin/dask worker {address}"
            )
        if version != code_version():
            raise StageError(
                f"worker {worker} has other code or other locked packages than this process; update it, and start it "
                "again"
            )
    _require_visible(client, Path.cwd())


def _require_visible(client: Client, folder: Path) -> None:
    for worker, exists in client.run(Path.exists, folder).items():
        if not exists:
            raise StageError(
                f"worker {worker} cannot see {folder}; the folder must have the same path on every machine, as on a "
                "shared file system"
            )
