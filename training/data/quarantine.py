"""The quarantine file: rows that break the contract, unchanged, with their reasons, written chunk by chunk."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pandas as pd

from training.data.checked_source import CheckedChunk, RereadRows
from training.data.column_checks import REPEATED
from training.data.row_checks import REJECTED_COLUMNS, require_few_bad_rows
from training.declaration import ScorerDeclaration


class QuarantineWriter:
    """Writes the file and counts rows and reasons."""

    def __init__(self, path: Path, files: Sequence[str]) -> None:
        """Create the file; each row in it says which of `files` it comes from."""
        self._file = path.open("w", encoding="utf-8", newline="")
        self._files = files
        self._is_begun = False
        self.n_rows, self.n_bad = 0, 0
        self.counts: Counter[str] = Counter()

    def __enter__(self) -> Self:
        """The writer itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._file.close()

    def add(self, chunk: CheckedChunk) -> None:
        """Add the quarantined rows of a chunk."""
        self.n_rows += chunk.n_drawn
        self.counts += chunk.counts
        self._write(chunk.quarantined, chunk.part, chunk.first)

    def add_repeated(self, reread: RereadRows, name: str) -> None:
        """Add sound rows whose id occurs in an earlier chunk; rows that are quarantined already are not added again."""
        self.counts[f"{name}: {REPEATED}"] += len(reread.rows)
        self._write(reread.rows.assign(rejected_because=f"{name} {REPEATED}"), reread.part, reread.first)

    def _write(self, rows: pd.DataFrame, part: int, first: int) -> None:
        """Write rows; `first` is the position of their file's first row among all rows."""
        numbers = pd.DataFrame({"rejected_part": self._files[part], "rejected_row": rows.index - first + 1}, rows.index)
        numbered = pd.concat([rows, numbers], axis=1)
        numbered = numbered.reindex(columns=list(dict.fromkeys((*REJECTED_COLUMNS, *rows.columns))))
        numbered.to_csv(self._file, index=False, header=not self._is_begun)
        self._is_begun = True
        self.n_bad += len(rows)

    def require_few_bad_rows(self, scorer: ScorerDeclaration) -> None:
        """Raise DataError if more rows are bad than the declaration allows."""
        require_few_bad_rows(self.n_rows, self.n_bad, dict(sorted(self.counts.items())), scorer)
