"""The shipped scorers' own reports, as tables: the resampling arms, and the calibration on the test window."""

import json
from typing import Any

from benchmarks.quality_arms import arm_lines
from benchmarks.quality_part import AbsentError, Line, Part
from training.declaration import read_params
from training.run.files import REPORTS

# The largest calibration error that a scorer may have on its test window.
LIMITS = {"transaction": 0.005}


def report(scorer: str, name: str) -> dict[str, Any]:
    """A report of a scorer.

    Raises AbsentError where no stage has written it.
    """
    path = REPORTS / scorer / name
    if not path.is_file():
        raise AbsentError(f"{path} is absent; run `make train`")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def shipped_arms() -> Part:
    """The arms of every declared scorer, from its last run of training.compare."""
    reports = {scorer: report(scorer, "resampling.json") for scorer in read_params().scorers}
    lines = [line for scorer, found in reports.items() for line in arm_lines(scorer, found["arms"])]
    return Part(lines, [f"{scorer}: {found['verdict']}" for scorer, found in reports.items()])


def calibration() -> Part:
    """Every declared scorer's calibration error on its test window, with and without the recalibration."""
    lines: list[Line] = []
    for scorer in read_params().scorers:
        metrics = report(scorer, "metrics.json")
        error = metrics["expected_calibration_error"]
        raw = metrics["expected_calibration_error_uncalibrated"]
        lines.append({"scorer": scorer, "limit": LIMITS.get(scorer), "ece": error, "ece_uncalibrated": raw})
    over = [line["scorer"] for line in lines if line["limit"] is not None and line["ece"] > line["limit"]]
    return Part(lines, [f"OVER THE LIMIT: {', '.join(over)}" if over else "the calibration errors are within limits"])
