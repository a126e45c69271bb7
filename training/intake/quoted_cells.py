"""Removes quotes that are part of a cell's text, and guards that keep a spreadsheet from reading codes as numbers."""

import pandas as pd

from training.intake.numbers import NO_NUMBER

# ="0007" keeps a spreadsheet from reading a number. Other quotes count only if all cells of a column stand in them.
GUARD = r'^=\s*\(?\s*"(.*)"\s*\)?$'
QUOTES = (r"^'(.*)'$", r'^"(.*)"$', r"^`(.*)`$", r"^“(.*)”$", r"^«\s?(.*?)\s?»$", r"^'([^']*)$")
_BEGINNINGS = ("=", "'", '"', "`", "“", "«")
SHOWN, SAMPLE = 5, 200


def without_quotes(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The table with the quotes around the cells of text columns removed, and a notice that names the columns."""
    plain: dict[str, pd.Series] = {}
    for name in rows:
        if isinstance(rows[name].dtype, pd.StringDtype):
            bare = _bare(rows[name])
            if bare is not None:
                plain[str(name)] = bare
    if not plain:
        return rows, []
    first = next(iter(plain))
    changed = rows[first][rows[first] != plain[first]].dropna().iloc[0]
    listed = ", ".join(list(plain)[:SHOWN]) + (f" and {len(plain) - SHOWN} more" if len(plain) > SHOWN else "")
    return rows.assign(**plain), [
        f"{listed}: cells are in quotes, such as {changed}; the quotes are removed, and requests must omit them"
    ]


def _bare(texts: pd.Series) -> pd.Series | None:
    """The texts without their quotes; None if they have none."""
    present = texts.dropna()
    sample = present.iloc[:: max(1, len(present) // SAMPLE)].str.strip()
    if not sample.str.startswith(_BEGINNINGS).any():
        return None
    stripped = texts.str.strip()
    if stripped.str.fullmatch(GUARD).any():
        return _unpacked(stripped, GUARD)
    is_cell = stripped.notna() & ~stripped.str.casefold().isin(NO_NUMBER)
    for quotes in QUOTES:
        if is_cell.any() and stripped[is_cell].str.fullmatch(quotes).all():
            return _unpacked(stripped, quotes)
    return None


def _unpacked(texts: pd.Series, quotes: str) -> pd.Series:
    bare = texts.str.replace(quotes, r"\1", regex=True).str.replace('""', '"', regex=False).str.strip()
    return bare.mask(bare == "")
