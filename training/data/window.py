"""Windows as `prepare` wrote them, in time order, read a row group at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from training.errors import StageError
from training.run.files import BUILD, read_texts
from training.run.matrix import Positions

# After the name of a field: the column of what the file held, before the past filled what was missing.
GIVEN = ".given"


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise StageError(f"{path} cannot be read; run prepare again: {error}") from error


class RowGroup(NamedTuple):
    """All rows of a row group, or those at some positions."""

    path: Path
    group: int
    positions: Positions | None
    n_rows: int

    def read(self, columns: Sequence[str]) -> pd.DataFrame:
        """The rows' columns; raises StageError where the file is absent or damaged."""
        with _readable(self.path), pq.ParquetFile(self.path) as file:
            rows = file.read_row_group(self.group, columns=list(columns), use_threads=False).to_pandas()
        return rows if self.positions is None else rows.iloc[self.positions]


class Window:
    """The file of a window, or those of several that follow each other."""

    def __init__(self, *paths: Path) -> None:
        """Read the files' metadata; raises StageError where one is absent or damaged."""
        # Workers may have another working directory.
        self.paths = [path.resolve() for path in paths]
        self._groups: list[tuple[Path, int, int]] = []
        for path in self.paths:
            with _readable(path):
                metadata = pq.read_metadata(path)
            sizes = (metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
            self._groups += [(path, group, size) for group, size in enumerate(sizes)]
        self.names = list(metadata.schema.names)

    @property
    def sizes(self) -> list[int]:
        """How many rows each row group has."""
        return [size for _, _, size in self._groups]

    def __len__(self) -> int:
        """How many rows."""
        return sum(self.sizes)

    def __getitem__(self, name: str) -> pd.Series:
        """One column, as pandas reads it."""
        columns = []
        for path in self.paths:
            with _readable(path):
                columns.append(pd.read_parquet(path, columns=[name])[name])
        return columns[0] if len(columns) == 1 else pd.concat(columns, ignore_index=True)

    def column(self, name: str) -> npt.NDArray[Any]:
        """One column, (n_rows,)."""
        values: npt.NDArray[Any] = self[name].to_numpy()
        return values

    def parts(self, positions: Positions | None = None) -> list[RowGroup]:
        """Its row groups; with `positions`, which must ascend, only the rows there."""
        if positions is None:
            return [RowGroup(path, group, None, size) for path, group, size in self._groups]
        starts = np.concatenate([[0], np.cumsum(self.sizes)])
        cuts = np.searchsorted(positions, starts)
        parts = (
            RowGroup(path, group, positions[first:last] - start, int(last - first))
            for (path, group, _), start, (first, last) in zip(self._groups, starts[:-1], pairwise(cuts), strict=True)
        )
        return [part for part in parts if part.n_rows]

    def spread(self, n_rows: int) -> pd.DataFrame:
        """At most `n_rows` of its rows, evenly spread."""
        step = max(-(-len(self) // n_rows), 1)
        parts = self.parts(np.arange(0, len(self), step))
        return pd.concat([part.read(self.names) for part in parts], ignore_index=True)

    def frames(self, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Its rows, a row group at a time."""
        for part in self.parts():
            yield part.read(columns)


def read_training(name: str, *later: str) -> tuple[Window, pd.DataFrame]:
    """A scorer's training window, with later ones if they are named, and its catalogue, as the stages wrote them."""
    folder = BUILD / name
    catalogue = read_texts(folder / "catalogue.csv")
    return Window(*(folder / "rows" / f"{window}.parquet" for window in ("train", *later))), catalogue
