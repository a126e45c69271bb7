"""A user's file of rows in memory, as `make try` reads it."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa

from training.data.csv_records import BROKEN
from training.data.input_files import InputFile, read_as, read_input_files
from training.data.row_reader import AllRows, read_rows, without_dictionaries
from training.data.set_aside import kind_of, lines_by_kind, set_aside_sentences
from training.errors import DataError

MAX_BROKEN_SHARE = 0.01
_SHOWN = 3


class UserFile(NamedTuple):
    """The rows of a file, or of a folder of files."""

    rows: pd.DataFrame
    is_text: bool
    """Whether numbers are written as text, as in a CSV."""
    notices: list[str]


def read_user_file(path: Path) -> UserFile:
    """All columns and rows of a file or a folder, with notices of how it is read and which lines are set aside.

    Raises DataError if it cannot be read, has only one column, or has more broken lines than MAX_BROKEN_SHARE.
    """
    parts = read_input_files(path)
    dialects = {part.dialect: part for part in parts if part.dialect}
    for part in dialects.values():
        _require_several_columns(part)
    rows = read_rows(parts)
    _require_few_broken(path, rows)
    notices = list(filter(None, [read_as(parts)])) + set_aside_sentences(lines_by_kind(rows.lines), n_files=len(parts))
    frame = without_dictionaries(rows.table).to_pandas(use_threads=False)
    return UserFile(frame.set_axis(_names(rows.table), axis="columns"), bool(dialects), notices)


def _require_several_columns(part: InputFile) -> None:
    """Raise DataError if no delimiter was found."""
    if len(part.schema.names) == 1:
        raise DataError(
            f"{part.path} has a single column, {part.schema.names[0]!r}; cells must be separated by commas, "
            "semicolons, tabs or pipes"
        )


def _require_few_broken(path: Path, rows: AllRows) -> None:
    """Raise DataError, with the first lines, if more than MAX_BROKEN_SHARE of them are broken, or if no row is left."""
    broken = [line for line in rows.lines if kind_of(line.reason) == BROKEN]
    if len(broken) > MAX_BROKEN_SHARE * rows.n_lines:
        first = ", ".join(f"{line.number:,}" for line in broken[:_SHOWN])
        where = f"line {first}" if len(broken) == 1 else f"lines {first}{', ...' * (len(broken) > _SHOWN)}"
        raise DataError(
            f"{path}: {len(broken):,} of {rows.n_lines:,} lines are broken, more than {MAX_BROKEN_SHARE:.0%} "
            f"({where}); line {broken[0].number:,}: {broken[0].reason}; correct them or remove them"
        )
    if not len(rows.table):
        raise DataError(f"{path} holds no rows")


def _names(table: pa.Table) -> list[str]:
    """The columns' names without blanks around them; a nameless column is named by its position."""
    return [name.strip() or f"column {number}" for number, name in enumerate(table.column_names, 1)]
