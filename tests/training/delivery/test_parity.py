"""Parity: a trained scorer computes what its pipeline computes, and altered bundles are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from handler.scoring.bundle import FILES, MANIFEST, load_bundle, to_json
from handler.scoring.scorer import Scorer, load_scorer
from training.data.split import WINDOWS
from training.delivery.parity import check_parity
from training.errors import StageError
from training.package import build_bundle

Rows = Callable[[str], pd.DataFrame]


def calibration_of(project: Path) -> dict[str, float]:
    """The fitted calibration of the project's scorer."""
    fitted: dict[str, float] = json.loads((project / "build" / "mini" / "calibration.json").read_text())["calibration"]
    return fitted


def altered_scorer(project: Path, folder: Path, files: dict[str, bytes], **described: object) -> Scorer:
    """The project's scorer, with some files or parts of its bundle's manifest changed."""
    source = project / "build" / "bundles" / "mini"
    contents = {name: (source / name).read_bytes() for name in FILES} | files
    manifest = json.loads((source / MANIFEST).read_text())
    kept = {key: value for key, value in manifest.items() if key not in {"format", "files", "version"}}
    folder.mkdir()
    build_bundle(folder, contents, kept | described)
    return Scorer(load_bundle(folder))


@pytest.fixture
def parity(trained: Path, trained_pipeline: Any, trained_rows: Rows) -> Callable[[Scorer], float]:  # noqa: ANN401 - no types
    """Checks a scorer against the trained pipeline on all prepared rows; returns the largest difference."""
    all_rows = pd.concat(map(trained_rows, WINDOWS))
    return lambda scorer: check_parity(scorer, trained_pipeline, calibration_of(trained), all_rows)


def test_parity_of_a_trained_scorer(trained: Path, parity: Callable[[Scorer], float]) -> None:
    """The function's results equal the pipeline's for every prepared row."""
    assert parity(load_scorer(trained / "build" / "bundles" / "mini")) < 1e-12


def test_other_bundles_break_parity(trained: Path, tmp_path: Path, parity: Callable[[Scorer], float]) -> None:
    """A bundle with other category codes or another calibration is refused with the worst row."""
    fitted = calibration_of(trained)
    vocabulary = json.loads((trained / "build" / "bundles" / "mini" / "vocabulary.json").read_text())
    vocabulary["country"].reverse()
    files, calibration = {"vocabulary.json": to_json(vocabulary)}, fitted | {"intercept": fitted["intercept"] + 0.01}
    recoded = altered_scorer(trained, tmp_path / "recoded", files)
    recalibrated = altered_scorer(trained, tmp_path / "recalibrated", {}, calibration=calibration)
    for scorer in (recoded, recalibrated):
        with pytest.raises(
            StageError, match=r"differs from the pipeline's by 0\.\d+ for row \d+ of .*: \{'amountUsd': "
        ):
            parity(scorer)
