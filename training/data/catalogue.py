"""Catalogues: which category each known text of a field belongs to."""

from pathlib import Path
from typing import cast

import pandas as pd

from handler.scoring.contract import OTHER
from training.data.column_checks import read_rows
from training.declaration import ScorerDeclaration
from training.errors import DataError


def read_catalogues(scorer: ScorerDeclaration) -> pd.DataFrame:
    """The catalogues of all text fields as one table: field, name, category."""
    tables = [pd.DataFrame({"field": [], "name": [], "category": []}, dtype=str)]
    for name, field in scorer.texts.items():
        table = read_rows(Path(cast("str", field.catalogue)), ["name", "category"])
        if bad := int(table.isna().any(axis="columns").sum()):
            raise DataError(f"{field.catalogue} lacks a name or a category in {bad:,} rows")
        categories = sorted(table["category"].unique())
        if len(categories) < 2 or OTHER in categories:  # noqa: PLR2004 - a choice needs two
            raise DataError(
                f"{field.catalogue} has the categories {', '.join(categories)}; "
                f"it must have at least two, none of them {OTHER!r}, which is what unknown names are called"
            )
        tables.append(table.assign(field=name))
    return pd.concat(tables, ignore_index=True)[["field", "name", "category"]]
