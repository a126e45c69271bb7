"""Workers: tasks run in this machine's processes, results come in order, and failures are reported."""

import math
import os
import signal
from collections.abc import Iterator
from os import cpu_count
from pathlib import Path
from time import sleep

import numpy as np
import pytest
from joblib.externals.loky.process_executor import TerminatedWorkerError

from training.errors import StageError
from training.params import Compute
from training.run.engine import workers_of
from training.run.matrix import Matrix
from training.run.processes import Task, Workers, on_all_cores

pytestmark = pytest.mark.usefixtures("two_processes")


def rows_of(value: float, n_rows: int) -> Matrix:
    """`n_rows` rows of two features, all with this value."""
    return np.full((n_rows, 2), value, np.float32)


def end() -> None:
    """End this process as the system does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def workers() -> Workers:
    """Workers on this machine, with chunks of 1,000 rows."""
    return Workers(Compute(chunk_rows=1_000))


def test_results_come_in_order(workers: Workers, capsys: pytest.CaptureFixture[str]) -> None:
    """Results are in the order of tasks, and progress counts their rows."""
    tasks = [(range, number) for number in (40, 40, 20)]
    results = list(workers.spread(tasks, "rows", n_tasks=3, n_rows=100))
    assert results == [range(40), range(40), range(20)]
    assert capsys.readouterr().out.splitlines()[-1].startswith("rows: 100 of 100 rows")


def test_several_tasks_have_processes_of_their_own(workers: Workers) -> None:
    """Several tasks run in other processes than the stage's; a single task runs in this one."""
    several = workers.spread([(os.getpid,)] * 2, "tasks", n_tasks=2, n_rows=2, size=lambda _: 1)
    assert os.getpid() not in set(several)
    assert list(workers.spread([(os.getpid,)], "tasks", n_tasks=1, n_rows=1, size=lambda _: 1)) == [os.getpid()]


@pytest.mark.parametrize("n_tasks", [1, 3])
def test_an_error_of_what_makes_the_tasks_is_raised(workers: Workers, n_tasks: int) -> None:
    """A damaged file that is found while tasks are generated ends the stage with its sentence."""

    def tasks() -> Iterator[Task]:
        yield range, 1
        raise StageError("data/rows.csv is damaged")

    with pytest.raises(StageError, match=r"^data/rows.csv is damaged$"):
        list(workers.spread(tasks(), "rows", n_tasks=n_tasks, n_rows=3))


def test_few_tasks_run_ahead_of_the_consumer(workers: Workers) -> None:
    """If results are not consumed, only a few tasks are started; more could fill the memory."""
    begun = []

    def tasks() -> Iterator[Task]:
        for number in range(60):
            begun.append(number)
            yield range, number

    spread = workers.spread(tasks(), "rows", n_tasks=60, n_rows=60, size=lambda _: 1)
    assert [next(spread) for _ in range(3)] == [range(0), range(1), range(2)]
    sleep(1)
    assert len(begun) <= 3 + 2 * (cpu_count() or 1) + 1
    spread.close()


def test_an_error_of_a_task_is_raised(workers: Workers) -> None:
    """An error keeps its type and text, from another process too."""
    tasks = [(math.sqrt, 4.0), (math.sqrt, -1.0), (math.sqrt, 9.0)]
    with pytest.raises(ValueError, match="math domain error"):
        list(workers.spread(tasks, "roots", n_tasks=3, n_rows=3, size=lambda _: 1))


@pytest.mark.filterwarnings("ignore:A worker stopped:UserWarning")
def test_a_killed_process_raises_an_error(workers: Workers) -> None:
    """A killed process raises the error that `training.run.command` turns into one line."""
    with pytest.raises(TerminatedWorkerError):
        list(workers.spread([(end,), (end,)], "ends", n_tasks=2, n_rows=2, size=lambda _: 1))


@pytest.mark.parametrize("sizes", [[3], [3, 3, 2], [3, 0, 1]])
def test_features_are_those_of_all_tasks(workers: Workers, working_folder: Path, sizes: list[int]) -> None:
    """Features are in the order of tasks, in memory if they fit into one chunk, and on disk otherwise."""
    matrix = workers.encoded([(rows_of, float(number), size) for number, size in enumerate(sizes)], sizes, 2)
    expected = np.repeat(np.arange(len(sizes), dtype=np.float32), sizes)
    np.testing.assert_array_equal(matrix[:], np.stack([expected, expected], axis=1))
    assert (working_folder / "build").exists() == (len(sizes) > 1)


def test_the_declared_engine_is_used() -> None:
    """Tasks run in this machine's processes, unless a cluster is declared."""
    with workers_of(Compute(chunk_rows=2_000)) as workers:
        assert type(workers) is Workers
        assert workers.compute.chunk_rows == 2_000


def test_results_keep_the_order_of_the_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    """Results are in the order of tasks, whichever finishes first."""
    tasks = [(math.comb, 30_000 if number == 0 else 10, 5_000 if number == 0 else number) for number in range(6)]
    assert on_all_cores(tasks, "folds") == [math.comb(*numbers) for _, *numbers in tasks]
    assert capsys.readouterr().out.splitlines()[-1].startswith("folds: 6 of 6")


def test_tasks_run_in_processes_of_one_core() -> None:
    """A task runs in another process, whose libraries use a single core."""
    *processes, threads = on_all_cores([(os.getpid,), (os.getpid,), (os.getenv, "OMP_NUM_THREADS")], "folds")
    assert os.getpid() not in processes
    assert threads == "1"


def test_error_of_a_task_is_raised() -> None:
    """A task that fails fails the stage, with its own error."""
    with pytest.raises(ValueError, match="math domain error"):
        on_all_cores([(math.sqrt, 4.0), (math.sqrt, -1.0), (math.sqrt, 9.0)], "roots")


def test_no_tasks_have_no_results() -> None:
    """Without tasks there are no results."""
    assert on_all_cores([], "nothing") == []
