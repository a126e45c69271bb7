"""The benchmark sets: in which folder they are, and each as a scorer of a params file of its own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from benchmarks.command import ROOT
from benchmarks.quality.part import AbsentError
from training.data.chunks import read_columns
from training.data.window import Window
from training.declaration import ScorerDeclaration, declared_scorer

PARAMS = Path(__file__).with_name("sets.yaml")
FOLDER = Path(os.environ.get("BENCHMARK_DATA", ROOT.parent / "shared" / "data"))


def set_path(file: str) -> Path:
    """The path of a benchmark set's file; raises AbsentError where it does not exist."""
    path = FOLDER / Path(file).name
    if not path.is_file():
        raise AbsentError(f"{path} is absent; the environment variable BENCHMARK_DATA names its folder")
    return path


def declared_set(name: str, one_in: int = 1) -> tuple[ScorerDeclaration, pd.DataFrame]:
    """A benchmark set's scorer, and the columns that it declares.

    They hold all rows; or one in so many entities or, where there are none, the frauds and one in so many other rows.
    Raises AbsentError where the file is not in the folder.
    """
    scorer = declared_scorer(name, PARAMS)
    columns = [*filter(None, (scorer.entity,)), scorer.time, *scorer.fields, scorer.label]
    rows = read_columns(set_path(scorer.data), columns)
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
