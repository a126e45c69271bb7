"""Feature matrices: chunks hold all rows, and a matrix on disk leaves no file behind."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.run.matrix import FeatureMatrix, Matrix, by_chunk, on_disk


def matrix_of(n_rows: int) -> Matrix:
    """`n_rows` rows of three features, the second missing in every other row."""
    matrix = np.arange(3 * n_rows, dtype=np.float32).reshape(n_rows, 3)
    matrix[::2, 1] = np.nan
    return matrix


@given(n_rows=st.integers(0, 30), chunk_rows=st.integers(1, 12))
def test_chunks_are_the_rows(n_rows: int, chunk_rows: int) -> None:
    """All chunks but the last have the declared size; a matrix without rows is one empty chunk."""
    matrix = matrix_of(n_rows)
    chunks = list(FeatureMatrix(matrix, chunk_rows).chunks())
    np.testing.assert_array_equal(np.concatenate(chunks), matrix)
    assert {len(chunk) for chunk in chunks[:-1]} <= {chunk_rows}
    assert len(chunks[-1]) <= chunk_rows
    assert len(chunks) == max(-(-n_rows // chunk_rows), 1)


def test_parts_are_those_of_the_array() -> None:
    """Columns, chosen rows and slices equal numpy's, in memory."""
    matrix = matrix_of(10)
    chunked = FeatureMatrix(matrix, 4)
    for key in ((slice(None), 1), np.array([7, 2]), slice(3, 6), (slice(None, None, 3),)):
        np.testing.assert_array_equal(chunked[key], matrix[key])
    assert (chunked.shape, len(chunked)) == ((10, 3), 10)


def test_a_function_sees_each_chunk() -> None:
    """The function is called with each chunk in order; a matrix in memory is a single chunk."""
    matrix = matrix_of(10)
    assert by_chunk(FeatureMatrix(matrix, 4), len) == [4, 4, 2]
    assert by_chunk(matrix, len) == [10]


@pytest.mark.parametrize("n_rows", [0, 1, 10])
def test_disk_holds_the_parts(working_folder: Path, n_rows: int) -> None:
    """Parts become one writable matrix whose file is deleted already."""
    matrix = matrix_of(n_rows)
    matrix_on_disk = on_disk((matrix[start : start + 4] for start in range(0, n_rows, 4)), (n_rows, 3))
    np.testing.assert_array_equal(matrix_on_disk, matrix)
    assert matrix_on_disk.dtype == np.float32
    matrix_on_disk[:] = 1
    assert list((working_folder / "build").iterdir()) == []


def test_a_full_disk_is_refused_before_anything_is_computed(
    working_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If there is no room for all parts, not even the first is computed, and no file is left."""
    made = []

    def parts() -> Iterator[Matrix]:
        made.append(1)
        yield matrix_of(10)

    def full(_file: int, _start: int, n_bytes: int) -> None:
        assert n_bytes == 10 * 3 * 4
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left on device"):
        on_disk(parts(), (10, 3))
    assert made == []
    assert list((working_folder / "build").iterdir()) == []
