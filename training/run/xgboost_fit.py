"""Local fit: XGBoost on this machine, its rows handed over a chunk at a time."""

import errno
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import xgboost
from filelock import FileLock, Timeout

from training.params import Compute
from training.run.files import BUILD
from training.run.matrix import FeatureMatrix, Matrix
from training.run.progress import ProgressCounter

# A bin, and as much again for where a row has it, if values are missing.
BYTES_A_VALUE = 8
# How the folders of pages are called, each with a lock that its run holds.
PAGES, LOCK = ".xgboost-", "lock"

Labels = npt.NDArray[np.int8]


class BatchIterator(xgboost.DataIter):
    """Rows and labels in batches, as XGBoost asks for them, several times over."""

    def __init__(
        self,
        batches: Callable[[], Iterator[tuple[Matrix, Labels]]],
        feature_types: Sequence[str],
        cache: str | None = None,
    ) -> None:
        """Keep what makes the batches anew; `cache` says where XGBoost keeps its own form of them, if on disk."""
        self._batches, self._feature_types = batches, feature_types
        self._iterator = batches()
        super().__init__(cache_prefix=cache)

    def next(self, input_data: Callable[..., Any]) -> bool:
        """Hand over the next batch; False where there is none."""
        if (batch := next(self._iterator, None)) is None:
            return False
        rows, label = batch
        input_data(data=rows, label=label, feature_types=self._feature_types)
        return True

    def reset(self) -> None:
        """Begin again."""
        self._iterator = self._batches()


class RoundProgress(xgboost.callback.TrainingCallback):
    """Tells how many rounds are done."""

    def __init__(self, total: int) -> None:
        """Begin to count."""
        self._counter = ProgressCounter("rounds", total)

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:  # noqa: ANN401, ARG002 - XGBoost's signature
        """Count one; False, because training goes on."""
        self._counter.add()
        return False

    def after_training(self, model: Any) -> Any:  # noqa: ANN401 - XGBoost's signature
        """The model as it is."""
        self._counter.close()
        return model


@dataclass(frozen=True)
class TrainingSet:
    """What a model learns from: encoded rows, their labels, and the synthetic frauds that follow them."""

    rows: FeatureMatrix
    label: Labels
    synthetic: FeatureMatrix

    def __len__(self) -> int:
        """How many rows in all."""
        return len(self.rows) + len(self.synthetic)

    def batches(self, size: int) -> Iterator[tuple[Matrix, Labels]]:
        """All of it, in batches of so many rows; only the last is smaller."""
        n_own = len(self.rows)
        for start in range(0, len(self), size):
            stop = min(start + size, len(self))
            own, label = self.rows[start:stop], self.label[start:stop]
            made = self.synthetic[max(start - n_own, 0) : max(stop - n_own, 0)]
            if len(made):
                own, label = np.concatenate([own, made]), np.append(label, np.ones(len(made), label.dtype))
            yield own, label


def fit_booster(parameters: dict[str, Any], rounds: int, lesson: TrainingSet, compute: Compute) -> xgboost.Booster:
    """The model of a lesson; `parameters` are XGBoost's, with the `feature_types`."""
    kinds = parameters["feature_types"]
    known = {key: value for key, value in parameters.items() if key != "feature_types"}
    described = {"enable_categorical": True, "nthread": parameters["n_jobs"]}

    def fitted(data: xgboost.DMatrix) -> xgboost.Booster:
        return xgboost.train(known, data, num_boost_round=rounds, callbacks=[RoundProgress(rounds)])

    def batches() -> Iterator[tuple[Matrix, Labels]]:
        return lesson.batches(compute.chunk_rows)

    if parameters["tree_method"] == "exact":
        ((matrix, label),) = lesson.batches(len(lesson))
        return fitted(xgboost.DMatrix(matrix, label, feature_types=kinds, **described))
    described["max_bin"] = parameters["max_bin"]
    if not compute.external_memory:
        return fitted(xgboost.QuantileDMatrix(BatchIterator(batches, kinds), **described))
    with _pages(len(lesson) * len(kinds) * BYTES_A_VALUE) as folder:
        return fitted(xgboost.ExtMemQuantileDMatrix(BatchIterator(batches, kinds, str(folder / "rows")), **described))


@contextmanager
def _pages(n_bytes: int) -> Iterator[Path]:
    """A folder for XGBoost's pages, for as long as the block lasts; what a killed run left there is gone first.

    Raises OSError where the disk has no room for them: XGBoost would end the process.
    """
    BUILD.mkdir(parents=True, exist_ok=True)
    for left in BUILD.glob(f"{PAGES}*"):
        _remove_unless_in_use(left)
    with TemporaryDirectory(prefix=PAGES, dir=BUILD) as folder, FileLock(Path(folder, LOCK)):
        if (free := shutil.disk_usage(folder).free) < n_bytes:
            raise OSError(errno.ENOSPC, f"external memory takes {n_bytes / 1e9:.1f} GB, {free / 1e9:.1f} are free")
        yield Path(folder)


def _remove_unless_in_use(folder: Path) -> None:
    # Without a lock file it is another run's, which is about to lock it.
    if (folder / LOCK).exists():
        with suppress(Timeout), FileLock(folder / LOCK, blocking=False):
            shutil.rmtree(folder, ignore_errors=True)
