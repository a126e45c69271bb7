"""Chunked: a matrix of features that is looked at by chunks of its rows, by column, or at some of its rows.

It need not fit into memory; what is in it then lies in a file that has no name.
"""

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


class FeatureMatrix:
    """A matrix, (n_rows, n_features) float32, NaN = missing, in chunks of so many rows."""

    def __init__(self, array: Any, chunk_rows: int) -> None:  # noqa: ANN401 - numpy's, or one that behaves like it
        """Keep the array."""
        self._array = array
        self._chunk_rows = chunk_rows

    @property
    def shape(self) -> tuple[int, int]:
        """How many rows and how many features."""
        n_rows, n_features = self._array.shape
        return n_rows, n_features

    def __len__(self) -> int:
        """How many rows."""
        return self.shape[0]

    def __getitem__(self, key: Any) -> Matrix:  # noqa: ANN401 - what numpy takes
        """A part of it, such as [:, 3] or [positions], in memory."""
        return np.asarray(self._array[key])

    def chunks(self) -> Iterator[Matrix]:
        """Its rows, a chunk at a time."""
        for start in range(0, max(len(self), 1), self._chunk_rows):
            yield self[start : start + self._chunk_rows]

    def at(self, positions: npt.NDArray[np.intp]) -> "FeatureMatrix":
        """The rows at some positions, as another one."""
        return FeatureMatrix(self[positions], self._chunk_rows)

    def by_chunk(self, function: Callable[[Matrix], Any]) -> list[Any]:
        """What a function says of each chunk, in order."""
        return [function(chunk) for chunk in self.chunks()]


def by_chunk(matrix: Matrix | FeatureMatrix, function: Callable[[Matrix], Any]) -> list[Any]:
    """What a function says of each chunk of a matrix; one that is in memory is a single chunk."""
    return [function(matrix)] if isinstance(matrix, np.ndarray) else matrix.by_chunk(function)


def on_disk(parts: Iterable[Matrix], shape: tuple[int, int]) -> Matrix:
    """Parts of a matrix, in order, as one in a file without a name: it is gone with the process, however that ends.

    Raises OSError where the disk has no room for it, before anything is written.
    """
    BUILD.mkdir(exist_ok=True)
    with TemporaryFile(dir=BUILD) as file:
        n_bytes = max(shape[0] * shape[1], 1) * np.dtype(np.float32).itemsize
        # Now, because a mapped file that finds the disk full later ends the process without a word.
        os.posix_fallocate(file.fileno(), 0, n_bytes)
        array = np.memmap(file, np.float32, "r+", shape=shape)
    start = 0
    for part in parts:
        array[start : start + len(part)] = part
        start += len(part)
    if start != shape[0]:
        raise ValueError(f"{start:,} rows came, {shape[0]:,} were announced")
    return array
