"""Reading reports: they come back as written, and an unusable one is named with its stage."""

import csv
import json
import re
from pathlib import Path

import pytest

from training.errors import StageError
from training.report.card_reports import Reports, read_reports


@pytest.fixture(autouse=True)
def folder(reports: Reports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the reports as files."""
    target, bundle = tmp_path / "reports/mini", tmp_path / "build/bundles/mini"
    target.mkdir(parents=True)
    bundle.mkdir(parents=True)
    for stem, content in vars(reports).items():
        if isinstance(content, list):
            with (target / f"{stem}.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, list(content[0]))
                writer.writeheader()
                writer.writerows(content)
        elif isinstance(content, dict):
            place = bundle if stem == "manifest" else target
            (place / f"{stem}.json").write_text(json.dumps(content))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_reports_read_are_those_written(reports: Reports) -> None:
    """The reports are read as they were written, and a category called NA stays text."""
    read = read_reports("mini", reports.scorer)
    assert read == reports
    assert read.segments[1]["segment"] == "NA"


def test_empty_cell_is_none(folder: Path, reports: Reports) -> None:
    """A rate that could not be measured is None."""
    (folder / "reports/mini/segments.csv").write_text("feature,segment,recall\nchain,,\n")
    assert read_reports("mini", reports.scorer).segments == [{"feature": "chain", "segment": "", "recall": None}]


@pytest.mark.parametrize("stem", ["selection", "resampling", "tuning"])
def test_comparison_may_be_missing(folder: Path, reports: Reports, stem: str) -> None:
    """Outside DVC a comparison may be missing."""
    (folder / f"reports/mini/{stem}.json").unlink()
    assert getattr(read_reports("mini", reports.scorer), stem) is None


@pytest.mark.parametrize(
    ("file", "stage"),
    [
        ("reports/mini/rows.json", "prepare"),
        ("reports/mini/training.json", "train"),
        ("reports/mini/metrics.json", "evaluate"),
        ("reports/mini/thresholds.csv", "evaluate"),
        ("build/bundles/mini/manifest.json", "package"),
    ],
)
def test_missing_report_names_its_stage(folder: Path, reports: Reports, file: str, stage: str) -> None:
    """A missing report is named, with the stage that writes it."""
    (folder / file).unlink()
    with pytest.raises(StageError, match=rf"{re.escape(file)} cannot be read .*python -m training\.{stage} mini"):
        read_reports("mini", reports.scorer)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("metrics.json", "{", "is not JSON"),
        ("metrics.json", '{"recall": 0.5}', r"bundle of another model; run python -m training\.package mini"),
        ("segments.csv", "feature,segment,rows\nchain,ETH,many\n", "could not convert string to float: 'many'"),
        ("segments.csv", "feature,segment\nchain,ETH,1\n", "not what its stage writes"),
        ("segments.csv", "feature,segment,rows\nchain\n", "not what its stage writes"),
    ],
)
def test_unusable_report_is_refused(folder: Path, reports: Reports, file: str, content: str, message: str) -> None:
    """A report that cannot be understood, or is about another model than the bundle, is named with the problem."""
    (folder / "reports/mini" / file).write_text(content)
    with pytest.raises(StageError, match=message):
        read_reports("mini", reports.scorer)
