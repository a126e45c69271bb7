"""The footprint record of `make bench-cost`."""

from pathlib import Path

import pytest

from tests.training.delivery.small_footprint import FOOTPRINT
from training.delivery.footprint import read_footprint
from training.errors import StageError


def test_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Every figure is read back under its name."""
    path = tmp_path / "footprint.json"
    path.write_text(FOOTPRINT.model_dump_json())
    assert read_footprint(path) == FOOTPRINT


def test_record_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """A record that is missing, or in another format, is refused with the command that makes it."""
    with pytest.raises(StageError, match=r"footprint\.json is missing; run `python -m benchmarks\.serving\.footprint"):
        read_footprint(tmp_path / "footprint.json")
    (tmp_path / "footprint.json").write_text('{"memory": {}}')
    with pytest.raises(StageError, match="has another format; run `python -m benchmarks"):
        read_footprint(tmp_path / "footprint.json")
