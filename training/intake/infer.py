"""The declaration of a table's fields, inferred from its values, and its rows in the declared types."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.api.types import is_string_dtype

from handler.scoring.contract import DerivedFeature
from handler.scoring.fields import NUMERIC_TYPES, DeclaredField
from handler.scoring.history import History
from training.data.near_names import MOST_NAMES_SHOWN, require_column
from training.errors import DataError, counted
from training.intake.column_types import (
    MAX_LEVELS_PER_FIELD,
    MIN_ROWS,
    TRAIN,
    WARNING,
    Column,
    code_column,
    infer_column,
)
from training.intake.date_fields import time_features, with_ages
from training.intake.field_names import fitting_name, unique_names
from training.intake.label_expression import read_label_expression
from training.intake.quoted_cells import without_quotes
from training.intake.repeated_rows import repeated_rows
from training.intake.time_column import read_timestamps
from training.intake.unordered import unordered_columns

# Above this share, a notice says how many rows have a value that is not learned.
MOSTLY_OTHER = 0.5
MAX_LEVELS = 1_000
IDS = "its whole numbers seem to be ids (the rows of neighbouring numbers are unrelated)"


@dataclass(frozen=True)
class Inferred:
    """A file as a scorer's data: its rows under valid names, their declaration, and notices for the user."""

    rows: pd.DataFrame
    """The fields, the time (timestamps or seconds) and the label (int8)."""
    fields: dict[str, DeclaredField]
    features: dict[str, DerivedFeature]
    """The features computed from the time, such as the hour, that suit the rows."""
    columns: dict[str, str]
    """The name in the file of each field, and of each column of texts that is left out."""
    label: str
    time: str
    bad_times: float
    """The share of the rows whose time cannot be read."""
    notices: list[str]
    texts: dict[str, pd.Series]
    """The texts of the columns that are categories or left out, by field name; history keys are chosen from these."""
    history: History | None = None


def infer(rows: pd.DataFrame, label: str, time: str | None, *, is_text: bool = False) -> Inferred:
    """The declaration that suits a table; with `is_text` its numbers are written as text, as in a CSV.

    `label` is a column or an expression over columns. Raises DataError with the column, the value and a remedy.
    """
    if time is not None:
        require_column(time, rows, "TIME is")
    if label == time:
        raise DataError(f"LABEL and TIME are both {time}; they must be two columns")
    rows, quoted = without_quotes(rows)
    is_fraud, label_columns, notices = read_label_expression(rows, label)
    rows, is_fraud = rows[is_fraud.notna()], is_fraud.dropna()
    is_repeated, repeat_notices = repeated_rows(rows, label_columns, time)
    rows, is_fraud = rows[~is_repeated], is_fraud[~is_repeated]
    timestamps, time_notices = _row_order(rows) if time is None else read_timestamps(rows, time)
    inferred = {
        str(column): infer_column(rows[column], str(column), is_text=is_text)
        for column in rows
        if column not in label_columns and column != time
    }
    inferred = with_ages(inferred, timestamps, is_fraud)
    inferred |= _unordered_ids(inferred, timestamps, is_fraud)
    notices = quoted + notices + repeat_notices + time_notices + _column_notices(inferred)
    kept = {name: column for name, column in inferred.items() if column.field}
    label_name = fitting_name(label if label in rows else "label", ())
    time_name = fitting_name(time or "row_number", (label_name,))
    names = unique_names(list(kept), (label_name, time_name))
    if renamed := [f"{column!r} is {name}" for column, name in names.items() if column != name]:
        shown = ", ".join(renamed[:MOST_NAMES_SHOWN]) + ", ..." * (len(renamed) > MOST_NAMES_SHOWN)
        notices.append(f"{counted(len(renamed), 'column is', 'columns are')} renamed: {shown}")
    typed = {names[name]: column.typed for name, column in kept.items()}
    # Ids are not features, but may be keys of a history.
    left_out = [name for name, column in inferred.items() if not column.field and is_string_dtype(column.typed.dtype)]
    if not kept and not left_out:
        raise DataError("no column is left to learn from: " + "; ".join(notices))
    names |= unique_names(left_out, (label_name, time_name, *names.values()))
    textual = [name for name, column in kept.items() if column.field and column.field.type == "category"]
    table = pd.DataFrame({time_name: timestamps, **typed, label_name: is_fraud.astype(np.int8)})
    is_training = timestamps.rank(pct=True) <= TRAIN
    fields = _capped({names[name]: column.field for name, column in kept.items() if column.field}, typed, is_training)
    notices += _rare_levels(fields, typed, is_training)
    features = time_features(timestamps, time_name, {*fields, label_name, time_name})
    if features:
        notices.append(f"{' and '.join(features)}: computed from {time}, in UTC")
    return Inferred(
        rows=table.reset_index(drop=True),
        fields=fields,
        features=features,
        columns={name: column for column, name in names.items()},
        texts={names[name]: inferred[name].typed.reset_index(drop=True) for name in (*left_out, *textual)},
        label=label_name,
        time=time_name,
        bad_times=float(timestamps.isna().mean()),
        notices=notices,
    )


