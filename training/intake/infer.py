"""Infer: anybody's table, the names of its label and time -> a declaration of its fields, and its rows so typed."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from handler.scoring.contract import DeclaredField
from training.intake.column_types import MIN_ROWS, infer_column
from training.intake.field_names import SHOWN, InferenceError, fitting_name, require_column, single_names
from training.intake.label_expression import read_label
from training.intake.time_column import read_moments

MAX_LABELS = 1_000
MAX_LABELS_A_FIELD = 100


@dataclass(frozen=True)
class Inferred:
    """A file as a scorer's data: its rows under names a contract may have, and what was found on the way."""

    rows: pd.DataFrame
    """The fields, the time (timestamps or seconds) and the label (int8)."""
    fields: dict[str, DeclaredField]
    columns: dict[str, str]
    """Per field its name in the file."""
    label: str
    time: str
    bad_times: float
    """The share of the rows whose time cannot be read."""
    notices: list[str]


def infer(rows: pd.DataFrame, label: str, time: str | None, *, is_text: bool = False) -> Inferred:
    """The declaration that suits a table; `is_text` says that its numbers are written as text, as in a CSV.

    `label` is a column or an expression over columns. Raises InferenceError, naming column, value and remedy.
    """
    if time is not None:
        require_column(time, rows, "TIME is")
    if label == time:
        raise InferenceError(f"LABEL and TIME are both {time}; they must be two columns")
    is_fraud, read, notices = read_label(rows, label)
    if n_unknown := int(is_fraud.isna().sum()):
        rows, is_fraud = rows[is_fraud.notna()], is_fraud.dropna()
        notices.append(f"{n_unknown:,} rows are left out: a missing value leaves open whether they are frauds")
    moments, said = _row_order(rows) if time is None else read_moments(rows[time], time)
    found = {
        str(column): infer_column(rows[column], str(column), is_text=is_text)
        for column in rows
        if column not in read and column != time
    }
    notices += said + [f"{column}: {one.notice}" for column, one in found.items() if one.notice]
    kept = {column: one for column, one in found.items() if one.field}
    if not kept:
        raise InferenceError("no column is left to learn from: " + "; ".join(notices))
    label_name = fitting_name(label if label in rows else "label", ())
    time_name = fitting_name(time or "row_number", (label_name,))
    names = single_names(list(kept), (label_name, time_name))
    if renamed := [f"{column!r} is {name}" for column, name in names.items() if column != name]:
        notices.append(
            f"{len(renamed)} columns are renamed: " + ", ".join(renamed[:SHOWN]) + ", ..." * (len(renamed) > SHOWN)
        )
    typed = {names[column]: one.typed for column, one in kept.items()}
    table = pd.DataFrame({time_name: moments, **typed, label_name: is_fraud.astype(np.int8)})
    fields = {names[column]: one.field for column, one in kept.items() if one.field}
    return Inferred(
        rows=table.reset_index(drop=True),
        fields=_capped(fields, typed),
        columns={name: column for column, name in names.items()},
        label=label_name,
        time=time_name,
        bad_times=float(moments.isna().mean()),
        notices=notices,
    )


def _row_order(rows: pd.DataFrame) -> tuple[pd.Series, list[str]]:
    """The place of each row, to stand for its time, and what must be said then."""
    return pd.Series(np.arange(len(rows), dtype=np.float64), index=rows.index), [
        "no TIME given: the split is by row order; if the rows are not in order of time, the numbers are too good"
    ]


def _capped(fields: dict[str, DeclaredField], typed: dict[str, pd.Series]) -> dict[str, DeclaredField]:
    """The fields, the rare labels of categories left to "other" so that all together stay near MAX_LABELS."""
    categories = [name for name, field in fields.items() if field.type == "category"]
    most = min(MAX_LABELS_A_FIELD, MAX_LABELS // max(len(categories), 1) + 1)
    capped = dict(fields)
    for name in categories:
        counts = typed[name].value_counts()
        if len(counts) > most and counts.iloc[most] >= MIN_ROWS:
            capped[name] = fields[name].model_copy(update={"min_rows": int(counts.iloc[most]) + 1})
    return capped
