"""The reports that a model card is made of, read from their files."""

import csv
import io
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from handler.scoring.contract import Contract
from training.declaration import ScorerDeclaration
from training.errors import StageError
from training.run.files import BUNDLES, REPORTS

Row = dict[str, Any]

# Columns of text; all others hold numbers.
TEXT = {"aim", "feature", "segment"}
STAGES = {
    "rows.json": "prepare",
    "training.json": "train",
    "manifest.json": "package",
    "selection.json": "select",
    "resampling.json": "compare",
    "tuning.json": "tune",
}


@dataclass(frozen=True)
class Reports:
    """What the stages reported on one scorer; the last three are None if no comparison was made."""

    name: str
    scorer: ScorerDeclaration
    manifest: dict[str, Any]
    rows: dict[str, Any]
    training: dict[str, Any]
    metrics: dict[str, float]
    intervals: dict[str, list[float]]
    thresholds: list[Row]
    segments: list[Row]
    importance: list[Row]
    reliability: list[Row]
    reliability_uncalibrated: list[Row]
    precision_recall: list[Row]
    costs: list[Row]
    """What 1,000 requests cost, by the share that is flagged; empty if no costs are declared."""
    selection: dict[str, Any] | None
    resampling: dict[str, Any] | None
    tuning: dict[str, Any] | None

    @cached_property
    def contract(self) -> Contract:
        """The contract that the bundle serves."""
        return Contract.model_validate(self.manifest["contract"], strict=False)

    @property
    def declared(self) -> Row:
        """What the declared threshold does on the test window."""
        return next(row for row in self.thresholds if row["aim"] == "declared")

    @property
    def threshold(self) -> float:
        """The threshold itself, with all its digits."""
        return float(self.manifest["decision"]["threshold"])


def read_reports(name: str, scorer: ScorerDeclaration) -> Reports:
    """What the stages reported on a scorer.

    Raises StageError, which names the file and the stage that writes it, if a report is missing or damaged, or if the
    bundle was packaged from other results than those reported.
    """
    folder = REPORTS / name
    reports = Reports(
        name=name,
        scorer=scorer,
        manifest=_read_json(BUNDLES / name / "manifest.json"),
        rows=_read_json(folder / "rows.json"),
        training=_read_json(folder / "training.json"),
        metrics=_read_json(folder / "metrics.json"),
        intervals=_read_json(folder / "intervals.json"),
        thresholds=_read_table(folder / "thresholds.csv"),
        segments=_read_table(folder / "segments.csv"),
        importance=_read_table(folder / "importance.csv"),
        reliability=_read_table(folder / "reliability.csv"),
        reliability_uncalibrated=_read_table(folder / "reliability_uncalibrated.csv"),
        precision_recall=_read_table(folder / "precision_recall.csv"),
        costs=_read_table(folder / "costs.csv"),
        selection=_read_json(folder / "selection.json", is_optional=True),
        resampling=_read_json(folder / "resampling.json", is_optional=True),
        tuning=_read_json(folder / "tuning.json", is_optional=True),
    )
    if reports.manifest["metrics"] != reports.metrics:
        raise StageError(
            f"{BUNDLES / name / 'manifest.json'} has other metrics than {folder / 'metrics.json'}: it is the bundle of "
            f"another model; run python -m training.package {name}, or dvc repro"
        )
    return reports


def _read_json(path: Path, *, is_optional: bool = False) -> Any:  # noqa: ANN401 - whatever JSON can hold
    if is_optional and not path.exists():
        return None
    try:
        return json.loads(_read(path))
    except json.JSONDecodeError as error:
        raise StageError(f"{path} is not JSON ({error}); {_remedy(path)}") from error


def _read_table(path: Path) -> list[Row]:
    """The rows of a CSV file, numbers as numbers and empty ones as None."""
    reader = csv.DictReader(io.StringIO(_read(path), newline=""))
    try:
        return [{column: _value(column, text) for column, text in row.items()} for row in reader]
    except (TypeError, ValueError) as error:
        raise StageError(f"{path} is not what its stage writes ({error}); {_remedy(path)}") from error


def _value(column: str, text: str | None) -> str | float | None:
    if text is None:
        raise ValueError(f"a row has no {column}")
    if column in TEXT:
        return text
    return float(text) if text else None


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise StageError(f"{path} cannot be read ({error.strerror}); {_remedy(path)}") from error


def _remedy(path: Path) -> str:
    stage = STAGES.get(path.name, "evaluate")
    return f"run python -m training.{stage} {path.parent.name}, or dvc repro"
