"""Rows that a file holds more than once, for example because exports overlap."""

import pandas as pd

from training.errors import counted
from training.intake.column_types import ID_SHARE, ID_WORDS
from training.intake.field_names import words_of

# An id with fewer distinct values per row names an account or a card, not a row.
ROW_ID_SHARE = 0.5
# Exports overlap in one or two months; if rows occur more often than this on average, there are just few kinds of rows.
MOST_TIMES = 3


def repeated_rows(rows: pd.DataFrame, label_columns: set[str], time: str | None) -> tuple[pd.Series, list[str]]:
    """Which rows occur again further down, and notices of them.

    Rows are the same if all columns but the label are equal and one column tells rows apart, or if they have the same
    value of an id that never occurs at two times. The last one counts, because its label is the latest.
    """
    compared = rows[[column for column in rows if column not in label_columns]]
    unhashable = [column for column in compared if compared[column].dtype == object]
    compared = compared.assign(**{column: compared[column].astype("str") for column in unhashable})
    is_equal = compared.duplicated(keep="last") if compared.shape[1] else pd.Series(data=False, index=rows.index)
    notices = []
    if is_equal.any() and not _tells_rows_apart(compared[~is_equal], len(rows)):
        n_equal = counted(int(is_equal.sum()), "row is", "rows are")
        notices.append(f"{n_equal} equal to another in every column, but kept, because no column identifies a row")
        is_equal[:] = False
    if n_twice := int(is_equal.sum()):
        notices.append(
            f"{counted(n_twice, 'row is', 'rows are')} in the file twice (equal in every column"
            f"{' but the label' if _differ(rows, is_equal, compared, label_columns) else ''}) and "
            f"{'counts' if n_twice == 1 else 'count'} once"
        )
    is_repeated = is_equal.copy()
    for column in _row_ids(compared[~is_equal], time):
        ids = rows[column].where(~is_repeated)
        is_again = ids.notna() & ids.duplicated(keep="last")
        if n_again := int(is_again.sum()):
            notices.append(
                f"{column}: {counted(n_again, 'row has', 'rows have')} the same id and time as a later row; only the "
                "last one counts"
            )
        is_repeated |= is_again
    return is_repeated, notices


def _tells_rows_apart(distinct: pd.DataFrame, n_rows: int) -> bool:
    """Whether one column, such as an id, differs in nearly all distinct rows, and these are many of all rows."""
    is_much = len(distinct) * MOST_TIMES >= n_rows
    return is_much and any(distinct[column].nunique() > ID_SHARE * len(distinct) for column in distinct)


def _differ(rows: pd.DataFrame, is_equal: pd.Series, compared: pd.DataFrame, label_columns: set[str]) -> bool:
    """Whether a repeated row has a different label from the last of its kind."""
    involved = compared.duplicated(keep=False)
    columns = [*compared.columns, *sorted(label_columns & set(rows))]
    both = compared.assign(**{column: rows[column].astype("str") for column in label_columns & set(rows)})
    return int(both.loc[involved, columns].duplicated(keep="last").sum()) < int(is_equal.sum())


def _row_ids(rows: pd.DataFrame, time: str | None) -> list[str]:
    """The columns that identify a row: ids that do not repeat often, and never at two times."""
    if time is None:
        return []
    ids = []
    for column in rows:
        values = rows[column].dropna()
        if column == time or not words_of(str(column)) & ID_WORDS or values.nunique() < ROW_ID_SHARE * len(rows):
            continue
        again = rows.loc[values.index[values.duplicated(keep=False)], [column, time]]
        if len(again) and again.groupby(column)[time].nunique(dropna=False).max() == 1:
            ids.append(str(column))
    return ids
