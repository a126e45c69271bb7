"""Window writer: a window keeps only its own rows, and a label delay may be longer than a window."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from training.data.checked_source import checked_chunk
from training.data.window import Window
from training.data.window_writer import WindowWriter, _InGroups, checked_schema
from training.declaration import ScorerDeclaration
from training.errors import DataError
from training.params import Split


def test_a_window_keeps_no_rows_of_others(
    mini_scorer: ScorerDeclaration, tmp_path: Path, mini_rows: pd.DataFrame
) -> None:
    """A batch without rows for the window is not kept: an empty slice would hold the whole batch in memory."""
    schema = checked_schema(mini_scorer)
    clean = checked_chunk(mini_rows, mini_scorer, is_number=False).clean
    batch = pa.RecordBatch.from_pandas(clean, schema, preserve_index=False)
    group = _InGroups(tmp_path / "rows", schema, mini_scorer)
    group.add(batch.slice(0, 0))
    assert group._waiting == []  # noqa: SLF001 - the test is about what is held
    group.close()


def written(scorer: ScorerDeclaration, folder: Path, rows: pd.DataFrame) -> tuple[dict[str, Any], list[str]]:
    """What a writer reports after writing rows in one chunk."""
    writer = WindowWriter(folder, scorer)
    writer.add(checked_chunk(rows, scorer, is_number=False))
    return writer.write_windows()


def test_a_delay_longer_than_a_window_leaves_it_empty(
    mini_scorer: ScorerDeclaration, tmp_path: Path, mini_rows: pd.DataFrame
) -> None:
    """If every row of the calibration window is within the label delay, it is refused like any window without rows."""
    scorer = mini_scorer.model_copy(update={"split": Split(calibrate=0.2, test=0.2, label_delay_days=30)})
    with pytest.raises(DataError, match="the calibrate window has no rows"):
        written(scorer, tmp_path, mini_rows)


def test_without_a_calibration_window_its_file_is_empty(
    mini_scorer: ScorerDeclaration, tmp_path: Path, mini_rows: pd.DataFrame
) -> None:
    """A calibration window that is not declared still has a file, with columns but no rows."""
    reports, _ = written(mini_scorer, tmp_path, mini_rows)
    assert list(reports) == ["train", "test"]
    train, calibrate = (Window(tmp_path / f"{name}.parquet") for name in ("train", "calibrate"))
    assert (len(train), len(calibrate)) == (1_200, 0)
    assert calibrate.names == train.names


def test_few_frauds_are_warned_of(mini_scorer: ScorerDeclaration, tmp_path: Path, mini_rows: pd.DataFrame) -> None:
    """Below thirty frauds, a warning says what they can and cannot show; from thirty on there is none."""
    rows = mini_rows.sort_values("at", ignore_index=True)
    frauds = np.linspace(40, 1_460, 29).astype(int)
    for n_frauds in (29, 30):
        label = np.isin(np.arange(1_500), frauds[:n_frauds] if n_frauds == 29 else [*frauds, 100])
        folder = tmp_path / str(n_frauds)
        folder.mkdir()
        _, warnings = written(mini_scorer, folder, rows.assign(is_fraud=label.astype(np.int8)))
        assert [warning for warning in warnings if "collect" in warning] == [FEW][: 30 - n_frauds]


FEW = (
    "the windows have 29 frauds, 6 of them in the test window: this shows that the steps work, but neither how good "
    "the model is nor which variant is better (a recall of 3 in 6 may be anything from 19% to 81%); collect at least "
    "30 frauds before you trust a threshold"
)
