"""Names that a user may have meant: columns and files that are spelled differently."""

import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from training.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

MOST_NAMES_SHOWN = 20


def folded(name: str) -> str:
    """A name without case, blanks, dashes, underscores and points: yearsactive for Years-Active.

    >>> folded("Years-Active") == folded("years_active") == folded("yearsActive")
    True
    """
    return re.sub(r"[\W_]+", "", name).casefold()


def near_names(name: str, others: Iterable[str]) -> list[str]:
    """The name that differs only in spelling or, without one, the names that come close, the closest first."""
    by_fold = {folded(other): other for other in others}
    if folded(name) in by_fold:
        return [by_fold[folded(name)]]
    return [by_fold[match] for match in get_close_matches(folded(name), by_fold, n=3)]


def near_text(name: str, others: Iterable[str]) -> str:
    """A hint with the names that come close, "" if none does."""
    names = near_names(name, others)
    return f"; {name}: did you mean {' or '.join(names)}?" if names else ""


def spelled_otherwise(names: Collection[str], others: Iterable[str]) -> dict[str, str]:
    """For each name, the other one that differs from it only in case, blanks, dashes, underscores or points."""
    by_fold = {folded(other): other for other in others}
    return {name: by_fold[folded(name)] for name in names if folded(name) in by_fold}


def near_file(path: Path) -> str:
    """A hint with the files beside a path whose names come close to its name, "" if none does."""
    return near_text(path.name, (other.name for other in path.parent.iterdir())) if path.parent.is_dir() else ""


def require_column(name: str, rows: "pd.DataFrame", what: str) -> None:
    """Raise DataError, with similar names, if a table has no such column."""
    if name in rows:
        return
    close = near_names(name, rows)
    listed, n_more = ", ".join(list(rows)[:MOST_NAMES_SHOWN]), len(rows.columns) - MOST_NAMES_SHOWN
    more = f" and {n_more} more" if n_more > 0 else ""
    hint = f"did you mean {' or '.join(close)}?" if close else f"the file has {listed}{more}"
    raise DataError(f"{what} {name}, which is not a column; {hint}")
