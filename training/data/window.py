"""Windows as `prepare` wrote them, in time order, read a row group at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from training.errors import StageError
from training.run.files import BUILD, read_text_table
from training.run.matrix import Positions

if TYPE_CHECKING:
    from training.declaration import ScorerDeclaration

# The suffix of a column that keeps a field's values as the file gave them, before the history filled in missing ones.
GIVEN = ".given"
# Through rounding, a sum of thirds may be slightly less than the whole number that it should be.
ROUNDING = 1e-6


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise StageError(f"{path} cannot be read; run prepare again: {error}") from error


def repeated(weight: npt.NDArray[np.floating[Any]]) -> Positions:
    """The position of each row of a window, repeated once for each request that the row stands for, ascending.

    Fractions carry over to the next rows: the repetitions of any run of consecutive rows differ from the sum of their
    weights by less than one. A row of weight 0 is part of the history, but nothing is learned from it.
    """
    ends = np.floor(np.cumsum(weight, dtype=np.float64) + ROUNDING).astype(np.intp)
    return np.repeat(np.arange(len(weight)), np.diff(ends, prepend=0))


def drawn_by(entity: pd.Series | None, copy_of: npt.NDArray[Any] | None) -> npt.NDArray[Any] | None:
    """The group that intervals draw each row of a window with: its entity, or the row it copies; None: no groups."""
    if entity is None or copy_of is None:
        return copy_of if entity is None else entity.to_numpy()
    # Copies of a row without an entity are still one row.
    values: npt.NDArray[Any] = entity.astype(object).where(entity.notna().to_numpy(), copy_of).to_numpy()
    return values


class RowGroup(NamedTuple):
    """All rows of a row group, or those at some positions."""

    path: Path
    group: int
    positions: Positions | None
    n_rows: int

    def read(self, columns: Sequence[str]) -> pd.DataFrame:
        """The rows' columns; raises StageError if the file is absent or damaged."""
        with _readable(self.path), pq.ParquetFile(self.path) as file:
            rows = file.read_row_group(self.group, columns=list(columns), use_threads=False).to_pandas()
        return rows if self.positions is None else rows.iloc[self.positions]


class Window:
    """The file of a window, or the files of several consecutive windows.

    `weight` is the column that says how many requests a row stands for; each row is then repeated that many times.
    """

    def __init__(self, *paths: Path, weight: str | None = None) -> None:
        """Read the files' metadata; raises StageError if one is absent or damaged."""
        # Workers may have another working directory.
        self.paths = [path.resolve() for path in paths]
        self._groups: list[tuple[Path, int, int]] = []
        for path in self.paths:
            with _readable(path):
                metadata = pq.read_metadata(path)
            sizes = (metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
            self._groups += [(path, group, size) for group, size in enumerate(sizes)]
        self.names = list(metadata.schema.names)
        self._repeated = repeated(self._stored(weight).to_numpy()) if weight else None

    @property
    def sizes(self) -> list[int]:
        """How many rows each row group has."""
        return [part.n_rows for part in self.parts()]

    def __len__(self) -> int:
        """The number of rows, repeated ones included."""
        return sum(self.sizes) if self._repeated is None else len(self._repeated)

    def __getitem__(self, name: str) -> pd.Series:
        """One column, as pandas reads it."""
        column = self._stored(name)
        return column if self._repeated is None else column.iloc[self._repeated].reset_index(drop=True)

    def drawn_by(self, entity: str | None) -> npt.NDArray[Any] | None:
        """The group that intervals draw each row with (the function `drawn_by`); `entity` is the entities' column."""
        return drawn_by(self[entity] if entity else None, self._repeated)

    def _stored(self, name: str) -> pd.Series:
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
        if self._repeated is not None:
            positions = self._repeated if positions is None else self._repeated[positions]
        if positions is None:
            return [RowGroup(path, group, None, size) for path, group, size in self._groups]
        starts = np.concatenate([[0], np.cumsum([size for _, _, size in self._groups])])
        cuts = np.searchsorted(positions, starts)
        parts = []
        for (path, group, size), start, (first, last) in zip(self._groups, starts[:-1], pairwise(cuts), strict=True):
            # Copies may be many times as many as a group's rows; a part with more rows than these might not fit into
            # memory.
            for begin in range(first, last, size):
                end = min(begin + size, last)
                parts.append(RowGroup(path, group, positions[begin:end] - start, int(end - begin)))
        return parts

    def spread(self, n_rows: int) -> pd.DataFrame:
        """At most `n_rows` of its rows, evenly spread."""
        step = max(-(-len(self) // n_rows), 1)
        parts = self.parts(np.arange(0, len(self), step))
        return pd.concat([part.read(self.names) for part in parts], ignore_index=True)

    def frames(self, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Its rows, a row group at a time."""
        for part in self.parts():
            yield part.read(columns)


def read_training(scorer: "ScorerDeclaration", name: str, *later: str) -> tuple[Window, pd.DataFrame]:
    """A scorer's training window, together with any `later` ones, and its catalogue, as the stages wrote them."""
    folder = BUILD / name
    catalogue = read_text_table(folder / "catalogue.csv")
    paths = (folder / "rows" / f"{window}.parquet" for window in ("train", *later))
    return Window(*paths, weight=scorer.split.weight), catalogue
