"""What must differ between environments that SnapStart restores from one image, and what must not."""

import json
import os
import subprocess
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from tests.handler.restored_twins import N_REQUESTS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def twins() -> dict[str, list[dict[str, Any]]]:
    """What two environments that were restored from one process wrote, with half of the predictions recorded."""
    environment = {
        "PREDICTIONS": "stdout",
        "PREDICTIONS_RATE": "0.5",
        "PREDICTIONS_KEY": "a key",
        "PATH": os.environ["PATH"],
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.handler.restored_twins"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    lines, twin = dict[str, list[dict[str, Any]]](), ""
    for line in map(json.loads, done.stdout.splitlines()):
        twin = line.get("twin", twin)
        lines.setdefault(twin, []).append(line)
    return lines


def recorded(lines: list[dict[str, Any]], kind: str) -> list[int]:
    """The numbers of the recorded requests of a kind."""
    numbers: list[int] = []
    current: dict[str, Any] = {}
    for is_record, group in groupby(lines, lambda line: "record" in line):
        for line in group:
            if not is_record:
                current = line
            elif kind in current:
                numbers.append(current[kind])
    return numbers


def test_the_twins_share_the_state_of_random(twins: dict[str, list[dict[str, Any]]]) -> None:
    """Otherwise the other tests would prove nothing."""
    drawn = [[line["drawn"] for line in lines if "drawn" in line] for lines in twins.values()]
    assert len(drawn) == 2
    assert len(drawn[0]) == N_REQUESTS
    assert drawn[0] == drawn[1]


def test_which_requests_without_an_id_are_recorded_differs(twins: dict[str, list[dict[str, Any]]]) -> None:
    """The kernel's randomness decides; with the snapshot's state all environments would record the same half."""
    first, second = (recorded(lines, "request") for lines in twins.values())
    assert first != second
    assert all(0 < len(numbers) < N_REQUESTS for numbers in (first, second))


def test_which_requests_with_an_id_are_recorded_does_not(twins: dict[str, list[dict[str, Any]]]) -> None:
    """The id and the key decide, so a request that is sent again has the same draw in every environment."""
    first, second = (recorded(lines, "named") for lines in twins.values())
    assert first == second
    assert 0 < len(first) < N_REQUESTS
