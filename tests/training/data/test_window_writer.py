"""Window writer: a window keeps its own rows alone, and a delay may be longer than a window."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from training.data.source import checked_chunk
from training.data.window_writer import WindowWriter, _InGroups, row_schema
from training.declaration import ScorerDeclaration
from training.errors import DataError


def test_a_window_keeps_no_rows_of_others(
    mini_scorer: ScorerDeclaration, tmp_path: Path, mini_rows: pd.DataFrame
) -> None:
    """Of a batch without a row for the window nothing is kept: an empty slice would keep all of it in memory."""
    schema = row_schema(mini_scorer)
    clean = checked_chunk(mini_rows, mini_scorer, is_number=False).clean
    batch = pa.RecordBatch.from_pandas(clean, schema, preserve_index=False)
    group = _InGroups(tmp_path / "rows", schema, mini_scorer)
    group.add(batch.slice(0, 0))
    assert group._waiting == []  # noqa: SLF001 - what is held is the point
    group.close()


def test_a_delay_longer_than_a_window_leaves_it_empty(
    mini_scorer: ScorerDeclaration, tmp_path: Path, mini_rows: pd.DataFrame
) -> None:
    """All rows of the calibration window are too close to the next one: it is refused like any window without rows."""
    split = mini_scorer.split.model_copy(update={"label_delay_days": 30.0})
    scorer = mini_scorer.model_copy(update={"split": split})
    store = WindowWriter(tmp_path, scorer)
    store.add(checked_chunk(mini_rows, scorer, is_number=False))
    with pytest.raises(DataError, match="the calibrate window has no rows"):
        store.write_windows()
