"""The benchmark sets: where they lie, and each as a scorer of a params file of its own."""

import os
from pathlib import Path

import pandas as pd

from benchmarks.quality_part import AbsentError
from training.data.column_checks import read_rows
from training.declaration import ScorerDeclaration, declared_scorer

PROJECT = Path(__file__).parents[1]
PARAMS = Path(__file__).with_name("quality.yaml")
FOLDER = Path(os.environ.get("BENCHMARK_DATA", PROJECT.parent / "shared" / "data"))


def declared_set(name: str) -> tuple[ScorerDeclaration, pd.DataFrame]:
    """A benchmark set's scorer, and the columns that it declares.

    Raises AbsentError where the file is not in the folder.
    """
    scorer = declared_scorer(name, PARAMS)
    path = FOLDER / Path(scorer.data).name
    if not path.is_file():
        raise AbsentError(f"{path} is absent; the environment variable BENCHMARK_DATA names its folder")
    columns = [*filter(None, (scorer.entity,)), scorer.time, *scorer.fields, scorer.label]
    return scorer, read_rows(path, columns)
