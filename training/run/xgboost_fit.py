"""XGBoost trained on this machine, with rows passed to it a chunk at a time."""

import errno
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import xgboost
from filelock import FileLock, Timeout

from training.params import Compute
from training.run.files import BUILD
from training.run.matrix import FeatureMatrix, Labels, Matrix
from training.run.progress import ProgressCounter

# For a value's bin, and as much again for its position in the row if values are missing.
BYTES_A_VALUE = 8
# The prefix of the folders for pages, and the file in each that the run using it keeps locked.
PAGES, LOCK = ".xgboost-", "lock"


class BatchIterator(xgboost.DataIter):
    """Rows and labels in batches, which XGBoost reads several times."""

    def __init__(
        self,
        batches: Callable[[], Iterator[tuple[Matrix, Labels]]],
        feature_types: Sequence[str],
        cache: str | None = None,
    ) -> None:
        """Keep the function that restarts the batches; `cache` is the prefix of XGBoost's pages on disk, if any."""
        self._batches, self._feature_types = batches, feature_types
        self._iterator = batches()
        super().__init__(cache_prefix=cache)

    def next(self, input_data: Callable[..., Any]) -> bool:
        """Pass the next batch to XGBoost; False if there is none."""
        if (batch := next(self._iterator, None)) is None:
            return False
        rows, label = batch
        input_data(data=rows, label=label, feature_types=self._feature_types)
        return True

    def reset(self) -> None:
        """Start again with the first batch."""
        self._iterator = self._batches()


class RoundProgress(xgboost.callback.TrainingCallback):
    """Shows how many rounds are done."""

    def __init__(self, total: int) -> None:
        """Start the counter."""
        self._counter = ProgressCounter("rounds", total)

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:  # noqa: ANN401, ARG002 - XGBoost's signature
        """Count a round; False, because training continues."""
        self._counter.add()
        return False

    def after_training(self, model: Any) -> Any:  # noqa: ANN401 - XGBoost's signature
        """Close the counter, and return the model unchanged."""
        self._counter.close()
        return model


@dataclass(frozen=True)
class TrainingSet:
    """Encoded rows, their labels, and the synthetic frauds that follow them."""

    rows: FeatureMatrix
    label: Labels
    synthetic: FeatureMatrix

    def __len__(self) -> int:
        """The number of rows, synthetic frauds included."""
        return len(self.rows) + len(self.synthetic)

    def batches(self, size: int) -> Iterator[tuple[Matrix, Labels]]:
        """All rows and labels, in batches of `size` rows; only the last is smaller."""
        n_rows = len(self.rows)
        for start in range(0, len(self), size):
            stop = min(start + size, len(self))
            rows, label = self.rows[start:stop], self.label[start:stop]
            synthetic = self.synthetic[max(start - n_rows, 0) : max(stop - n_rows, 0)]
            if len(synthetic):
                rows, label = np.concatenate([rows, synthetic]), np.append(label, np.ones(len(synthetic), label.dtype))
            yield rows, label


def fit_booster(
    parameters: dict[str, Any], rounds: int, training_set: TrainingSet, compute: Compute
) -> xgboost.Booster:
    """The booster fitted to a training set; `parameters` are XGBoost's, with the `feature_types`."""
    feature_types = parameters["feature_types"]
    native_parameters = {key: value for key, value in parameters.items() if key != "feature_types"}
    options = {"enable_categorical": True, "nthread": parameters["n_jobs"]}

    def fitted(data: xgboost.DMatrix) -> xgboost.Booster:
        return xgboost.train(native_parameters, data, num_boost_round=rounds, callbacks=[RoundProgress(rounds)])

    def batches() -> Iterator[tuple[Matrix, Labels]]:
        return training_set.batches(compute.chunk_rows)

    if parameters["tree_method"] == "exact":
        ((matrix, label),) = training_set.batches(len(training_set))
        return fitted(xgboost.DMatrix(matrix, label, feature_types=feature_types, **options))
    options["max_bin"] = parameters["max_bin"]
    if not compute.external_memory:
        return fitted(xgboost.QuantileDMatrix(BatchIterator(batches, feature_types), **options))
    with _pages(len(training_set) * len(feature_types) * BYTES_A_VALUE) as folder:
        return fitted(
            xgboost.ExtMemQuantileDMatrix(BatchIterator(batches, feature_types, str(folder / "rows")), **options)
        )


@contextmanager
def _pages(n_bytes: int) -> Iterator[Path]:
    """A folder for XGBoost's pages while the block lasts; folders that killed runs left are removed first.

    Raises OSError if the disk has no room for the pages, because XGBoost would end the process.
    """
    BUILD.mkdir(parents=True, exist_ok=True)
    for folder in BUILD.glob(f"{PAGES}*"):
        _remove_unless_in_use(folder)
    with TemporaryDirectory(prefix=PAGES, dir=BUILD) as pages, FileLock(Path(pages, LOCK)):
        if (free := shutil.disk_usage(pages).free) < n_bytes:
            raise OSError(
                errno.ENOSPC, f"external memory needs {n_bytes / 1e9:.1f} GB, but only {free / 1e9:.1f} GB are free"
            )
        yield Path(pages)


def _remove_unless_in_use(folder: Path) -> None:
    # A folder without a lock file belongs to another run, which is about to lock it.
    if (folder / LOCK).exists():
        with suppress(Timeout), FileLock(folder / LOCK, blocking=False):
            shutil.rmtree(folder, ignore_errors=True)
