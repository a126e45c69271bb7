"""The catalogues of text fields: which category each known name belongs to."""

from pathlib import Path
from typing import cast

import pandas as pd

from handler.scoring.contract import OTHER
from training.data.row_reader import read_columns
from training.declaration import ScorerDeclaration
from training.errors import DataError, counted


def read_catalogues(scorer: ScorerDeclaration) -> pd.DataFrame:
    """The catalogues of all text fields as one table: field, name, category."""
    tables = [pd.DataFrame({"field": [], "name": [], "category": []}, dtype=str)]
    for name, field in scorer.texts.items():
        table = read_columns(Path(cast("str", field.catalogue)), ["name", "category"])
        if n_missing := int(table.isna().any(axis="columns").sum()):
            raise DataError(
                f"{field.catalogue} lacks a name or a category in {counted(n_missing, 'row')}; complete or remove them"
            )
        categories = sorted(table["category"].unique())
        if len(categories) < 2 or OTHER in categories:  # noqa: PLR2004 - a choice needs two
            raise DataError(
                f"{field.catalogue} has the categories {', '.join(categories)}; "
                f"it must have at least two, none of them {OTHER!r}, which is reserved for unknown names"
            )
        tables.append(table.assign(field=name))
    return pd.concat(tables, ignore_index=True)[["field", "name", "category"]]
