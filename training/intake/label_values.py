"""Which values of a label column are missing, say that the label is not known yet, or are not labels."""

import numpy as np
import pandas as pd

from training.errors import counted
from training.intake.numbers import NUMERIC_SHARE, read_numbers

CLASSES = frozenset({0.0, 1.0})
# Lower case, with a blank for underscores and dashes between words.
UNKNOWN_WORDS = frozenset(
    ("#n/a", "(null)", "-", "--", ".", "<na>", "<null>", "?", "??", "???", "\\n", "in process", "in progress")
).union(
    ("in review", "investigating", "missing", "n.a.", "n/a", "na", "nan", "nil", "no label", "none", "not available"),
    ("not decided", "not known", "not labeled", "not labelled", "not reviewed", "not set", "not yet", "null", "open"),
    ("pending", "pending review", "tbd", "to be determined", "unassigned", "unclear", "unconfirmed", "undecided"),
    ("under investigation", "under review", "undetermined", "unk", "unknown", "unlabeled", "unlabelled", "unresolved"),
    ("unreviewed", "unset", "unspecified", "waiting"),
)
SHOWN = 5


def is_missing(values: pd.Series) -> pd.Series:
    """Which values of a label's column are missing or empty texts."""
    return values.isna() | (values.astype(object) == "")


def says_unknown(values: pd.Series) -> pd.Series:
    """Which values say that the label is not known, or not known yet."""
    if not _holds_texts(values):
        return pd.Series(data=False, index=values.index)
    distinct = _distinct_texts(values)
    spaced = distinct.str.casefold().str.replace(r"(?<=\w)[\s_-]+(?=\w)", " ", regex=True)
    return values.isin(distinct.index[spaced.isin(UNKNOWN_WORDS)])


def is_no_label(values: pd.Series) -> pd.Series:
    """Which values are the column's own name, a unit in its first row, or a text in a column of numbers."""
    if not _holds_texts(values):
        return pd.Series(data=False, index=values.index)
    distinct = _distinct_texts(values)
    is_stray = values.isin(distinct.index[distinct == str(values.name).strip()])
    # A row of units below the header: [0/1], (yes/no).
    is_unit = distinct.str.fullmatch(r"\[.*\]|\(.*\)")
    is_stray |= values.isin(distinct.index[is_unit]) & (np.arange(len(values)) == 0)
    is_open = is_missing(values) | says_unknown(values)
    counts = values[~(is_stray | is_open)].value_counts()
    numbers = read_numbers(pd.Series(counts.index.astype("str")))
    is_text = numbers.isna().to_numpy()
    if len(counts) and counts[is_text].sum() <= (1 - NUMERIC_SHARE) * counts.sum():
        is_stray |= values.isin(counts.index[is_text])
    return is_stray & ~is_open


def _distinct_texts(values: pd.Series) -> pd.Series:
    """The distinct texts of a column, stripped, indexed by the unstripped text."""
    distinct = [value for value in values.dropna().unique() if isinstance(value, str)]
    return pd.Series(distinct, index=pd.Index(distinct, dtype=object), dtype="str").str.strip()


def _holds_texts(values: pd.Series) -> bool:
    return values.dtype == object or isinstance(values.dtype, pd.StringDtype | pd.CategoricalDtype)


def shown_values(values: pd.Series) -> str:
    """The distinct values, the most frequent first."""
    distinct = [repr(value) for value in values.value_counts().index.tolist()]
    return ", ".join(distinct[:SHOWN]) + ", ..." * (len(distinct) > SHOWN)


def shown_counts(values: pd.Series) -> str:
    """The most frequent values, with how often each occurs."""
    counts = values.value_counts(dropna=False)
    pairs = zip(counts.index[:SHOWN].tolist(), counts.iloc[:SHOWN].tolist(), strict=True)
    shown = [f"{'nothing' if pd.isna(value) else repr(value)} ({counted(count, 'time')})" for value, count in pairs]
    more = f" and {counted(len(counts) - SHOWN, 'more value')}" if len(counts) > SHOWN else ""
    return ", ".join(shown) + more


def shown_places(mask: pd.Series) -> str:
    """The rows of a mask, counted from 1: "row 3", or "6 rows (the first is row 869)"."""
    first, n_rows = int(mask.index[mask][0]) + 1, int(mask.sum())
    return f"row {first:,}" if n_rows == 1 else f"{n_rows:,} rows (the first is row {first:,})"
