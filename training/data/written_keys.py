"""Keys that a text file writes with decimals, because pandas holds a column of whole numbers with gaps as floats."""

from collections.abc import Collection, Sequence

import pandas as pd
import pyarrow.compute as pc

from training.data.input_files import InputFile
from training.data.row_reader import chunks_of, read_chunk, with_decimal_points

# Any cell that pandas writes for a column of floats, and the cells that show that a column is one: 17.0, 1e+16.
_NUMBER = r"^[+-]?(\d+(\.\d+)?(e[+-]\d+)?|inf)$"
_WHOLE_FLOAT = r"^[+-]?\d+(\.0|(\.\d+)?e\+\d+)$"
_IS_FLOAT = r"[.ei]"


def decimal_keys(parts: Sequence[InputFile], columns: Collection[str], chunk_rows: int) -> frozenset[str]:
    """The columns of text files whose cells are all numbers or empty, some of them whole floats as pandas writes them.

    All rows decide this, so that a key is spelled the same way in every chunk. Parquet files have no such columns,
    because their values are typed.
    """
    open_columns, written = set(columns), set[str]()
    if any(part.dialect is None for part in parts):
        return frozenset()
    for chunk in chunks_of(parts, chunk_rows) if open_columns else ():
        part = parts[chunk.part]
        table = with_decimal_points(read_chunk(chunk.content, part).table, part, open_columns)
        for name in sorted(open_columns):
            cells = table.column(name)
            if not pc.all(pc.match_substring_regex(cells, _NUMBER), min_count=0).as_py():
                open_columns.remove(name)
            elif pc.any(pc.match_substring_regex(cells, _WHOLE_FLOAT), min_count=0).as_py():
                written.add(name)
        if not open_columns:
            break
    return frozenset(written & open_columns)


def with_numbers(rows: pd.DataFrame, columns: Collection[str]) -> pd.DataFrame:
    """The rows, with floats in some columns of `decimal_keys` as floats; other cells, such as 0017, stay texts."""
    for name in columns:
        is_float = rows[name].str.contains(_IS_FLOAT).fillna(value=False).astype(bool)
        cells = rows[name].astype(object)
        cells[is_float] = cells[is_float].map(float)
        rows[name] = cells
    return rows
