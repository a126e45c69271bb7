"""Quarantine: the rows that break the contract, as they came, with their reasons, in a file that grows by chunks."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pandas as pd

from training.checked import require_enough
from training.declaration import Scorer
from training.source import Again, CheckedChunk

# With a space, as no field's name has it.
PART = "data file"
REPEATED = "was seen in an earlier row"


class Quarantine:
    """Writes the file, and counts."""

    def __init__(self, path: Path, files: Sequence[str]) -> None:
        """Begin to write; with several `files` of data each row says which one it is of."""
        self._file = path.open("w", encoding="utf-8", newline="")
        self._files = files if len(files) > 1 else ()
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

    def add_repeated(self, again: Again, name: str) -> None:
        """Add sound rows whose id was seen before their chunk; of rows that are here anyway the id is not told."""
        self.counts[f"{name}: {REPEATED}"] += len(again.rows)
        self._write(again.rows.assign(reason=f"{name} {REPEATED}"), again.part, again.first)

    def _write(self, rows: pd.DataFrame, part: int, first: int) -> None:
        """Write rows; `first` is the place among all rows of the first one of their file."""
        told = rows.set_axis(rows.index - first, axis="index")
        if self._files:
            told.insert(0, PART, self._files[part])
        told.to_csv(self._file, index_label="row", header=not self._is_begun)
        self._is_begun = True
        self.n_bad += len(rows)

    def require_enough(self, scorer: Scorer) -> None:
        """Raise DataError where more rows are bad than declared."""
        require_enough(self.n_rows, self.n_bad, dict(sorted(self.counts.items())), scorer)
