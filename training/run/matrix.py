"""A feature matrix in memory or in an unlinked temporary file, read in row chunks, by column or by position."""

import os
from collections.abc import Callable, Iterable, Iterator
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import numpy.typing as npt

from training.run.files import BUILD

Matrix = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float64]
Positions = npt.NDArray[np.intp]


class FeatureMatrix:
    """A matrix, (n_rows, n_features) float32, NaN = missing, that is read in chunks of `chunk_rows` rows."""

    def __init__(self, array: Any, chunk_rows: int) -> None:  # noqa: ANN401 - numpy's, or one that behaves like it
        """Keep the array."""
        self._array = array
        self._chunk_rows = chunk_rows

    @property
    def shape(self) -> tuple[int, int]:
        """The number of rows and of features."""
        n_rows, n_features = self._array.shape
        return n_rows, n_features

    def __len__(self) -> int:
        """The number of rows."""
        return self.shape[0]

    def __getitem__(self, key: Any) -> Matrix:  # noqa: ANN401 - what numpy takes
        """A part of the matrix, such as [:, 3] or [positions], in memory."""
        return np.asarray(self._array[key])

    def chunks(self) -> Iterator[Matrix]:
        """The rows, a chunk at a time; without rows one empty chunk."""
        for start in range(0, max(len(self), 1), self._chunk_rows):
            yield self[start : start + self._chunk_rows]

    def at(self, positions: Positions) -> "FeatureMatrix":
        """A matrix of the rows at some positions."""
        return FeatureMatrix(self[positions], self._chunk_rows)

    def by_chunk(self, function: Callable[[Matrix], Any]) -> list[Any]:
        """The function's result for each chunk, in order."""
        return [function(chunk) for chunk in self.chunks()]


def by_chunk(matrix: Matrix | FeatureMatrix, function: Callable[[Matrix], Any]) -> list[Any]:
    """The function's result for each chunk of a matrix; an array is a single chunk."""
    return [function(matrix)] if isinstance(matrix, np.ndarray) else matrix.by_chunk(function)


def on_disk(parts: Iterable[Matrix], shape: tuple[int, int]) -> Matrix:
    """The parts, in order, as one matrix in an unlinked file, which disappears with the process however it ends.

    Raises OSError before anything is written if the disk has no room for it.
    """
    BUILD.mkdir(exist_ok=True)
    with TemporaryFile(dir=BUILD) as file:
        n_bytes = max(shape[0] * shape[1], 1) * np.dtype(np.float32).itemsize
        # Reserved now: if the disk is full, writing to a mapped file kills the process without a message.
        os.posix_fallocate(file.fileno(), 0, n_bytes)
        array = np.memmap(file, np.float32, "r+", shape=shape)
    start = 0
    for part in parts:
        array[start : start + len(part)] = part
        start += len(part)
    if start != shape[0]:
        raise ValueError(f"the parts hold {start:,} rows; {shape[0]:,} were expected")
    return array
