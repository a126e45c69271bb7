"""Window: a file of rows, read by row groups, whole or at some positions, and files that are gone."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.window import Window
from training.errors import StageError

WindowOf = Callable[..., Window]
ROWS = pd.DataFrame({"at": np.arange(10.0), "name": [f"n{number}" for number in range(10)]})


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Window:
    """Ten rows in row groups of four."""
    path = tmp_path_factory.mktemp("window") / "train.parquet"
    ROWS.to_parquet(path, row_group_size=4)
    return Window(path)


def test_row_groups_are_the_rows(window: Window) -> None:
    """Row groups hold all rows in order, and a column can be read alone."""
    assert (len(window), window.sizes) == (10, [4, 4, 2])
    pd.testing.assert_frame_equal(pd.concat(window.frames(["name", "at"]), ignore_index=True), ROWS[["name", "at"]])
    assert window["name"].tolist() == ROWS["name"].tolist()
    np.testing.assert_array_equal(window.column("at"), np.arange(10.0))


@given(st.sets(st.integers(0, 9)).map(sorted))
def test_parts_hold_the_rows_at_the_positions(window: Window, positions: list[int]) -> None:
    """The parts together hold the rows at the positions; row groups without any are left out."""
    parts = window.parts(np.array(positions, dtype=np.intp))
    read = [part.read(["at"]) for part in parts]
    assert [part.n_rows for part in parts] == [len(rows) for rows in read]
    assert all(len(rows) for rows in read)
    assert [at for rows in read for at in rows["at"]] == positions


def test_parts_can_be_read_from_elsewhere(
    working_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker with another working folder still finds the file."""
    ROWS.to_parquet(working_folder / "train.parquet")
    [part] = Window(Path("train.parquet")).parts()
    monkeypatch.chdir(tmp_path)
    pd.testing.assert_frame_equal(part.read(["at", "name"]), ROWS)


def test_windows_that_follow_each_other_are_read_as_one(window_of: WindowOf) -> None:
    """Two files form one window with the rows of both; positions continue from one file to the next."""
    later = ROWS.assign(at=ROWS["at"] + 1_000)
    window, both = Window(*(window_of(rows, 4).paths[0] for rows in (ROWS, later))), pd.concat([ROWS, later])
    assert len(window) == len(both)
    assert window.column("at").tolist() == both["at"].tolist()
    positions = np.arange(1, len(both), 3)
    read = pd.concat([part.read(["at", "name"]) for part in window.parts(positions)], ignore_index=True)
    pd.testing.assert_frame_equal(read, both[["at", "name"]].iloc[positions].reset_index(drop=True))


def test_a_window_that_is_not_there(tmp_path: Path) -> None:
    """A missing or damaged file is named, with the stage that makes it."""
    with pytest.raises(StageError, match=r"train.parquet cannot be read; run prepare again: "):
        Window(tmp_path / "train.parquet")


def test_a_part_that_is_gone(window_of: WindowOf) -> None:
    """A file that is removed or truncated after it was opened is named too."""
    window = window_of(ROWS, 4)
    [first, *_] = window.parts()
    window.paths[0].write_bytes(window.paths[0].read_bytes()[:50])
    with pytest.raises(StageError, match=r"window-1.parquet cannot be read; run prepare again: "):
        first.read(["at"])
    window.paths[0].unlink()
    with pytest.raises(StageError, match=r"window-1.parquet cannot be read; run prepare again: "):
        first.read(["at"])
