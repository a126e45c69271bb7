"""Workers that run a stage's tasks in processes of this machine, on chunks of rows or with one task on each core.

`training.run.cluster` has the counterpart on a Dask cluster.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import wait
from functools import cached_property
from pathlib import Path
from threading import Thread
from time import sleep
from typing import TYPE_CHECKING, Any

import joblib
from joblib import Parallel, delayed
from joblib.externals.loky import ProcessPoolExecutor

from training.params import Compute
from training.run.matrix import FeatureMatrix, on_disk
from training.run.progress import progress

if TYPE_CHECKING:
    from xgboost import Booster

    from training.run.xgboost_fit import TrainingSet

# A process without work ends after this time.
IDLE_SECONDS = 60
# Each process has a core of its own, so its libraries use one thread.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

type Task = tuple[Callable[..., Any], *tuple[Any, ...]]


def end_with(owner: int) -> None:
    """End this process when its parent ends; a killed parent cannot stop the processes that it started.

    Called when a process starts, because one that still waits for its first task would otherwise wait for ever.
    """

    def watch() -> None:
        while os.getppid() == owner:
            sleep(1)
        os._exit(1)

    Thread(target=watch, daemon=True).start()


class Workers:
    """The processes of this machine."""

    def __init__(self, compute: Compute, n_processes: int | None = None) -> None:
        """Keep the declaration; by default there is one process for each core; with 1, this process does the work."""
        self.compute, self._n_processes = compute, n_processes or joblib.cpu_count()

    def spread(
        self, tasks: Iterable[Task], name: str, *, n_tasks: int, n_rows: int, size: Callable[[Any], int] = len
    ) -> Iterator[Any]:
        """The results of tasks (function, arguments), in order, as they finish; `size` counts the rows of a result.

        Only a few tasks are running, or finished and not yet consumed, at any time.
        """
        done = self._done(iter(tasks), n_tasks)
        yield from done if n_tasks == 1 else progress(done, name, total=n_rows, size=size, unit="rows")

    def _done(self, tasks: Iterator[Task], n_tasks: int) -> Iterator[Any]:
        n_jobs = min(self._n_processes, max(n_tasks, 1))
        if n_jobs == 1:
            # For a single task, starting a process would take longer than the task.
            yield from (function(*arguments) for function, *arguments in tasks)
            return
        waiting: deque[Any] = deque()
        try:
            for function, *arguments in tasks:
                waiting.append(self._executor.submit(function, *arguments))
                if len(waiting) > 2 * n_jobs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # Wait for the tasks that can no longer be cancelled, so that none writes after this returns.
            wait([future for future in waiting if not future.cancel()])

    @cached_property
    def _executor(self) -> Any:  # noqa: ANN401 - joblib has no types
        # joblib's own loop would not wait until results are consumed, and they would fill the memory.
        return ProcessPoolExecutor(
            self._n_processes, initializer=end_with, initargs=(os.getpid(),), env=ONE_THREAD, timeout=IDLE_SECONDS
        )

    def require_visible(self, folder: Path) -> None:
        """Raise StageError unless all workers see a folder; the processes of one machine always do."""

    def encoded(
        self, tasks: Sequence[Task], sizes: Sequence[int], n_features: int, name: str = "features"
    ) -> FeatureMatrix:
        """The features that tasks return, (sum of sizes, n_features): in memory if they are one chunk, else on disk."""
        if len(tasks) == 1:
            ((function, *arguments),) = tasks
            array = function(*arguments)
        else:
            chunks = self.spread(tasks, name, n_tasks=len(tasks), n_rows=sum(sizes))
            array = on_disk(chunks, (sum(sizes), n_features))
        return FeatureMatrix(array, self.compute.chunk_rows)

    def fit(self, parameters: dict[str, Any], rounds: int, training_set: "TrainingSet") -> "Booster":
        """The booster fitted to a training set."""
        # XGBoost takes a second to import in each process, and most of them fit nothing.
        from training.run.xgboost_fit import fit_booster  # noqa: PLC0415

        return fit_booster(parameters, rounds, training_set, self.compute)


def on_all_cores(tasks: Sequence[tuple[Callable[..., Any], *tuple[Any, ...]]], name: str) -> list[Any]:
    """The results of tasks (function, arguments), in order; each task has a process of its own with one core."""
    jobs = (delayed(function)(*arguments) for function, *arguments in tasks)
    results = Parallel(n_jobs=-1, return_as="generator")(jobs)
    return list(progress(results, name, total=len(tasks)))