def _row_order(rows: pd.DataFrame) -> tuple[pd.Series, list[str]]:
    """The number of each row as its time, and a notice that says so."""
    # The position in the file, even if earlier rows are left out.
    return pd.Series(rows.index.to_numpy(np.float64), index=rows.index), [
        "no TIME given: the split is by row order; if the rows are not in order of time, the metrics are too optimistic"
    ]


def _unordered_ids(columns: dict[str, Column], timestamps: pd.Series, is_fraud: pd.Series) -> dict[str, Column]:
    """The columns that look like counts but hold ids, judged by how they relate to the other columns, as codes."""
    fields = {name: column.field for name, column in columns.items() if column.field}
    numbers = {name: columns[name].typed for name, field in fields.items() if field.type in NUMERIC_TYPES}
    counts = [name for name in numbers if fields[name].type == "count"]
    ids = unordered_columns(counts, {"time": timestamps.rank(), "label": is_fraud.astype(np.int8), **numbers})
    return {name: code_column(numbers[name], numbers[name].dropna(), IDS) for name in ids}


def _column_notices(columns: dict[str, Column]) -> list[str]:
    """The notices of the columns; one with a warning begins with that word."""
    notices = []
    for name, column in columns.items():
        warning = WARNING if WARNING in column.notice else ""
        if column.notice:
            notices.append(f"{warning}{name}: {column.notice.replace(WARNING, '')}")
    return notices


def _rare_levels(fields: dict[str, DeclaredField], typed: dict[str, pd.Series], is_training: pd.Series) -> list[str]:
    """Notices of the fields in which most rows have a value that is too rare to learn from."""
    notices = []
    for name, field in fields.items():
        if field.type != "category":
            continue
        n_rows, n_training = (rows.value_counts() for rows in (typed[name], typed[name][is_training]))
        learned = n_training.index[n_training >= field.min_rows]
        share = 1 - n_rows[learned].sum() / n_rows.sum()
        if share > MOSTLY_OTHER:
            values = counted(len(n_rows), "value", f"values {'is' if len(learned) == 1 else 'are'}")
            notices.append(f"{name}: {len(learned):,} of {values} learned, {share:.0%} of the rows count as other")
    return notices


def _capped(
    fields: dict[str, DeclaredField], typed: dict[str, pd.Series], is_training: pd.Series
) -> dict[str, DeclaredField]:
    """The fields; rare levels of categories become "other", so that all together stay near MAX_LEVELS."""
    categories = [name for name, field in fields.items() if field.type == "category"]
    limit = min(MAX_LEVELS_PER_FIELD, MAX_LEVELS // max(len(categories), 1) + 1)
    capped = dict(fields)
    for name in categories:
        counts = typed[name][is_training].value_counts()
        if len(counts) > limit and counts.iloc[limit] >= MIN_ROWS:
            capped[name] = fields[name].model_copy(update={"min_rows": int(counts.iloc[limit]) + 1})
    return capped
