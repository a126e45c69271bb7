"""Quarantine: the rows that break the contract, as they came, with their reasons, in a file that grows by chunks."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pandas as pd

from training.data.row_checks import REJECTED_COLUMNS, require_enough
from training.data.source import CheckedChunk, RereadRows
from training.declaration import ScorerDeclaration

REPEATED = "was seen in an earlier row"


class QuarantineWriter:
    """Writes the file, and counts."""

    def __init__(self, path: Path, files: Sequence[str]) -> None:
        """Begin to write; each row says which one of the `files` of data it is of."""
        self._file = path.open("w", encoding="utf-8", newline="")
        self._files = files
        self._is_begun = False
        self.n_rows, self.n_bad = 0, 0
        self.counts: Counter[str] = Counter()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End writing."""
        self._file.close()

    def add(self, chunk: CheckedChunk) -> None:
        """Add a chunk's."""
        self.n_rows += chunk.n_drawn
        self.counts += chunk.counts
        self._write(chunk.quarantined, chunk.part, chunk.first)

    def add_repeated(self, again: RereadRows, name: str) -> None:
        """Add sound rows whose id was seen before their chunk; of rows that are here anyway the id is not told."""
        self.counts[f"{name}: {REPEATED}"] += len(again.rows)
        self._write(again.rows.assign(rejected_because=f"{name} {REPEATED}"), again.part, again.first)

    def _write(self, rows: pd.DataFrame, part: int, first: int) -> None:
        """Write rows; `first` is the place among all rows of the first one of their file."""
        told = rows.assign(rejected_part=self._files[part], rejected_row=rows.index - first + 1)
        told = told.reindex(columns=list(dict.fromkeys((*REJECTED_COLUMNS, *rows.columns))))
        told.to_csv(self._file, index=False, header=not self._is_begun)
        self._is_begun = True
        self.n_bad += len(rows)

    def require_enough(self, scorer: ScorerDeclaration) -> None:
        """Raise DataError where more rows are bad than declared."""
        require_enough(self.n_rows, self.n_bad, dict(sorted(self.counts.items())), scorer)
