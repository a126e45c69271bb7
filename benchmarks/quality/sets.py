"""The benchmark sets: the folder that holds them, and each as a scorer that sets.yaml declares."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from benchmarks.command import ROOT
from training.data.row_reader import read_columns
from training.data.window import Window
from training.declaration import ScorerDeclaration, declared_scorer

PARAMS = Path(__file__).with_name("sets.yaml")
FOLDER = Path(os.environ.get("BENCHMARK_DATA", ROOT.parent / "shared" / "data"))

# A line of a part of the report; a value of None was not published or cannot be measured.
Line = dict[str, Any]


class AbsentError(FileNotFoundError):
    """Raised when the file that a part measures is not there."""


def existing(path: Path, remedy: str) -> Path:
    """The path; raises AbsentError if there is no such file."""
    if not path.is_file():
        raise AbsentError(f"{path} does not exist; {remedy}")
    return path


def set_path(file: str) -> Path:
    """The path of a benchmark set's file; raises AbsentError if it does not exist."""
    return existing(
        FOLDER / Path(file).name, "set the environment variable BENCHMARK_DATA to the folder that has this file"
    )


def declared_set(name: str, one_in: int = 1) -> tuple[ScorerDeclaration, pd.DataFrame]:
    """A benchmark set's scorer, and its rows with the declared columns; raises AbsentError if its file is absent.

    With `one_in` above 1, these are the rows of one in `one_in` entities or, if the scorer declares no entity, the
    frauds and one in `one_in` other rows.
    """
    scorer = declared_scorer(name, PARAMS)
    columns = dict.fromkeys((*filter(None, (scorer.entity,)), scorer.time, *scorer.fields, scorer.label))
    rows = read_columns(set_path(scorer.data), list(columns))
    if one_in > 1:
        number = rows[scorer.entity] if scorer.entity else rows.index.to_series() * (1 - rows[scorer.label])
        rows = rows[number % one_in == 0].reset_index(drop=True)
    return scorer, rows


@contextmanager
def window_of(rows: pd.DataFrame) -> Iterator[Window]:
    """Rows as a training window, in a temporary file."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        rows.to_parquet(path, index=False)
        yield Window(path)
