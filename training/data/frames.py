"""Frames: a table of a file's rows as pandas holds them, so that a column's values do not depend on where it is cut."""

from collections.abc import Collection

import pandas as pd
import pyarrow as pa


def frame_of(table: pa.Table, fractions: Collection[str] = ()) -> pd.DataFrame:
    """The rows; `fractions` are the columns that name things by numbers which are not all whole."""
    # pandas's notes in the schema would bring its index back.
    chosen = table.replace_schema_metadata(None)
    for index, column in enumerate(chosen.schema):
        if pa.types.is_dictionary(column.type):
            chosen = chosen.set_column(index, column.name, chosen.column(index).cast(column.type.value_type))
    # A whole number stays one where another row lacks it, however large it is.
    rows = chosen.to_pandas(integer_object_nulls=True, use_threads=False)
    return rows.astype(dict.fromkeys(fractions, object))
